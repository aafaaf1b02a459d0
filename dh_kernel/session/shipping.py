"""The runtime as one console script: its sources, compressed, with the importer that loads them on the server.

To compile them takes a server a while. One that this kernel launched finds them in files too, beside which Python keeps what
it has compiled; a file is used only as long as it says what was shipped.

Neighbours: `dh_kernel.runtime` (what is shipped), `session` (runs the script). Refuses to know what the runtime does.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import zlib
from importlib import resources
from typing import Any

_LOADER = """
def _load(name, blob, folder=None):
    import base64, importlib.abc, importlib.machinery, importlib.util, json, linecache, os, sys, zlib
    if name not in sys.modules:
        sources = json.loads(zlib.decompress(base64.b64decode(blob)))
        class Importer(importlib.abc.MetaPathFinder, importlib.abc.Loader):
            def find_spec(self, wanted, path=None, target=None):
                part = "__init__" if wanted == name else wanted[len(name) + 1:] if wanted.startswith(name + ".") else None
                if part not in sources:
                    return None
                return importlib.util.spec_from_loader(wanted, self, origin="<%s>" % name, is_package=wanted == name)
            def exec_module(self, module):
                part = "__init__" if module.__name__ == name else module.__name__[len(name) + 1:]
                module.__file__, code = folder and self.compiled(module.__name__, part) or self.compile(part)
                exec(code, module.__dict__)
            def compiled(self, wanted, part):
                file = os.path.join(folder, part + ".py")
                try:
                    with open(file, encoding="utf-8") as opened:
                        if opened.read() == sources[part]:
                            return file, importlib.machinery.SourceFileLoader(wanted, file).get_code(wanted)
                except (OSError, ValueError, ImportError, EOFError):
                    pass
            def compile(self, part):
                file = "<%s>/%s.py" % (name, part)
                linecache.cache[file] = (len(sources[part]), None, sources[part].splitlines(True), file)
                return file, compile(sources[part], file, "exec", dont_inherit=True)
        sys.meta_path.append(Importer())
        importlib.import_module(name)
    return sys.modules[name]
"""


@functools.cache
def runtime_sources() -> tuple[str, str]:
    """The runtime's name on the server, which tells its version, and its sources as one compressed text."""
    package = resources.files("dh_kernel.runtime")
    sources = {
        item.name[:-3]: item.read_text("utf-8")
        for item in sorted(package.iterdir(), key=lambda item: item.name)
        if item.name.endswith(".py")
    }
    raw = json.dumps(sources, sort_keys=True).encode()
    return "_dh_kernel_runtime_" + hashlib.sha256(raw).hexdigest()[:12], base64.b64encode(zlib.compress(raw, 6)).decode(
        "ascii"
    )


def opening_script(variable: str, session_id: str, options: dict[str, Any]) -> str:
    """A console script that leaves the session's channel in the global `variable`, and nothing else."""
    name, blob = runtime_sources()
    folder = str(resources.files("dh_kernel.runtime")) if options.get("launched") else None
    values = json.dumps({"session_id": session_id, "options": options})
    return (
        f"{variable} = (lambda made: (exec({_LOADER!r}, made), made['_load']({name!r}, {blob!r}, {folder!r}).open_session("
        f"namespace=globals(), **__import__('json').loads({values!r})))[1])({{}})"
    )


def closing_script(variable: str) -> str:
    """A console script that removes the global again, and so refreshes the console's list of variables."""
    return f"globals().pop({variable!r}, None)"
