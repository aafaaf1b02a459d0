"""Connecting with pydeephaven, and its and gRPC's errors translated once.

Neighbours: `session`. Refuses to know the runtime. No message holds a token: the endpoint's address is all that is shown.
"""

from __future__ import annotations

import socket
from typing import Any

import grpc
from pydeephaven import DHError
from pydeephaven import Session as DeephavenSession

from dh_kernel.errors import AuthenticationError, ConnectError, ServerTooOldError, SessionError
from dh_kernel.model import Endpoint

CONNECT_TIMEOUT_S = 10.0
# A connection that is cut silently is noticed within 20 seconds, so that there is time to make another. That one is tried at
# once: else gRPC lets all channels to one address share a connection, and the pause after its failures.
KEEP_ALIVE = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]
# No limit on a message: a table's reference and a long line must pass.
CLIENT_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def connect(endpoint: Endpoint, *, keep_alive: bool = True) -> DeephavenSession:
    """A pydeephaven session.

    Args:
        keep_alive: not for a server of our own, whose end is known otherwise: it may be stopped for long, and go on.
    Raises:
        ConnectError: nobody answers there, or not a Deephaven server.
        AuthenticationError: the credentials are refused.
    """
    _reach(endpoint)
    try:
        return DeephavenSession(
            host=endpoint.host,
            port=endpoint.port,
            auth_type=endpoint.auth_type,
            auth_token=endpoint.auth_token,
            never_timeout=False,
            client_opts=[*CLIENT_OPTIONS, *(KEEP_ALIVE if keep_alive else ())],
        )
    except (DHError, grpc.RpcError) as error:
        raise translated(error, endpoint) from None


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
    return ConnectError(
        f"no Deephaven server answers at {endpoint.address}: {details or error}. Next step: check that it runs and that "
        "DH_KERNEL_SERVER names its host and port."
    )


def _reach(endpoint: Endpoint) -> None:
    """Fail fast and clearly where gRPC would retry for long."""
    try:
        socket.create_connection((endpoint.host.strip("[]"), endpoint.port), CONNECT_TIMEOUT_S).close()
    except socket.gaierror:
        raise ConnectError(
            f"the host {endpoint.host!r} is not known. Next step: check the host name in DH_KERNEL_SERVER."
        ) from None
    except OSError as error:
        reason = error.strerror or ("no answer in time" if isinstance(error, TimeoutError) else str(error))
        raise ConnectError(
            f"no connection to {endpoint.address}: {reason}. Next step: check that the Deephaven server runs there, and that "
            "DH_KERNEL_SERVER names its host and port."
        ) from None


def _grpc_status(error: BaseException | None) -> tuple[Any, str]:
    seen = 0
    while error is not None and seen < 10:
        if isinstance(error, grpc.RpcError) and hasattr(error, "code"):
            return error.code(), str(error.details() or "")
        error, seen = error.__cause__ or error.__context__, seen + 1
    return None, ""
