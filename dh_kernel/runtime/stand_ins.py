"""What cells of the plain wrapper take for granted of IPython: its magics as calls, and its names, which are redirected.

Neighbours: `interpreter` (its cells), `plain_magics`, `ipython_names` and `ipython_display` (what they find). Nothing in the
process is replaced: libraries that look for IPython find what is installed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Container

from .plain_magics import HARMLESS, NEEDS_IPYTHON, is_known

_PLACES = {
    "IPython": f"{__package__}.ipython_names",
    "IPython.core.getipython": f"{__package__}.ipython_names",
    "IPython.display": f"{__package__}.ipython_display",
    "IPython.core.display": f"{__package__}.ipython_display",
    "IPython.core.display_functions": f"{__package__}.ipython_display",
}
_MAGIC = re.compile(r"^(\s*)(%|!!?)\s*(.*)$")
_ASSIGNED = re.compile(r"^(\s*[\w.,\s\[\]'\"]+=\s*)(%|!)\s*(.*)$")
_CELL_MAGIC = re.compile(r"\s*%%(\w+)[ \t]*(.*)(?:\n|$)")
_PARSE = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST


def without_magics(code: str) -> str:
    """The code with IPython's magics and shell commands made calls of `get_ipython()`; Python stays as it stands.

    Raises:
        SyntaxError: a magic that only IPython can run. Nothing of the cell runs.
    """
    if "%" not in code and "!" not in code:
        return code
    if cell := _CELL_MAGIC.match(code):
        _check(f"%%{cell[1]}", cell[1], cell=True)
        body = code[cell.end() :]
        body += "" if body.endswith("\n") else "\n"
        return f"get_ipython().run_cell_magic({cell[1]!r}, {cell[2].strip()!r}, {body!r})"
    lines = code.split("\n")
    while (bad := _bad_line(lines)) is not None:
        changed = _as_call(lines[bad])
        if changed is None:
            break
        lines[bad] = changed
    return "\n".join(lines)


def _bad_line(lines: list[str]) -> int | None:
    """The line at which the code stops being Python: so magics are found, and what looks like them in a text is not."""
    try:
        compile("\n".join(lines), "<cell>", "exec", _PARSE, dont_inherit=True)
    except SyntaxError as error:
        return error.lineno - 1 if error.lineno is not None and 0 < error.lineno <= len(lines) else None
    except ValueError:
        pass
    return None


def _as_call(line: str) -> str | None:
    """The line as a call; None if it is no magic."""
    if match := _MAGIC.match(line):
        before, mark, rest = match.groups()
    elif match := _ASSIGNED.match(line):
        before, mark, rest = match.groups()
        mark = "!!" if mark == "!" else mark
    else:
        return None
    if mark != "%":
        return f"{before}get_ipython().{'system' if mark == '!' else 'getoutput'}({rest!r})"
    name, _, rest = rest.partition(" ")
    _check(line.strip(), name, cell=False)
    if name in HARMLESS and not before.strip():
        return f"{before}pass"
    return f"{before}get_ipython().run_line_magic({name!r}, {rest.strip()!r})"


def _check(text: str, name: str, *, cell: bool) -> None:
    if not is_known(name, cell=cell):
        raise SyntaxError(f"`{text}` {NEEDS_IPYTHON}.")


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
