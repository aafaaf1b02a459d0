"""Looks who answers at an address, before gRPC does, which would try for long and say little.

A connection, TLS where it is wanted, and the first words of HTTP/2 both ways: so everything that is wrong with the address,
the certificates or the way to speak gets an error of its own. Neighbours: `connect`. Standard library only. Refuses to
authenticate; no message holds more of a secret than that it is wrong.

The certificates are judged by Python's ssl with the same authorities that gRPC and Flight are given (`roots`).
"""

from __future__ import annotations

import os
import pkgutil
import re
import socket
import ssl
import tempfile
from typing import Any

from dh_kernel.errors import AuthenticationError, ConnectError
from dh_kernel.model import Endpoint, Tls

CONNECT_TIMEOUT_S = 10.0
# The client's preface and an empty SETTINGS frame; a server's own SETTINGS frame has type 4 at the fourth byte.
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_SETTINGS_FRAME = 4
_TLS_RECORDS = (0x15, 0x16)  # an alert, a handshake
_PLACES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_PEM = re.compile(r"-----BEGIN (?:X509 )?CERTIFICATE-----.*?-----END (?:X509 )?CERTIFICATE-----", re.DOTALL)
_OTHER_NAME, _OTHER_ADDRESS, _NOT_YET, _EXPIRED = 62, 64, 9, 10  # OpenSSL's numbers
NAME_OPTION = "grpc.ssl_target_name_override"


def greet(endpoint: Endpoint, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
    """Return if an HTTP/2 server answers there as it should.

    Raises:
        ConnectError: nobody does, or somebody else, or otherwise than the settings say.
        AuthenticationError: it wants a certificate of the client's, or another one.
    """
    with _connected(endpoint, timeout_s) as plain:
        if endpoint.tls is None:
            _greet_plainly(endpoint, plain, timeout_s)
        else:
            _greet_securely(endpoint, endpoint.tls, plain, timeout_s)


def roots(tls: Tls) -> bytes | None:
    """The authorities to trust, as PEM: those named, or this machine's, or gRPC's own; None where there is none of them."""
    if tls.ca_cert is not None:
        return tls.ca_cert
    paths = ssl.get_default_verify_paths()
    for place in (paths.cafile, *_PLACES):
        if place and os.access(place, os.R_OK):
            with open(place, encoding="utf-8", errors="replace") as file:
                found = "\n".join([*_PEM.findall(file.read()), ""])
            if found.strip():
                return found.encode("ascii", "replace")
    return pkgutil.get_data("grpc._cython", "_credentials/roots.pem")


# --- the connection


def _connected(endpoint: Endpoint, timeout_s: float) -> socket.socket:
    try:
        return socket.create_connection((endpoint.host.strip("[]"), endpoint.port), timeout_s)
    except (socket.gaierror, UnicodeError):
        raise ConnectError(
            f"the host {endpoint.host!r} is not known. Next step: check the host name in DH_KERNEL_SERVER."
        ) from None
    except OSError as error:
        reason = error.strerror or ("no answer in time" if isinstance(error, TimeoutError) else str(error))
        raise ConnectError(
            f"no connection to {endpoint.address}: {reason}. Next step: check that the Deephaven server runs there, and that "
            "DH_KERNEL_SERVER names its host and port."
        ) from None


def _greet_plainly(endpoint: Endpoint, connection: socket.socket, timeout_s: float) -> None:
    answer = _answer(endpoint, connection)
    if _is_settings(answer):
        return
    if answer[:1] and answer[0] in _TLS_RECORDS:
        raise _wants_tls(endpoint)
    if not answer and _speaks_tls(endpoint, timeout_s):
        raise _wants_tls(endpoint)
    raise _no_deephaven(endpoint)


def _greet_securely(endpoint: Endpoint, tls: Tls, connection: socket.socket, timeout_s: float) -> None:
    name = dict(endpoint.options).get(NAME_OPTION) or endpoint.host.strip("[]")
    context = _context(endpoint, tls)
    try:
        with context.wrap_socket(connection, server_hostname=str(name)) as secure:
            # With TLS 1.3 the server judges the client's certificate only after the client's side is done.
            answer = _answer(endpoint, secure)
    except ssl.SSLCertVerificationError as error:
        raise _distrusted(endpoint, tls, error, str(name), timeout_s) from None
    except ssl.SSLError as error:
        raise _refused(endpoint, tls, error, timeout_s) from None
    except TimeoutError:
        raise _silent(endpoint) from None
    except (OSError, ValueError) as error:  # cut; or a name that cannot be one
        raise _cut(endpoint, tls, error, timeout_s) from None
    if not _is_settings(answer):
        raise _cut(endpoint, tls, None, timeout_s) if not answer else _no_deephaven(endpoint)


def _answer(endpoint: Endpoint, connection: socket.socket) -> bytes:
    """The first bytes that come back; none where the connection ends."""
    try:
        connection.sendall(_HELLO)
        answer = b""
        while len(answer) < 9:
            more = connection.recv(9 - len(answer))
            if not more:
                break
            answer += more
            if answer[0] in _TLS_RECORDS:
                break
        return answer
    except ssl.SSLError:
        raise
    except TimeoutError:
        raise _silent(endpoint) from None
    except OSError:
        return b""


def _is_settings(answer: bytes) -> bool:
    return len(answer) == 9 and answer[3] == _SETTINGS_FRAME and answer[5:] == bytes(4)


def _context(endpoint: Endpoint, tls: Tls) -> ssl.SSLContext:
    """Raises ConnectError where the files hold nothing that can be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # as gRPC: an authority that is not a root will do
    context.set_alpn_protocols(["h2"])
    trusted = roots(tls)
    try:
        if trusted is not None:
            context.load_verify_locations(cadata=trusted.decode("ascii", "replace"))
    except (ssl.SSLError, ValueError):
        raise ConnectError(
            f"the file of certificate authorities for {endpoint.address} cannot be used: it is damaged. Next step: check what"
            " DH_KERNEL_TLS_CA_CERT names."
        ) from None
    if tls.client_cert is not None and tls.client_key is not None:
        _load_identity(context, endpoint, tls.client_cert, tls.client_key)
    return context


def _load_identity(context: ssl.SSLContext, endpoint: Endpoint, certificate: bytes, key: bytes) -> None:
    """Python's ssl takes files only: one in memory where the system has that, else one that only this user can read."""
    with tempfile.TemporaryDirectory(prefix="dh-kernel-") as folder:
        if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
            handle = os.memfd_create("dh-kernel")
            path = f"/proc/self/fd/{handle}"
        else:
            path = os.path.join(folder, "identity.pem")
            handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            os.write(handle, certificate + b"\n" + key)
            context.load_cert_chain(path, password="")
        except (ssl.SSLError, OSError, ValueError) as error:
            mismatch = "MISMATCH" in str(getattr(error, "reason", ""))
            what = "do not belong together" if mismatch else "cannot be used: one of them is damaged"
            raise ConnectError(
                f"the client certificate for {endpoint.address} and its private key {what}. Next step: check what"
                " DH_KERNEL_TLS_CLIENT_CERT and DH_KERNEL_TLS_CLIENT_KEY name; `openssl x509 -noout -pubkey -in CERT` and"
                " `openssl pkey -pubout -in KEY` have to print the same."
            ) from None
        finally:
            os.close(handle)


# --- what is wrong


def _speaks_tls(endpoint: Endpoint, timeout_s: float) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with _connected(endpoint, timeout_s) as plain, context.wrap_socket(plain):
            return True
    except ssl.SSLError as error:
        return "ALERT" in str(error.reason)
    except (OSError, ConnectError, ValueError):
        return False


def _speaks_plainly(endpoint: Endpoint, timeout_s: float) -> bool:
    try:
        with _connected(endpoint, timeout_s) as plain:
            return _is_settings(_answer(endpoint, plain))
    except ConnectError:
        return False


def _names(endpoint: Endpoint, tls: Tls, timeout_s: float) -> str:
    """The names in the certificate, once it is known to be from somebody who is trusted."""
    context = _context(endpoint, tls)
    context.check_hostname = False
    try:
        with _connected(endpoint, timeout_s) as plain, context.wrap_socket(plain) as secure:
            certificate: dict[str, Any] = secure.getpeercert() or {}
    except (OSError, ConnectError, ValueError):
        return "another host"
    names = [str(value) for _, value in certificate.get("subjectAltName", ())]
    return ", ".join(names[:5]) or "another host"


def _wants_tls(endpoint: Endpoint) -> ConnectError:
    return ConnectError(
        f"the server at {endpoint.address} speaks TLS, and the settings say plaintext. Next step: DH_KERNEL_TLS=1, --tls, or"
        f" dh+tls://{endpoint.address}; with DH_KERNEL_TLS_CA_CERT where its certificate is from an authority of your own."
    )


def _no_deephaven(endpoint: Endpoint) -> ConnectError:
    return ConnectError(
        f"no Deephaven server answers at {endpoint.address}: what listens there does not speak HTTP/2. Next step: check that"
        " DH_KERNEL_SERVER names the server's host and port."
    )


def _silent(endpoint: Endpoint) -> ConnectError:
    return ConnectError(
        f"no Deephaven server answers at {endpoint.address}: the connection stands, and nothing is said in time. Next step:"
        " check that the server runs and is not overloaded, and that DH_KERNEL_SERVER names its host and port."
    )


def _distrusted(
    endpoint: Endpoint, tls: Tls, error: ssl.SSLCertVerificationError, name: str, timeout_s: float
) -> ConnectError:
    if error.verify_code in (_OTHER_NAME, _OTHER_ADDRESS):
        return ConnectError(
            f"the certificate of the server at {endpoint.address} is for {_names(endpoint, tls, timeout_s)}, not for {name}."
            " Next step: name the server in DH_KERNEL_SERVER as its certificate does, or set the channel option"
            f" {NAME_OPTION}=NAME to a name that it has."
        )
    if error.verify_code in (_EXPIRED, _NOT_YET):
        what = "has expired" if error.verify_code == _EXPIRED else "is not valid yet"
        return ConnectError(
            f"the certificate of the server at {endpoint.address} {what}. Next step: renew it there, or set this machine's"
            " clock."
        )
    by = "one in the file of certificate authorities" if tls.ca_cert is not None else "an authority that this machine trusts"
    return ConnectError(
        f"the certificate of the server at {endpoint.address} is not from {by} ({error.verify_message}). Next step: name the"
        " PEM file with the right authority in DH_KERNEL_TLS_CA_CERT or --tls-ca-cert."
    )


def _refused(endpoint: Endpoint, tls: Tls, error: ssl.SSLError, timeout_s: float) -> ConnectError | AuthenticationError:
    reason = str(error.reason or "")
    if any(word in reason for word in ("CERTIFICATE", "UNKNOWN_CA", "HANDSHAKE_FAILURE", "ACCESS_DENIED", "DECRYPT")):
        return _unidentified(endpoint, tls)
    return _cut(endpoint, tls, error, timeout_s)


def _unidentified(endpoint: Endpoint, tls: Tls) -> AuthenticationError:
    if tls.client_cert is None:
        return AuthenticationError(
            f"the server at {endpoint.address} wants a client certificate (mutual TLS), and none is set. Next step: name its"
            " PEM files in DH_KERNEL_TLS_CLIENT_CERT and DH_KERNEL_TLS_CLIENT_KEY, or --tls-client-cert and --tls-client-key."
        )
    return AuthenticationError(
        f"the server at {endpoint.address} does not accept the client certificate. Next step: check that"
        " DH_KERNEL_TLS_CLIENT_CERT names one that is valid, and from an authority that the server trusts."
    )


def _cut(endpoint: Endpoint, tls: Tls, error: Exception | None, timeout_s: float) -> ConnectError:
    if _speaks_plainly(endpoint, timeout_s):
        return ConnectError(
            f"the server at {endpoint.address} speaks plaintext, and the settings say TLS. Next step: leave DH_KERNEL_TLS and"
            f" the certificates out, or write dh+plain://{endpoint.address}."
        )
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "it ends the connection"
    if error is None or isinstance(error, (ssl.SSLEOFError, ConnectionError)):
        wanted = "wants" if tls.client_cert is None else "does not accept"
        reason = f"it ends the connection, as one that {wanted} a client certificate may"
    return ConnectError(
        f"no Deephaven server answers at {endpoint.address}: TLS fails ({reason}). Next step: check that DH_KERNEL_SERVER"
        " names the server's host and port, and that it speaks TLS 1.2 or newer there."
    )
