"""What cells of the plain wrapper take for granted of IPython: a few line magics, and its names, which are redirected.

Neighbours: `interpreter` (its cells), `ipython_names` and `ipython_display` (what they find). Nothing in the process is
replaced: libraries that look for IPython find what is installed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Container

_PLACES = {
    "IPython": f"{__package__}.ipython_names",
    "IPython.core.getipython": f"{__package__}.ipython_names",
    "IPython.display": f"{__package__}.ipython_display",
    "IPython.core.display": f"{__package__}.ipython_display",
    "IPython.core.display_functions": f"{__package__}.ipython_display",
}
_MAGIC = re.compile(r"^\s*(%{1,2}|!)\s*(\w*)")
_ASSIGNED_MAGIC = re.compile(r"^(\s*[\w.]+\s*=\s*)%(\w+)[ \t]*(.*)$")
# Line magics that may be left out: what they set up is there anyway, or cannot be there.
HARMLESS_MAGICS = frozenset({"config", "matplotlib", "autosave", "load_ext", "reload_ext"})
NEEDS_IPYTHON = "needs IPython in the server's Python, which is not there: pip install ipython on the server, and restart it"


def without_magics(code: str) -> str:
    """The code with IPython's harmless line magics replaced, where the cell is not Python as it stands.

    Raises:
        SyntaxError: a magic or a shell command that only IPython can run.
    """
    if "%" not in code and "!" not in code:
        return code
    try:
        compile(code, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST, dont_inherit=True)
    except SyntaxError:
        pass
    else:
        return code
    return "\n".join(map(_without_magic, code.split("\n")))


def _without_magic(line: str) -> str:
    if assigned := _ASSIGNED_MAGIC.match(line):
        target, magic, rest = assigned.groups()
        return f"{target}get_ipython().run_line_magic({magic!r}, {rest.strip()!r})"
    match = _MAGIC.match(line)
    if match is None:
        return line
    if match[1] != "%" or match[2] not in HARMLESS_MAGICS:
        raise SyntaxError(f"`{line.strip()}` {NEEDS_IPYTHON}")
    return line[: len(line) - len(line.lstrip())] + "pass"


def redirected(tree: ast.Module, names: Container[str]) -> ast.Module:
    """The tree with stand-ins in the place of IPython, changed in place. `names` are those that the cell finds."""
    _Redirect(shell="get_ipython" not in names and not _assigned(tree)).visit(tree)
    return ast.fix_missing_locations(tree)


def _assigned(tree: ast.Module) -> bool:
    """Whether the cell has a `get_ipython` of its own."""
    nodes = ast.walk(tree)
    return any(
        (isinstance(node, ast.Name) and node.id == "get_ipython" and isinstance(node.ctx, ast.Store))
        or (isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == "get_ipython")
        for node in nodes
    )


class _Redirect(ast.NodeTransformer):
    def __init__(self, *, shell: bool) -> None:
        self._shell = shell

    def visit_Import(self, node: ast.Import) -> ast.Import:
        """`import IPython.display` binds `IPython`; with `as`, the module itself."""
        for alias in node.names:
            if alias.name in _PLACES and alias.asname:
                alias.name = _PLACES[alias.name]
            elif alias.name in _PLACES:
                alias.name, alias.asname = _PLACES["IPython"], "IPython"
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        """`from IPython import …`."""
        if node.level == 0 and node.module in _PLACES:
            node.module = _PLACES[node.module]
        return node

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """`get_ipython` is there without an import."""
        if node.id != "get_ipython" or not self._shell or not isinstance(node.ctx, ast.Load):
            return node
        names = ast.Call(ast.Name("__import__", ast.Load()), [ast.Constant(_PLACES["IPython"])], [])
        names.keywords = [ast.keyword("fromlist", ast.Tuple([ast.Constant("get_ipython")], ast.Load()))]
        return ast.copy_location(ast.Attribute(names, "get_ipython", ast.Load()), node)
