"""The server's own interactive grid as an output: an inline frame with the page that the server has for an object.

Pure. Neighbours: `publishing`. A launched server's key, which is random and dies with it, may stand in the address; of an
attached server no credential does, and its page asks for its own login.
"""

from __future__ import annotations

import html
from urllib.parse import urlencode

from dh_kernel.model import Endpoint

DEFAULT_HEIGHT = 420


def grid_bundle(name: str, endpoint: Endpoint, *, launched: bool, browser_url: str = "", height: int = 0) -> dict[str, str]:
    """The MIME bundle of a variable's view; the text has the address without a key.

    Args:
        browser_url: the origin at which a browser reaches the server, `https://dh.example.org`; empty: `http://host:port`, or
            https where the kernel speaks TLS.
    Source: Deephaven's documentation, "Display tables in an Inline Frame"; `psk` as in the address that the server prints.
    """
    origin = browser_url.rstrip("/") or f"http{'s' if endpoint.tls else ''}://{endpoint.address}"
    page = f"{origin}/iframe/widget/?{urlencode({'name': name})}"
    secret = f"&{urlencode({'psk': endpoint.auth_token})}" if launched and endpoint.auth_token else ""
    frame = (
        f'<iframe src="{html.escape(page + secret)}" title="{html.escape(name)} in Deephaven" loading="lazy" '
        f'style="width: 100%; height: {height or DEFAULT_HEIGHT}px; border: 1px solid; box-sizing: border-box"></iframe>'
    )
    return {"text/plain": f"{name}: {page}", "text/html": frame}
