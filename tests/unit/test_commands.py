"""Which cells the kernel runs itself, where `%dh attach` leads, and that no key is kept. No server here."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dh_kernel.attach_options import add_attach_options, attach_settings
from dh_kernel.attaching import address_of
from dh_kernel.commands import Command, CommandError, attach_endpoint, command_of, run_command, without_secrets
from dh_kernel.credentials import Secrets
from dh_kernel.model import PSK_AUTH_TYPE, Endpoint, Tls
from dh_kernel.settings import Settings


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("%dh restart", ("restart",)),
        ("  %dh   detach  ", ("detach",)),
        ("\n# back\n%dh detach\n\n", ("detach",)),
        ("%dh attach 'host:1' --anonymous", ("attach", "host:1", "--anonymous")),
        ("%dh help", ("help",)),
    ],
)
def test_a_cell_of_one_such_line_is_a_command(code: str, words: tuple[str, ...]) -> None:
    found = command_of(code)
    assert found is not None
    assert (found.words, found.problem) == (words, None)


@pytest.mark.parametrize(
    "code", ["", "%dh", "%dh tables", "x = 1\n%dh restart", "%dh restart\n%dh detach", "%dhrestart", "'%dh restart'"]
)
def test_all_other_cells_are_for_the_server(code: str) -> None:
    assert command_of(code) is None


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("%dh resart", "Did you mean %dh restart?"),
        ("%dh table", "Did you mean %dh tables?"),
        ("%dh xyzzy", "There are: %dh, %dh attach, "),
        ("%dh restart now", "takes no arguments"),
        ("%dh attach 'x", "No closing quotation"),
    ],
)
def test_words_that_are_not_known_name_the_closest(code: str, problem: str) -> None:
    found = command_of(code)
    assert found is not None
    assert found.problem is not None
    assert problem in found.problem


def endpoint(arguments: list[str], environ: dict[str, str]) -> Endpoint:
    return attach_endpoint(arguments, Secrets(environ))


class FakeBackend:
    """Takes any settings, and connects to nothing."""

    def __init__(self, **environ: str) -> None:
        self.settings = Settings(withheld=environ)

    async def change(self, settings: Settings) -> SimpleNamespace:
        self.settings = settings
        return SimpleNamespace(endpoint=settings.endpoint)

    def withhold(self, taken: dict[str, str]) -> None:
        self.settings = replace(self.settings, withheld={**self.settings.withheld, **taken})


async def test_attaching_tells_of_a_key_that_others_can_read(tmp_path: Path) -> None:
    (file := tmp_path / "key").write_text("hunter2")
    for mode, told in ((0o644, True), (0o600, False)):
        file.chmod(mode)
        backend: Any = FakeBackend(K="withheld")
        command = Command(("attach", "h:1", "--key-file", str(file), "--header", "x=env:K"))
        text = await run_command(command, backend, {})
        assert text.startswith("Cells now run on the server at h:1.")
        assert (f"chmod 600 {file}\n" in text) is told
        assert "hunter2" not in text
        assert backend.settings.endpoint.headers == (("x", "withheld"),)


def test_an_endpoint_takes_its_key_from_where_the_line_says(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("of a file\n", "utf-8")
    plain = endpoint(["localhost:10000"], {"DH_KERNEL_KEY": "of another server"})
    assert (plain.address, plain.auth_type, plain.auth_token) == ("localhost:10000", "Anonymous", "")
    by_file = endpoint(["localhost:10000", "--key-file", str(file)], {})
    assert (by_file.auth_type, by_file.auth_token) == (PSK_AUTH_TYPE, "of a file")
    by_variable = endpoint(["--key-env=K", "[::1]:10000", "--auth", "basic"], {"K": "me:secret"})
    assert (by_variable.host, by_variable.auth_type, by_variable.auth_token) == ("[::1]", "Basic", "me:secret")
    assert endpoint(["h:1", "--anonymous"], {}).auth_type == "Anonymous"
    secrets = Secrets({"K": "s", "L": "t"})
    attach_endpoint(["--host", "h", "--port=1", "--auth-type", "psk", "--auth-token-file=env:K"], secrets)
    assert secrets.taken == {"K": "s"}
    with pytest.raises(CommandError):
        attach_endpoint(["h", "--key-env", "L"], secrets)
    assert secrets.taken == {"K": "s", "L": "t"}  # the line fails, but the variable has a key


@pytest.mark.parametrize(
    "words",
    [
        "--host db",
        "--host db --port 1",
        "--host=db:1",
        "--host ::1",
        "--host ::1 --port 1",
        "--host 2001:db8::1:1 --port 10000",
        "--host [::1]:1",
        "--host dh+tls://db",
        "--host dh+tls://[::1] --port 1",
    ],
)
def test_a_host_and_a_port_are_the_same_in_all_places(words: str) -> None:
    """In `%dh attach` and in the commands."""
    parser = argparse.ArgumentParser()
    add_attach_options(parser.add_argument_group())
    [address] = attach_settings(parser.parse_args(words.split()))["server"]
    made, meant = endpoint(words.split(), {}), address_of(address)
    assert (made.host, made.port, made.tls is not None) == (meant.host, meant.port, bool(meant.tls))


def test_an_address_may_have_its_port_beside_it() -> None:
    assert endpoint(["::1", "--port", "1"], {}).address == "[::1]:1"
    assert endpoint(["dh+tls://db", "--port=1"], {}).url == "dh+tls://db:1"


def test_an_endpoint_is_spoken_to_as_the_line_says(tmp_path: Path) -> None:
    for name, kind in (("ca", "CERTIFICATE"), ("cert", "CERTIFICATE"), ("key", "PRIVATE KEY")):
        (tmp_path / name).write_text(f"-----BEGIN {kind}-----\n{name}\n-----END {kind}-----\n")
        (tmp_path / name).chmod(0o600)
    assert endpoint(["h:1", "--tls"], {}).tls == Tls()
    assert endpoint(["dh+tls://h:1"], {}).tls == Tls()
    files = ["--tls-ca-cert", "ca", "--tls-client-cert", "cert", "--tls-client-key", "key"]
    words = [str(tmp_path / word) if not word.startswith("-") else word for word in files]
    made = endpoint(["h:1", *words, "--header", "x=env:K", "--header=y=text:a b", "--channel-option=grpc.a=1"], {"K": "s"})
    assert made.tls is not None
    assert [
        text is not None and name in text for name, text in zip((b"ca", b"cert", b"key"), vars(made.tls).values(), strict=True)
    ] == [True] * 3
    assert (made.headers, made.options) == ((("x", "s"), ("y", "a b")), (("grpc.a", 1),))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "HOST:PORT"),
        (["h:1", "--key", "hunter2"], "A key never stands in the line"),
        (["h:1", "hunter2"], "A key never stands in the line"),
        (["http://h:1/?psk=hunter2"], "write h:1"),
        (["h"], "h:10000"),
        (["h:1", "--key-file", "/nowhere/key"], "cannot be read"),
        (["h:1", "--key-env", "NO_SUCH"], "NO_SUCH is not set"),
        (["h:1", "--auth", "psk"], "needs a key"),
        (["h:1", "--anonymous", "--key-env", "K"], "does not go with a key"),
        (["h:1", "--key-file", "f", "--key-env", "K"], "one of"),
        (["h:1", "--host", "h"], "HOST:PORT"),
        (["h:1", "--port", "1"], "the address has a port, and there is --port too"),
        (["--host", "h:1", "--port", "1"], "--host has a port, and there is --port too"),
        (["--host", "h", "--port", "hunter2"], "--port is not a number between 1 and 65535"),
        (["--host", "h", "--port", "0"], "the port 0 is not between 1 and 65535"),
        (["dh+plain://h:1", "--tls"], "leave one of them out"),
        (["dh+tls://me:hunter2@h:1"], "write dh+tls://h:1"),
        (["dh+tls://me:hunter2/part@h:1"], "Write HOST:PORT"),
        (["h:1:hunter2"], "Write HOST:PORT"),
        (["h:1", "--header", "hunter2=="], "header 1 is not NAME="),
        (["h:1", "--tls-client-cert", "/nowhere/cert"], "--tls-client-key too"),
        (["h:1", "--tls-ca-cert", "/nowhere/ca"], "--tls-ca-cert: the certificate file /nowhere/ca cannot be read"),
        (["h:1", "--header", "x=hunter2"], "has to be file:PATH"),
        (["h:1", "--auth", "annonymous"], "Did you mean anonymous?"),
    ],
)
def test_what_leads_nowhere_says_what_to_write_and_shows_no_key(arguments: list[str], problem: str) -> None:
    with pytest.raises(CommandError) as caught:
        endpoint(arguments, {"K": "hunter2"})
    assert problem in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "code",
    [
        "%dh attach h:1 --key hunter2",
        "%dh attach h:1 --key=hunter2 --anonymous",
        "%dh attach h:1 --psk hunter2",
        "%dh attach h:1 hunter2",
        "%dh attach me:hunter2@h:1",
        "%dh attach 'https://h:1/?psk=hunter2'",
        "x = 1\n%dh attach h:1 --token 'hunter2",
        "%dh attach h:1 --header x-token=hunter2",
        "%dh attach h:1 --header=x-token=text:hunter2 --tls",
        "%dh attach dh+tls://me:hunter2@h:1",
        "%dh attach h:1&psk=hunter2",
        "%dh attach h:1:hunter2",
        "%dh attach --host me:hunter2@h:1",
        "%dh attach --host=h:1:hunter2 --anonymous",
        "%dh attach h:1 --header hunter2==",
        "%dh attach --host h --port hunter2",
        "%dh attach h:1 --channel-option grpc.http_proxy=http://me:hunter2@proxy",
    ],
)
def test_what_may_be_a_key_is_hidden(code: str) -> None:
    assert "hunter2" not in without_secrets(code)
    assert "%dh attach" in without_secrets(code)


@pytest.mark.parametrize(
    "code",
    [
        "%dh attach dh+tls://h:1 --tls-client-cert c --tls-client-key=k --header x=env:X --channel-option grpc.a=1 --tls",
        "%dh attach h:1 --key-file '/a b/key' --auth psk",
        "%dh attach h:1 --key-env=K",
        "%dh attach  h:1 --anonymous",
        "%dh attach --host ::1 --port 1",
        "x = 1",
    ],
)
def test_lines_without_keys_stay_as_they_are(code: str) -> None:
    assert without_secrets(code) == code
