"""Connecting with pydeephaven, and its and gRPC's errors translated once.

Neighbours: `session`. Refuses to know the runtime. No message holds a token: the endpoint's address is all that is shown.
"""

from __future__ import annotations

from typing import Any

import grpc
from pydeephaven import DHError
from pydeephaven import Session as DeephavenSession

from dh_kernel.errors import AuthenticationError, ConnectError, ServerTooOldError, SessionError
from dh_kernel.model import Endpoint

from .greeting import greet, roots
from .proxies import is_proxied, proxy_options

# A stream that is cut silently is noticed within 20 seconds, so that there is time to make another. Not for a server of our
# own, whose end is known: it may be stopped for long.
_KEEP_ALIVE: list[tuple[str, int | str]] = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # of a ping beside data, 60 s by default, which the one above waits for
    ("grpc.http2.max_pings_without_data", 0),
]
_PATIENT: list[tuple[str, int | str]] = [("grpc.http2.ping_timeout_ms", (1 << 31) - 1)]
# No limit on a message: a table's reference and a long line must pass. A connection after a broken one is tried at once: else
# gRPC lets all channels to one address share a connection, and the pause after its failures.
CLIENT_OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]


def connect(endpoint: Endpoint, *, keep_alive: bool = True) -> DeephavenSession:
    """A pydeephaven session.

    Args:
        keep_alive: not for a server of our own, whose end is known otherwise: it may be stopped for long, and go on.
    Raises:
        ConnectError: nobody answers there, or not a Deephaven server.
        AuthenticationError: the credentials are refused.
    """
    if not is_proxied(endpoint):  # a proxy may be the only way there, and the greeting goes straight
        greet(endpoint)
    tls = endpoint.tls
    try:
        return DeephavenSession(
            host=endpoint.host,
            port=endpoint.port,
            auth_type=endpoint.auth_type,
            auth_token=endpoint.auth_token,
            never_timeout=False,
            use_tls=tls is not None,
            tls_root_certs=roots(tls) if tls is not None else None,
            client_cert_chain=tls.client_cert if tls is not None else None,
            client_private_key=tls.client_key if tls is not None else None,
            client_opts=channel_options(endpoint, keep_alive=keep_alive),
            extra_headers={name.encode("ascii"): value.encode("ascii") for name, value in endpoint.headers},
        )
    except (DHError, grpc.RpcError) as error:
        raise translated(error, endpoint) from None
    except (ValueError, TypeError):  # of gRPC, about what is to be sent: its text may show that
        raise ConnectError(
            f"the credentials, headers or options for {endpoint.address} cannot be sent. Next step: check them in the"
            " settings."
        ) from None


def channel_options(endpoint: Endpoint, *, keep_alive: bool = True) -> list[tuple[str, int | str]]:
    """gRPC's options: ours, and over them the user's."""
    ours = [*CLIENT_OPTIONS, *(_KEEP_ALIVE if keep_alive else _PATIENT), *proxy_options(endpoint)]
    return list(dict([*ours, *endpoint.options]).items())


def flight_client(endpoint: Endpoint) -> Any:
    """A Flight connection of its own, spoken as the session's. Headers go with each call."""
    import pyarrow.flight as flight

    tls = endpoint.tls
    return flight.FlightClient(
        f"{'grpc' if tls is None else 'grpc+tls'}://{endpoint.address}",
        tls_root_certs=roots(tls) if tls is not None else None,
        cert_chain=tls.client_cert if tls is not None else None,
        private_key=tls.client_key if tls is not None else None,
        generic_options=channel_options(endpoint),
    )


def translated(error: BaseException, endpoint: Endpoint) -> SessionError:
    """The error of ours for one of pydeephaven's or gRPC's."""
    code, details = _grpc_status(error)
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return AuthenticationError(
            f"the Deephaven server at {endpoint.address} does not accept the credentials (authentication type "
            f"{endpoint.auth_type}). Next step: check the key in DH_KERNEL_KEY or the file that DH_KERNEL_KEY_FILE names, and "
            "DH_KERNEL_AUTH_TYPE."
        )
    if code == grpc.StatusCode.UNIMPLEMENTED:
        return ServerTooOldError(
            f"the server at {endpoint.address} lacks a service that the kernel needs ({details}). Next step: use Deephaven "
            "42, which the kernel is tested with, or enable the server's console."
        )
    if is_proxied(endpoint):
        return ConnectError(
            f"no Deephaven server answers at {endpoint.address}, asked for through an HTTP proxy: {details or error}. Next"
            " step: check that the proxy lets through to there; or name the host in the variable no_proxy, or set the channel"
            " option grpc.enable_http_proxy=0, to go straight."
        )
    return ConnectError(
        f"no Deephaven server answers at {endpoint.address}: {details or error}. Next step: check that it runs and that "
        "DH_KERNEL_SERVER names its host and port."
    )


def _grpc_status(error: BaseException | None) -> tuple[Any, str]:
    seen = 0
    while error is not None and seen < 10:
        if isinstance(error, grpc.RpcError) and hasattr(error, "code"):
            return error.code(), str(error.details() or "")
        error, seen = error.__cause__ or error.__context__, seen + 1
    return None, ""
