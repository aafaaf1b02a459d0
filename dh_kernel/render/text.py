"""A sheet as aligned text for a terminal: names, types, a rule, rows, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass

from dh_kernel.render.characters import ELLIPSIS, display_width, fit, pad, visible
from dh_kernel.render.options import RenderOptions
from dh_kernel.render.sheet import Sheet, SheetColumn, last_line, notice, title_texts, tree_mark
from dh_kernel.render.typenames import frictionless_type, is_numeric, short_name

_GAP = "  "
_LEAST_WIDTH = 20
_LEAST_WORDS = 15


@dataclass(frozen=True)
class _Block:
    """One column's lines, name and type first, all padded to `width`; "" keeps the place of the rule."""

    lines: list[str]
    width: int


def to_text(sheet: Sheet, options: RenderOptions) -> str:
    """The table as text of at most `options.width` columns a line, but for a problem's own words."""
    width = max(options.width, _LEAST_WIDTH)
    name, rest = title_texts(sheet)
    lines = [fit(f"{name} — {rest}", width)]
    tree = _tree(sheet)
    room = max(width - (tree[0].width + len(_GAP) if tree else 0), _LEAST_WIDTH)
    blocks, shown = _widest_fitting(sheet, min(max(options.cell_characters, 1), room), room)
    blocks = tree + blocks if blocks else []
    if blocks:
        lines += [_GAP.join(row).rstrip() for row in zip(*(block.lines for block in blocks), strict=True)]
    words = notice(sheet)
    if words is not None:
        lines += [visible(line) for line in words.split("\n")]
    footer = last_line(sheet, shown)
    return "\n".join(lines if footer is None else [*lines, fit(footer, width)])


def _widest_fitting(sheet: Sheet, cell_width: int, width: int) -> tuple[list[_Block], int]:
    """The columns, words cut shorter before columns are hidden."""
    while True:
        blocks, shown = _blocks(sheet, cell_width, width)
        if shown == len(sheet.columns) or cell_width // 2 < _LEAST_WORDS:
            return blocks, shown
        cell_width //= 2


def _blocks(sheet: Sheet, cell_width: int, width: int) -> tuple[list[_Block], int]:
    """The columns that fit, outer ones first, a mark where some are hidden; and how many they are."""
    if not sheet.columns:
        return [], 0
    before, after = sheet.columns[: sheet.left], sheet.columns[sheet.left :]
    widest = width if sheet.info.width == 1 else width - len(_GAP) - 1  # one column and the mark always fit
    blocks = [_block(column, sheet.gap, min(cell_width, widest), widest) for column in (*before, *after)]
    left, right = _fitting(blocks, sheet.left, width, cut=sheet.hidden > 0)
    kept = [*blocks[:left], *blocks[right:]]
    shown = len(kept)
    if shown < sheet.info.width:
        kept.insert(left, _filled([ELLIPSIS, ELLIPSIS, *[ELLIPSIS] * (sheet.shown + (sheet.gap is not None))], right=False))
    return kept, shown


def _fitting(blocks: list[_Block], middle: int, width: int, *, cut: bool) -> tuple[int, int]:
    """Where the gap in the middle starts and ends: all of `blocks[:left]` and `blocks[right:]` fit in `width`."""
    gap = len(_GAP)
    total = sum(block.width + gap for block in blocks) - gap
    if not cut and total <= width:
        return middle, middle
    room = width - 1  # the mark
    left, right = 0, len(blocks)
    while left < right:
        from_left = left <= len(blocks) - right
        if cut and left == middle:
            from_left = False
        elif cut and right == middle:
            from_left = True
        block = blocks[left] if from_left else blocks[right - 1]
        room -= block.width + gap
        if room < 0 and left + len(blocks) - right > 0:
            break
        left, right = (left + 1, right) if from_left else (left, right - 1)
    return left, right


def _block(sheet_column: SheetColumn, gap: int | None, words: int, width: int) -> _Block:
    column = sheet_column.column
    if frictionless_type(column.type) in ("string", "array"):  # the others lose their meaning when cut
        width = words
    head = [fit(column.name, width), fit(short_name(column.type), width)]
    cells = [fit(cell.unambiguous, width) for cell in sheet_column.cells]
    return _filled([*head, *_with_gap(cells, gap)], right=is_numeric(column.type))


def _tree(sheet: Sheet) -> list[_Block]:
    if not sheet.tree:
        return []
    return [_filled(["level", "", *_with_gap([tree_mark(branch) for branch in sheet.tree], sheet.gap)], right=False)]


def _with_gap(cells: list[str], gap: int | None) -> list[str]:
    return cells if gap is None else [*cells[:gap], ELLIPSIS, *cells[gap:]]


def _filled(lines: list[str], *, right: bool) -> _Block:
    width = max(map(display_width, lines))
    padded = [pad(line, width, right=right) for line in lines]
    return _Block([*padded[:2], "-" * width, *padded[2:]], width)
