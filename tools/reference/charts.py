"""Bars as SVG: the same text for the same numbers, no script, no font to fetch, readable on light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _LABELS, _ROW, _HEAD = 760, 250, 22, 44
_ROOM = 110  # for a number behind the longest bar
_OURS, _THEIRS, _MARK = "#1f6f8b", "#9aa5ad", "#b3541e"


@dataclass(frozen=True)
class Bar:
    """One line: `said` stands behind the bar; ours are of another colour. `mark` is a value to be held against."""

    label: str
    value: float
    said: str
    is_ours: bool = False
    mark: float | None = None


def bars(title: str, unit: str, rows: Sequence[Bar]) -> str:
    """Horizontal bars over a logarithmic axis of whole powers of ten: peers differ by powers, not by shares.

    Errors: ValueError for a value that has no logarithm, or no rows.
    """
    values = [v for row in rows for v in (row.value, row.mark) if v is not None]
    if not values or min(values) <= 0:
        raise ValueError(f"chart `{title}` needs values above zero; leave the others out")
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    if low == math.log10(min(values)):
        low -= 1  # else the smallest bar would have no length
    height = _HEAD + _ROW * len(rows) + 8
    body = [_axis(low, high, height), *(_row(i, row, low, high) for i, row in enumerate(rows))]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" font-family="sans-serif" font-size="12">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{_WIDTH}" height="{height}" rx="4" fill="#ffffff"/>',
            f'<text x="8" y="18" font-size="14" font-weight="bold" fill="#222222">{escape(title)}</text>',
            f'<text x="{_WIDTH - 8}" y="18" text-anchor="end" fill="#555555">{escape(unit)}, logarithmic</text>',
            *body,
            "</svg>\n",
        ]
    )


def _at(value: float, low: int, high: int) -> float:
    return _LABELS + (math.log10(value) - low) / (high - low) * (_WIDTH - _LABELS - _ROOM)


def _axis(low: int, high: int, height: int) -> str:
    step = max(1, math.ceil((high - low) / 8))
    lines = []
    for power in range(low, high + 1, step):
        x = _at(10.0**power, low, high)
        lines.append(f'<path d="M{x:.1f} {_HEAD - 4}V{height - 6}" stroke="#dddddd"/>')
        lines.append(
            f'<text x="{x:.1f}" y="{_HEAD - 8}" text-anchor="middle" font-size="10" fill="#777777">{_power(power)}</text>'
        )
    return "\n".join(lines)


def _row(index: int, row: Bar, low: int, high: int) -> str:
    y = _HEAD + _ROW * index
    end = _at(row.value, low, high)
    fill = _OURS if row.is_ours else _THEIRS
    mark = ""
    if row.mark is not None:
        x = _at(row.mark, low, high)
        mark = f'\n<path d="M{x:.1f} {y + 1}v{_ROW - 4}" stroke="{_MARK}" stroke-width="2.5"/>'
    return (
        f'<text x="{_LABELS - 8}" y="{y + 14}" text-anchor="end" fill="#222222">{escape(row.label)}</text>\n'
        f'<rect x="{_LABELS}" y="{y + 3}" width="{end - _LABELS:.1f}" height="{_ROW - 8}" fill="{fill}"/>{mark}\n'
        f'<text x="{max(end, _LABELS if row.mark is None else _at(row.mark, low, high)) + 6:.1f}" y="{y + 14}" fill="#222222">'
        f"{escape(row.said)}</text>"
    )


def _power(power: int) -> str:
    return f"{10**power:,}" if power >= 0 else f"{10.0**power:.{-power}f}"
