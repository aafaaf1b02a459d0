"""Settings: where a value comes from, what is refused and how, and that a key never shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dh_kernel.attaching import Address, address_of, may_be_shown
from dh_kernel.model import PSK_AUTH_TYPE, Endpoint
from dh_kernel.settings import TABLE_SETTINGS, VARIABLES, KernelSettings, Settings, heap_mb, load_settings

KEY = "s3cr3t-key"
# With parts of a key, `s3cr` and `3t-k`, or a password of digits, at all the places where users have put one.
ADDRESSES_WITH_A_KEY = [
    "dh+tls://me:s3cr/3t-k@host:10000",
    "dh+tls://me:12345/part@host:10000",
    "dh+tls://me:s3cr#3t-k@host:10000",
    "dh+tls://me:s3cr@3t-k@host:10000",
    "dh+tls://s3cr?3t-k@host",
    "dh+tls://host:10000/?psk=s3cr@3t-k",
    "dh+tls://host:10000/s3cr@3t-k:1",
    "http://host:10000/?psk=s3cr/3t-k",
    "host:10000&psk=s3cr3t-k",
    "host:10000:s3cr3t-k",
    "host:10000@s3cr3t-k",
    "host:10000 s3cr3t-k",
    "host:s3cr3t-k",
    "me:s3cr/3t-k@host:10000",
    "psk=s3cr3t-k&host:10000",
    "s3cr+3t/k==",
    "s3cr/3t-k",
    "12345/3t-k",
    "me:12345/3t-k",
    f"host:10000{'12345' * 10}",
    "s3cr" * 16,
    "[s3cr3t-k]:10000",
]


def load(*argv: str, config_dirs: tuple[str, ...] = (), **environ: str) -> Settings:
    """Settings that must be good; keywords are variables without their prefix."""
    settings, error = load_settings(argv, prefixed(environ), config_dirs)
    assert error is None, error
    return settings


def error_of(*argv: str, config_dirs: tuple[str, ...] = (), **environ: str) -> str:
    """The text of the error that these settings must make."""
    settings, error = load_settings(argv, prefixed(environ), config_dirs)
    assert error is not None, settings
    return str(error)


def prefixed(environ: dict[str, str]) -> dict[str, str]:
    return {f"DH_KERNEL_{name}": value for name, value in environ.items()}


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    path.chmod(0o600)
    return path


def test_nothing_set_launches_with_the_kernels_own_python() -> None:
    """Nothing has to be configured before the first table."""
    settings = load()
    assert settings.endpoint is None
    assert settings.python == sys.executable
    assert settings.heap_mb is None
    assert settings.warnings == ()


def test_defaults_in_the_help_are_the_defaults() -> None:
    """What `--help-all` tells is what happens."""
    told, real = KernelSettings(), Settings()
    for name in ("port", "start_timeout_s", *TABLE_SETTINGS, "browser_url", "interrupt_grace_s", "restart", "debug"):
        assert getattr(told, name) == getattr(real, name), name


def test_every_trait_has_a_variable_and_a_help_text() -> None:
    """No setting can be reached by one way only, or is unexplained."""
    traits = KernelSettings.class_own_traits(config=True)
    assert set(traits) == set(VARIABLES)
    assert all(trait.help for trait in traits.values())


def test_command_line_wins_over_environment_wins_over_file(tmp_path: Path) -> None:
    """The precedence that the README gives."""
    (tmp_path / "jupyter_dh_kernel_config.py").write_text(
        "c.KernelSettings.rows = 1\nc.KernelSettings.port = 1111\nc.KernelSettings.heap = '1g'\n"
    )
    settings = load("-f", "x.json", "--KernelSettings.rows=3", ROWS="2", PORT="2222", config_dirs=(str(tmp_path),))
    assert (settings.rows, settings.port, settings.heap_mb) == (3, 2222, 1024)


def test_nearer_configuration_file_wins(tmp_path: Path) -> None:
    """The user's file goes before the machine's, JSON or Python."""
    user, machine = tmp_path / "user", tmp_path / "machine"
    user.mkdir()
    machine.mkdir()
    (user / "jupyter_dh_kernel_config.json").write_text(json.dumps({"KernelSettings": {"rows": 7}}))
    (machine / "jupyter_dh_kernel_config.py").write_text("c.KernelSettings.rows = 8\nc.KernelSettings.port = 8888\n")
    settings = load(config_dirs=(str(user), str(machine)))
    assert (settings.rows, settings.port) == (7, 8888)


def test_list_can_be_appended_to_in_a_configuration_file(tmp_path: Path) -> None:
    """traitlets' own idiom works."""
    (tmp_path / "jupyter_dh_kernel_config.py").write_text("c.KernelSettings.jvm_args.append('-Xss2m')\n")
    assert load(config_dirs=(str(tmp_path),)).jvm_args == ("-Xss2m",)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("raise RuntimeError('no')", "RuntimeError"),
        ("import sys; sys.exit(3)", "SystemExit"),
        ("c.KernelSettings.rows = 'many'", "c.KernelSettings.rows in "),
        ("c.KernelSettings.rwos = 3", "Did you mean rows?"),
        (f"c.KernelSettings.key = '{KEY}'", "key_file"),
    ],
)
def test_bad_configuration_file_is_an_error_that_names_it(tmp_path: Path, source: str, expected: str) -> None:
    """A faulty file never ends the kernel."""
    path = tmp_path / "jupyter_dh_kernel_config.py"
    path.write_text(source + "\n")
    error = error_of(config_dirs=(str(tmp_path),))
    assert expected in error
    assert str(path) in error
    assert KEY not in error


def test_command_line_takes_values_with_and_without_equals_and_repeats_of_lists() -> None:
    """Both spellings of traitlets, and what is not ours is left alone."""
    argv = ("--f=a.json", "--KernelSettings.rows", "4", "--KernelSettings.jvm_args=-Xss2m", "--IPKernelApp.x=1")
    settings = load(*argv, "--KernelSettings.jvm_args=-Da=1 -Db='2 3'")
    assert settings.rows == 4
    assert settings.jvm_args == ("-Xss2m", "-Da=1", "-Db=2 3")


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--KernelSettings.haep=2g", "Did you mean heap?"),
        ("--KernelSettings.heap", "--KernelSettings.heap has no value"),
        (f"--KernelSettings.key={KEY}", "key_file"),
        ("--KernelSettings.rows=ten", "--KernelSettings.rows must be a whole number, not 'ten'"),
    ],
)
def test_bad_command_line(argument: str, expected: str) -> None:
    """The error names the option, and never repeats a key."""
    error = error_of(argument)
    assert expected in error
    assert KEY not in error


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost:10000", Address("localhost", 10000)),
        (" dh.example.com:443 ", Address("dh.example.com", 443)),
        ("[::1]:10000", Address("[::1]", 10000)),
        ("dh+plain://h:1", Address("h", 1, tls=False)),
        ("dh+tls://h:1/", Address("h", 1, tls=True)),
        ("DH+TLS://[::1]:443", Address("[::1]", 443, tls=True)),
    ],
)
def test_address(text: str, expected: Address) -> None:
    """A host and a port, or a URL; an IPv6 address in brackets, as a gRPC target has it."""
    assert address_of(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost", "write localhost:10000"),
        ("host:99999", "99999"),
        ("host:0", "between 1 and 65535"),
        ("host:port", "Write HOST:PORT"),
        (":10000", "such as localhost:10000"),
        ("::1:10000", "[::1]:10000"),
        ("[::1]", "write [::1]:10000"),
        ("http://host:10000", "write host:10000"),
        (f"http://host:10000/?psk={KEY}", "write host:10000"),
        (f"https://me:{KEY}@host:10000", "write host:10000"),
        (f"http://host/?psk={KEY}", "write host:10000"),
        (f"dh+tls://me:{KEY}@host:10000", "write dh+tls://host:10000"),
        (f"dh+tls://host:10000/?psk={KEY}", "write dh+tls://host:10000"),
        ("https://host:10000", "dh+tls://host:10000"),
        ("dh+ssl://host:10000", "dh+plain://host:10000"),
        ("dh+tls://host", "write dh+tls://host:10000"),
        ("ho st:1", "no address of a server"),
    ],
)
def test_bad_address_says_what_to_write(text: str, expected: str) -> None:
    """The error shows the right form, and no key that was pasted with an address."""
    error = error_of(SERVER=text)
    assert error.startswith("DH_KERNEL_SERVER: ")
    assert expected in error
    assert KEY not in error


@pytest.mark.parametrize("text", ADDRESSES_WITH_A_KEY)
def test_no_part_of_an_address_shows_where_a_key_may_be_in_it(text: str) -> None:
    """Keys in base64 have slashes, passwords anything; they stand where a user, a port, a path, a query or a host belongs."""
    error = error_of(SERVER=text)
    assert error.startswith("DH_KERNEL_SERVER: ")
    assert "HOST:PORT" in error or "host:10000" in error
    assert [part for part in ("s3cr", "3t-k", "12345") if part in error] == []
    assert not may_be_shown(text)


@pytest.mark.parametrize(
    "text", ["localhost", "localhost:1", "dh+tls://db.example.org:1", "http://h", "[::1]", "[fe80::1%eth0]:1", "::1", "h:1/"]
)
def test_what_is_a_host_and_a_port_and_nothing_else_shows(text: str) -> None:
    assert may_be_shown(text)


@pytest.mark.parametrize(
    "text", ["https://dh.example.org", "https://dh.example.org/", "http://localhost:10000", "http://[::1]:1"]
)
def test_where_a_browser_finds_the_server(text: str) -> None:
    assert load(BROWSER_URL=text).browser_url == text.rstrip("/")


@pytest.mark.parametrize(
    "text",
    [
        "dh.example.org",
        "https://hub.example.org/proxy/10000/",
        f"https://x/?psk={KEY}",
        f"https://me:{KEY}@x",
        "ftp://x",
        "//x",
    ],
)
def test_a_browsers_address_is_an_origin(text: str) -> None:
    """Behind a path Deephaven's pages do not work, and a key has no place there."""
    error = error_of(BROWSER_URL=text)
    assert error.startswith("DH_KERNEL_BROWSER_URL: write an origin")
    assert KEY not in error


def test_how_tables_show(tmp_path: Path) -> None:
    (tmp_path / "jupyter_dh_kernel_config.py").write_text("c.KernelSettings.live = False\nc.KernelSettings.live_outputs = 3\n")
    settings = load("--KernelSettings.live_interval_s=0.5", COLUMNS="7", MAX_TABLES="0", config_dirs=(str(tmp_path),))
    assert (settings.live, settings.live_outputs, settings.live_interval_s) == (False, 3, 0.5)
    assert (settings.columns, settings.max_tables, settings.live_time_s) == (7, 0, 1800.0)
    assert "is not between 0.1 and 3600" in error_of(LIVE_INTERVAL="0")


def test_key_in_the_environment_means_psk() -> None:
    """With a key and no type, the type is the pre-shared key."""
    assert load(SERVER="h:1", KEY=KEY).endpoint == Endpoint("h", 1, PSK_AUTH_TYPE, KEY)
    assert load(SERVER="h:1").endpoint == Endpoint("h", 1, "Anonymous", "")


def test_key_file_and_which_key_wins(key_file: Path) -> None:
    """The environment's key wins over a file named in a kernelspec, but not over one named on the command line."""
    other = "another-key"
    by_file = load(SERVER="h:1", KEY_FILE=str(key_file)).endpoint
    both = load(SERVER="h:1", KEY_FILE=str(key_file), KEY=other).endpoint
    command_line = load(f"--KernelSettings.key_file={key_file}", SERVER="h:1", KEY=other).endpoint
    assert by_file is not None
    assert both is not None
    assert command_line is not None
    assert (by_file.auth_token, both.auth_token, command_line.auth_token) == (KEY, other, KEY)


def test_key_file_of_a_home_directory(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tilde is the user's home, as no shell expands it in a kernelspec."""
    monkeypatch.setenv("HOME", str(key_file.parent))
    endpoint = load(SERVER="h:1", KEY_FILE="~/key").endpoint
    assert endpoint is not None
    assert endpoint.auth_token == KEY


def test_key_file_that_others_can_read_is_a_warning(key_file: Path) -> None:
    """It works, and the user is told the cure."""
    key_file.chmod(0o644)
    settings = load(SERVER="h:1", KEY_FILE=str(key_file))
    assert len(settings.warnings) == 1
    assert f"chmod 600 {key_file}" in settings.warnings[0]
    assert KEY not in settings.warnings[0]


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe\x00"])
def test_unusable_key_file(tmp_path: Path, content: bytes | None) -> None:
    """Missing, empty, or not text: one error, which names the file, and no second one about a missing key."""
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    error = error_of(SERVER="h:1", AUTH_TYPE="psk", KEY_FILE=str(path))
    assert str(path) in error
    assert len(error.splitlines()) == 1


def test_directory_as_key_file(tmp_path: Path) -> None:
    """An unreadable file is an error that names it."""
    assert str(tmp_path) in error_of(SERVER="h:1", KEY_FILE=str(tmp_path))


def test_auth_types() -> None:
    """Short names for the usual ones, class names as they are."""
    types = {"PSK": PSK_AUTH_TYPE, "basic": "Basic", "com.example.Handler": "com.example.Handler"}
    for given, expected in types.items():
        endpoint = load(SERVER="h:1", KEY=KEY, AUTH_TYPE=given).endpoint
        assert endpoint is not None
        assert (endpoint.auth_type, endpoint.auth_token) == (expected, KEY)
    assert load(SERVER="h:1", AUTH_TYPE="anonymous").endpoint == Endpoint("h", 1)
    assert "needs a key" in error_of(SERVER="h:1", AUTH_TYPE="psk")


@pytest.mark.parametrize(
    ("text", "megabytes"), [("512m", 512), ("4g", 4096), ("4 GB", 4096), ("1T", 1024 * 1024), ("2GiB", 2048)]
)
def test_heap(text: str, megabytes: int) -> None:
    """Java's sizes, with the usual ways to write them."""
    assert heap_mb(text) == megabytes


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEAP", "4 gigs"),
        ("HEAP", "4096"),
        ("HEAP", "0g"),
        ("HEAP", "-1g"),
        ("PORT", "65536"),
        ("PORT", "ten"),
        ("ROWS", "0"),
        ("ROWS", "1.5"),
        ("START_TIMEOUT", "nan"),
        ("START_TIMEOUT", "soon"),
        ("SHOW_TABLES", "maybe"),
        ("PYTHON", "/no/such/python"),
        ("JAVA_HOME", "/no/such/jdk"),
        ("JVM_ARGS", "com.example.Main"),
        ("JVM_ARGS", "'-Da"),
    ],
)
def test_bad_value_names_its_variable_and_keeps_the_default(name: str, value: str) -> None:
    """Each complaint starts with the variable; the settings stay usable for a kernel that has to show it."""
    settings, error = load_settings([], {f"DH_KERNEL_{name}": value}, [])
    assert error is not None
    assert str(error).startswith(f"DH_KERNEL_{name}")
    assert settings == Settings()


def test_jvm_args_are_split_as_in_a_shell_and_not_repeated_in_errors() -> None:
    """A Java property may be a password."""
    assert load(JVM_ARGS="-Xss2m '-Dname=a b'").jvm_args == ("-Xss2m", "-Dname=a b")
    assert KEY not in error_of(JVM_ARGS=f"-Da=1 Dpassword={KEY}")


def test_misspelt_variable_names_the_closest() -> None:
    """A setting that has no effect is an error, not a riddle."""
    assert error_of(HAEP="2g") == "DH_KERNEL_HAEP is not a setting. Did you mean DH_KERNEL_HEAP?"
    assert KEY not in error_of(KYE=KEY)


def test_variables_of_the_scripts_are_no_settings() -> None:
    """A kernel that a test starts inherits them."""
    assert load(VENV="/x", VANILLA_PYTHON="/x/bin/python") == Settings()


def test_every_fault_is_told_at_once() -> None:
    """Nobody has to restart a kernel per typing error."""
    assert len(error_of("--KernelSettings.rows=x", HEAP="4 gigs", SERVER="localhost", HAEP="1g").splitlines()) == 4


def test_packages_without_a_version_are_one_complaint() -> None:
    [line] = error_of(DEEPHAVEN_PACKAGES="matplotlib").splitlines()
    assert line.startswith("DH_KERNEL_DEEPHAVEN_PACKAGES: ")
    assert "DH_KERNEL_DEEPHAVEN_VERSION" in line


def test_empty_variable_is_no_setting() -> None:
    """`DH_KERNEL_SERVER= jupyter lab` is how a shell user unsets it for one command."""
    assert load(SERVER="", HEAP=" ", KEY="") == Settings()


def test_python_by_name_is_looked_up_and_a_link_stays() -> None:
    """The link in a virtual environment is what makes it one."""
    assert load(PYTHON=sys.executable).python == sys.executable


def test_key_shows_in_no_repr() -> None:
    assert KEY not in repr(load(SERVER="h:1", KEY=KEY))


def test_import_leaves_front_end_libraries_out() -> None:
    """The server starts before ipykernel is imported: settings must not import it."""
    heavy = ("IPython", "ipykernel", "jupyter_client", "zmq", "pydeephaven", "pyarrow", "grpc", "pandas")
    code = f"import dh_kernel.settings as s, sys; s.load_settings([], {{}}); print([m for m in {heavy} if m in sys.modules])"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DH_KERNEL_")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


NASTY = [
    "~no-such-user/x",
    "\0",
    "x\0/y",
    "9" * 5000,
    f"{'9' * 5000}g",
    "x" * 5000,
    "/x" * 5000,
    "'",
    "\ud800",
    "env:\0",
    "é",
    "-",
    "=",
    "a=",
    "~",
]


@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_no_value_of_any_setting_ends_the_kernel(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong is shown in the first cell; also where nobody's home is known."""
    for home in (True, False):
        if not home:
            monkeypatch.delenv("HOME", raising=False)
            monkeypatch.setattr("pwd.getpwuid", lambda uid: (_ for _ in ()).throw(KeyError(uid)))
        for value in NASTY:
            server = [] if name == "server" else ["--KernelSettings.server=h:1"]
            headers = [f"--KernelSettings.headers=x=file:{value}"] if name == "headers" and "'" not in value else []
            for argv in ([f"--KernelSettings.{name}={value}"], [*server, *headers, f"--KernelSettings.{name}={value}"]):
                settings, _ = load_settings(argv, {}, [])
                assert isinstance(settings, Settings)


def test_without_a_home_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers run as users that are in no list. Jupyter's own look for configuration files raises then."""
    for variable in ("HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_NO_CONFIG"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: (_ for _ in ()).throw(KeyError(uid)))
    _, error = load_settings([], {})
    assert "JUPYTER_CONFIG_DIR" in str(error)
