"""Boxes and arrows as SVG: the same text for the same picture, no script and no font to fetch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_BOX_WIDTH, _BOX_HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 150, 52, 64, 40, 14
_FILL = {"step": "#e8f1f4", "store": "#f4efe4", "person": "#efe8f4", "end": "#e7f3e8"}


@dataclass(frozen=True)
class Box:
    """Its place counts columns and rows from 0. `kind`: what is done, kept, somebody, or what comes of it."""

    name: str
    column: float
    row: float
    words: Sequence[str]
    kind: str = "step"

    @property
    def left(self) -> float:
        return _MARGIN + self.column * (_BOX_WIDTH + _GAP_X)

    @property
    def top(self) -> float:
        return _MARGIN + self.row * (_BOX_HEIGHT + _GAP_Y)


@dataclass(frozen=True)
class Picture:
    """`arrows`: from, to, and a word or two beside the line."""

    title: str
    boxes: Sequence[Box]
    arrows: Sequence[tuple[str, str, str]]


def draw(picture: Picture) -> str:
    """Errors: KeyError for an arrow to a box that there is not."""
    by_name = {box.name: box for box in picture.boxes}
    width = max(box.left for box in picture.boxes) + _BOX_WIDTH + _MARGIN
    height = max(box.top for box in picture.boxes) + _BOX_HEIGHT + _MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img"'
            ' font-family="sans-serif" font-size="12">',
            f"<title>{escape(picture.title)}</title>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path d="M0 0L8 4L0 8z" fill="#555555"/></marker></defs>',
            f'<rect width="{width:g}" height="{height:g}" rx="6" fill="#ffffff"/>',
            *(_arrow(by_name[start], by_name[end], words) for start, end, words in picture.arrows),
            *map(_box, picture.boxes),
            "</svg>\n",
        ]
    )


def _box(box: Box) -> str:
    middle = box.left + _BOX_WIDTH / 2
    first = box.top + _BOX_HEIGHT / 2 + 4 - 7.5 * (len(box.words) - 1)
    weights = ("bold" if len(box.words) > 1 else "normal", "normal")
    lines = "".join(
        f'<text x="{middle:g}" y="{first + 15 * i:g}" text-anchor="middle" fill="#222222"'
        f' font-weight="{weights[min(i, 1)]}">{escape(line)}</text>'
        for i, line in enumerate(box.words)
    )
    return (
        f'<rect x="{box.left:g}" y="{box.top:g}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}"'
        f' rx="{20 if box.kind == "store" else 5}" fill="{_FILL[box.kind]}" stroke="#8a979e"/>{lines}'
    )


def _arrow(start: Box, end: Box, words: str) -> str:
    """From the side that looks at the other box; from above or below if one stands over the other."""
    if start.column != end.column:
        is_right = end.column > start.column
        x1, x2 = (start.left + _BOX_WIDTH, end.left) if is_right else (start.left, end.left + _BOX_WIDTH)
        y1, y2 = start.top + _BOX_HEIGHT / 2, end.top + _BOX_HEIGHT / 2
    else:
        is_down = end.row > start.row
        x1, x2 = start.left + _BOX_WIDTH / 2, end.left + _BOX_WIDTH / 2
        y1, y2 = (start.top + _BOX_HEIGHT, end.top) if is_down else (start.top, end.top + _BOX_HEIGHT)
    line = f'<path d="M{x1:g} {y1:g}L{x2:g} {y2:g}" stroke="#555555" fill="none" marker-end="url(#tip)"/>'
    if not words:
        return line
    is_level = abs(y1 - y2) < 1
    x, y = (x1 + x2) / 2 + (0 if is_level else 6), (y1 + y2) / 2 - (5 if is_level else -4)
    anchor = "middle" if is_level else "start"
    return f'{line}<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="10" fill="#555555">{escape(words)}</text>'
