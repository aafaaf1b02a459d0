"""What settings say of a server that runs already: TLS, headers, and what contradicts what, at which distance."""

from __future__ import annotations

from pathlib import Path

import pytest

from dh_kernel.model import Endpoint, Tls
from dh_kernel.settings import KERNELSPEC_VARIABLE, load_settings

KEY = "s3cr3t-key"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
PRIVATE = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """A certificate, its key, and a secret."""
    made = {}
    for name, text in (("cert", CERTIFICATE), ("key", PRIVATE), ("secret", KEY)):
        path = tmp_path / name
        path.write_text(text)
        path.chmod(0o600)
        made[name] = str(path)
    return made


def endpoint(*argv: str, **environ: str) -> Endpoint:
    settings, error = load_settings(argv, {f"DH_KERNEL_{name}": value for name, value in environ.items()}, [])
    assert error is None, error
    assert settings.endpoint is not None
    return settings.endpoint


def error_of(*argv: str, config_dirs: tuple[str, ...] = (), **environ: str) -> str:
    variables = {f"DH_KERNEL_{name}": value for name, value in environ.items()}
    settings, error = load_settings(argv, variables, config_dirs)
    assert error is not None, settings
    assert KEY not in str(error)
    return str(error)


def test_every_way_to_say_tls(files: dict[str, str]) -> None:
    assert endpoint(SERVER="h:1").tls is None
    assert endpoint(SERVER="dh+plain://h:1").tls is None
    for said in (
        endpoint(SERVER="dh+tls://h:1"),
        endpoint(SERVER="h:1", TLS="1"),
        endpoint("--KernelSettings.tls=true", SERVER="dh+tls://h:1"),
    ):
        assert said.tls == Tls()
    assert endpoint(SERVER="h:1", TLS_CA_CERT=files["cert"]).tls == Tls(CERTIFICATE.encode())


def test_mutual_tls_and_no_repr_of_its_key(files: dict[str, str]) -> None:
    made = endpoint(SERVER="h:1", TLS_CLIENT_CERT=files["cert"], TLS_CLIENT_KEY=files["key"])
    assert made.tls == Tls(None, CERTIFICATE.encode(), PRIVATE.encode())
    assert "MIIE" not in repr(made)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"SERVER": "dh+plain://h:1", "TLS": "1"}, "DH_KERNEL_TLS is on, and the server's URL says dh+plain"),
        ({"SERVER": "dh+tls://h:1", "TLS": "0"}, "DH_KERNEL_TLS is off, and the server's URL says dh+tls"),
        ({"SERVER": "dh+plain://h:1", "TLS_CA_CERT": "cert"}, "DH_KERNEL_TLS_CA_CERT is for TLS, which dh+plain excludes"),
        ({"SERVER": "h:1", "TLS": "0", "TLS_CA_CERT": "cert"}, "DH_KERNEL_TLS_CA_CERT is for TLS, which DH_KERNEL_TLS off"),
        ({"SERVER": "h:1", "TLS_CLIENT_CERT": "cert"}, "needs DH_KERNEL_TLS_CLIENT_KEY too"),
        ({"SERVER": "h:1", "TLS_CLIENT_KEY": "key"}, "needs DH_KERNEL_TLS_CLIENT_CERT too"),
        ({"SERVER": "h:1", "TLS_CA_CERT": "key"}, "It has a private key"),
        ({"SERVER": "h:1", "TLS_CA_CERT": "/no/such/ca"}, "_CA_CERT: the certificate file /no/such/ca cannot be read"),
        ({"SERVER": "h:1", "AUTH_TYPE": "anonymous", "KEY": KEY}, "DH_KERNEL_KEY gives a key"),
        ({"SERVER": "h:1", "AUTH_TYPE": "anonymous", "KEY_FILE": "secret"}, "DH_KERNEL_KEY_FILE gives a key"),
        ({"SERVER": "h:1", "AUTH_TYPE": "anonymus"}, "Did you mean anonymous?"),
        ({"SERVER": "h:1", "KEY": f"{KEY}\n{KEY}"}, "what DH_KERNEL_KEY holds cannot be sent"),
        ({"SERVER": "h:1", "HEAP": "4g"}, "DH_KERNEL_HEAP is for a server that the kernel launches, and DH_KERNEL_SERVER"),
        ({"SERVER": "h:1", "JAVA_HOME": "/"}, "DH_KERNEL_JAVA_HOME is for a server that the kernel launches"),
        ({"SERVER": "h:1", "HEADERS": KEY}, "header 1 is not NAME="),
        ({"SERVER": "h:1", "HEADERS": f"a=env:A b={KEY}"}, "the variable A is not set"),
        ({"SERVER": "h:1", "HEADERS": f"b={KEY}"}, "the value of the header b has to be"),
        ({"SERVER": "h:1", "HEADERS": f"x-api-key=text:{KEY}"}, "looks like a secret"),
        ({"SERVER": "h:1", "HEADERS": f"Authorization=text:{KEY}"}, "authorization is not yours to set"),
        ({"SERVER": "h:1", "CHANNEL_OPTIONS": "max_message=1"}, "write an option of gRPC's"),
        ({"SERVER": "h:1", "CHANNEL_OPTIONS": f"grpc.http_proxy=http://me:{KEY}@p"}, "looks like it has a password"),
    ],
)
def test_what_is_wrong_is_one_complaint_with_the_way_out(files: dict[str, str], environ: dict[str, str], says: str) -> None:
    given = {name: files.get(value, value) for name, value in environ.items()}
    error = error_of(**given)
    assert says in error
    assert len(error.splitlines()) == 1


def test_headers_and_options(files: dict[str, str]) -> None:
    made = endpoint(
        SERVER="h:1",
        HEADERS=f"X-Tenant=text:acme x-token=file:{files['secret']} 'x-note=text:two words' x-all=env:DH_KERNEL_KEY",
        CHANNEL_OPTIONS="grpc.ssl_target_name_override=db grpc.keepalive_time_ms=1000",
        KEY=KEY,
    )
    assert made.headers == (("x-tenant", "acme"), ("x-token", KEY), ("x-note", "two words"), ("x-all", KEY))
    assert made.options == (("grpc.ssl_target_name_override", "db"), ("grpc.keepalive_time_ms", 1000))
    assert KEY not in repr(made)


def test_variables_that_held_a_secret_are_withheld() -> None:
    """From all that the kernel starts; also a key that is not used."""
    environ = {"DH_KERNEL_SERVER": "h:1", "DH_KERNEL_KEY_FILE": "env:MINE", "MINE": KEY, "OTHER": "x"}
    settings, error = load_settings([], environ, [])
    assert error is None
    assert settings.withheld == {"MINE": KEY}
    settings, error = load_settings([], {"DH_KERNEL_KEY": KEY}, [])
    assert error is None
    assert settings.withheld == {"DH_KERNEL_KEY": KEY}
    assert KEY not in repr(settings)


@pytest.mark.parametrize(
    "environ",
    [
        {"KEY_FILE": "env:MINE"},
        {"TLS_CLIENT_KEY": "env:MINE"},
        {"HEADERS": "x=env:MINE"},
        {"HEADERS": "nonsense 'X-Note = env:MINE'"},
        {"SERVER": "no:address", "KEY_FILE": " env:MINE"},
        {"SERVER": "h:1", "KEY_FILE": "env:MINE", "KEY": KEY},  # which goes before it
        {"SERVER": "h:1", "HEADERS": "nonsense x=env:MINE"},
        {"SERVER": "dh+plain://h:1", "TLS_CLIENT_KEY": "env:MINE"},
    ],
)
def test_variables_that_are_named_are_withheld_though_nobody_reads_them(environ: dict[str, str]) -> None:
    """A server that the kernel launches inherits what is left, and any cell sees it."""
    settings, _ = load_settings([], {f"DH_KERNEL_{name}": value for name, value in environ.items()} | {"MINE": "mine"}, [])
    assert settings.withheld["MINE"] == "mine"


def test_variables_that_are_named_at_any_place_are_withheld(tmp_path: Path) -> None:
    """Also where something nearer names another one; of a file, whatever it holds."""
    config = tmp_path / "jupyter_dh_kernel_config.py"
    config.write_text("c.KernelSettings.key_file = 'env:A'\nc.KernelSettings.headers = ['x=env:B', 3]\n")
    environ = {"DH_KERNEL_KEY_FILE": "env:C", "A": "a", "B": "b", "C": "c", "D": "d", "E": "e"}
    settings, _ = load_settings(["--KernelSettings.key_file=env:D"], environ, [str(tmp_path)])
    assert settings.withheld == {"A": "a", "B": "b", "C": "c", "D": "d"}
    config.write_text("c.KernelSettings.key_file = 3\nc.KernelSettings.headers = None\n")
    settings, _ = load_settings([], environ, [str(tmp_path)])
    assert settings.withheld == {"C": "c"}


def test_what_was_said_nearer_wins_and_at_one_place_it_is_an_error(tmp_path: Path, files: dict[str, str]) -> None:
    """A heap for all kernels of a user does not stand in the way of one that attaches."""
    config = tmp_path / "jupyter_dh_kernel_config.py"
    config.write_text("c.KernelSettings.heap = '4g'\n")
    settings, error = load_settings([], {"DH_KERNEL_SERVER": "h:1"}, [str(tmp_path)])
    assert (error, settings.heap_mb) == (None, 4096)  # for `%dh detach`
    assert endpoint("--KernelSettings.server=h:1", HEAP="4g").address == "h:1"
    assert endpoint(SERVER="h:1", HEAP="4g", OF_KERNELSPEC="SERVER").address == "h:1"
    assert "DH_KERNEL_HEAP" in error_of(SERVER="h:1", HEAP="4g", OF_KERNELSPEC="SERVER HEAP")
    assert "--KernelSettings.heap is for" in error_of("--KernelSettings.heap=4g", SERVER="h:1")  # nearer than the server
    assert endpoint(SERVER="h:1", HEAP="4g", OF_KERNELSPEC="HEAP").address == "h:1"  # as for every kernelspec without a server
    assert "dh+plain" in error_of(SERVER="dh+plain://h:1", TLS="1", OF_KERNELSPEC="TLS")  # never less than was asked for
    assert endpoint("--KernelSettings.server=dh+plain://h:1", TLS="1").tls is None
    assert endpoint("--KernelSettings.server=h:1", TLS="1").tls == Tls()  # nothing contradicts that
    assert endpoint("--KernelSettings.auth_type=anonymous", SERVER="h:1", KEY=KEY).auth_token == ""


def test_a_server_can_be_unset_nearby() -> None:
    settings, error = load_settings(["--KernelSettings.server=", "--KernelSettings.heap=4g"], {"DH_KERNEL_SERVER": "h:1"}, [])
    assert error is None
    assert (settings.endpoint, settings.heap_mb) == (None, 4096)


def test_what_is_for_a_server_that_is_not_named() -> None:
    """Far away it is a habit, for when there is a server; nearby it is an oversight."""
    settings, error = load_settings([], {"DH_KERNEL_KEY_FILE": "/no/such", "DH_KERNEL_TLS": "1"}, [])
    assert error is None
    assert settings.endpoint is None
    assert "DH_KERNEL_SERVER" in error_of("--KernelSettings.tls=1")
    environ = {"TLS": "1", KERNELSPEC_VARIABLE.removeprefix("DH_KERNEL_"): "TLS"}
    assert "DH_KERNEL_SERVER" in error_of(**environ)
