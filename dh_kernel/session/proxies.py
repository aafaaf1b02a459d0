"""Whether gRPC goes through an HTTP proxy to a server, and that it does not to one on this machine.

gRPC takes the first proxy that is named, by the channel option `grpc.http_proxy` or a variable, for every host but those in
`no_proxy`, this machine's own included: a proxy elsewhere cannot reach those. Neighbours: `connect`. Standard library only.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping

from dh_kernel.model import Endpoint

# As in gRPC's source (http_proxy_mapper.cc of 1.68): the first that is set, even to nothing; those in capitals do not count.
_PROXY_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
_EXCEPTED_VARIABLES = ("no_grpc_proxy", "no_proxy")
_PROXY, _ENABLED = "grpc.http_proxy", "grpc.enable_http_proxy"


def proxy_options(endpoint: Endpoint) -> list[tuple[str, int | str]]:
    """The channel options that keep the environment's proxies out of the way to this machine, unless the user names one."""
    if is_loopback(endpoint.host) and _PROXY not in dict(endpoint.options):
        return [(_ENABLED, 0)]
    return []


def is_proxied(endpoint: Endpoint, environ: Mapping[str, str] | None = None) -> bool:
    """Whether gRPC asks a proxy for a connection to the server."""
    environ = os.environ if environ is None else environ
    options = dict([*proxy_options(endpoint), *endpoint.options])
    if not options.get(_ENABLED, 1):
        return False
    proxy = str(options[_PROXY]) if _PROXY in options else _first(environ, _PROXY_VARIABLES)
    return proxy.startswith("http://") and not _is_excepted(endpoint.host.strip("[]"), _first(environ, _EXCEPTED_VARIABLES))


def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine's own."""
    host = host.strip("[]").lower()
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((environ[name] for name in names if name in environ), "")


def _is_excepted(host: str, excepted: str) -> bool:
    """Ends of names, in any case; for addresses also networks."""
    entries = [entry.strip() for entry in excepted.split(",") if entry]
    return any(host.lower().endswith(entry.lower()) or _is_within(host, entry) for entry in entries)


def _is_within(host: str, network: str) -> bool:
    try:
        return "/" in network and ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
