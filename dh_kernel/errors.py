"""Every error this package raises on purpose, as one tree.

A failing cell is a result, not an exception, and is not here. Foreign exceptions are translated into one of these once, where
they enter: `server/` for processes, `session/` for gRPC and Flight. A message says what failed, with which value, and what to
try next; it never holds a secret.

    DhKernelError
        SettingsError               the user can fix an option
        ServerError                 about the process of a server
            NoJavaError             no JDK 17 or newer was found, or only a JRE without compiler
            ServerStartError        the process ended, or said no, before it was ready
            ServerStartTimeout      the process did not become ready in time
            ServerDiedError         the process ended while it was in use
        SessionError                about one connection to a server
            ConnectError            nobody answers at the address
            AuthenticationError     the server refuses the credentials
            ServerTooOldError       the server lacks what the kernel needs
            SessionLostError        a connection that worked is gone
                SessionEndedError       the server goes on, and has ended the session
                ServerRestartedError    another server process answers at the address
                SessionDetachedError    the server may still go on with what runs there
                SessionTakenError       another kernel has the session now
"""

from __future__ import annotations


class DhKernelError(Exception):
    """Root of all errors of this package."""


class SettingsError(DhKernelError):
    """A setting has a value that cannot be used."""


class ServerError(DhKernelError):
    """Something is wrong with the process of a server."""


class NoJavaError(ServerError):
    """No usable JDK was found."""


class ServerStartError(ServerError):
    """A launched server ended, or refused to start, before it was ready."""


class ServerStartTimeout(ServerError):
    """A launched server did not become ready in time."""


class ServerDiedError(ServerError):
    """A launched server ended while it was in use."""


class SessionError(DhKernelError):
    """Something is wrong with the connection to a server."""


class ConnectError(SessionError):
    """No Deephaven server answers at the address."""


class AuthenticationError(SessionError):
    """The server does not accept the credentials."""


class ServerTooOldError(SessionError):
    """The server lacks what the kernel needs."""


class SessionLostError(SessionError):
    """A connection that worked is gone."""


class SessionEndedError(SessionLostError):
    """The server is the same, and no longer knows the session."""


class ServerRestartedError(SessionLostError):
    """The server at the address is another one than before."""


class SessionDetachedError(SessionLostError):
    """The server cannot be reached; what runs there goes on, and can be picked up when it can."""


class SessionTakenError(SessionLostError):
    """Another kernel has taken the session over."""
