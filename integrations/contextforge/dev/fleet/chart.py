"""The picture: a mark for every tool refresh, a line for every server, without the operator above and with it below.

In: times. Out: SVG that needs no font, script or style from elsewhere and reads on light and dark pages. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from .counting import within
from .page import Measured

_WIDTH, _LEFT, _RIGHT = 860, 150, 70
_ROW, _HEAD, _GAP, _FOOT = 17, 56, 46, 54
_HOT, _COLD, _FULL, _INK, _PALE = "#c2410c", "#1d4ed8", "#6b7280", "#111827", "#e5e7eb"


def draw(measured: Measured, used: Sequence[str]) -> str:
    """The whole picture. The servers in use come first."""
    begin, end = measured.begin, measured.end
    servers = [*sorted(used), *sorted(name for name in measured.without if name not in used)]
    panel = _ROW * len(servers)
    height = _HEAD + panel + _GAP + panel + _FOOT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
        ' font-family="Helvetica, Arial, sans-serif" font-size="12" role="img">',
        "<title>Every tool refresh that each MCP server received, without the operator and with it</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(16, 22, "Every tool refresh that each MCP server received", size=15, bold=True),
    ]
    top = _HEAD
    for title, times, tiers in (
        ("without the operator", measured.without, False),
        ("with the operator", measured.withal, True),
    ):
        total = sum(len(within(times[server], begin, end)) for server in servers)
        parts.append(_text(16, top - 10, f"{title}: {total}", bold=True))
        parts += _panel(times, servers, (begin, end), top, used=set(used), tiers=tiers)
        top += panel + _GAP
    parts += _axis(begin, end, top - _GAP + 4)
    legend = height - 12
    for x, colour, text in (
        (150, _FULL, "not classified"),
        (290, _HOT, "hot: in use"),
        (410, _COLD, "cold: not in use"),
    ):
        parts += [_mark(x, legend - 10, colour), _text(x + 8, legend, text)]
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _panel(
    times: Mapping[str, Sequence[float]],
    servers: Sequence[str],
    span: tuple[float, float],
    top: int,
    *,
    used: set[str],
    tiers: bool,
) -> list[str]:
    begin, end = span
    parts = []
    for row, server in enumerate(servers):
        y = top + row * _ROW
        hot = server in used
        colour = (_HOT if hot else _COLD) if tiers else _FULL
        marks = within(times[server], begin, end)
        label = f"{server}, in use" if hot else server
        parts.append(_text(_LEFT - 10, y + 12, label, anchor="end", bold=hot))
        parts.append(f'<line x1="{_LEFT}" y1="{y + 8}" x2="{_WIDTH - _RIGHT}" y2="{y + 8}" stroke="{_PALE}"/>')
        parts += [_mark(_across(time, begin, end), y + 2, colour) for time in marks]
        parts.append(_text(_WIDTH - _RIGHT + 12, y + 12, str(len(marks))))
    return parts


def _axis(begin: float, end: float, y: int) -> list[str]:
    parts = [f'<line x1="{_LEFT}" y1="{y}" x2="{_WIDTH - _RIGHT}" y2="{y}" stroke="{_INK}"/>']
    minutes = int((end - begin) / 60 + 0.01)
    stride = max(1, round(minutes / 12))
    for minute in range(0, minutes + 1, stride):
        x = _across(begin + minute * 60, begin, end)
        parts.append(f'<line x1="{x:.1f}" y1="{y}" x2="{x:.1f}" y2="{y + 4}" stroke="{_INK}"/>')
        parts.append(_text(x, y + 17, f"{minute} min" if minute == 0 else str(minute), anchor="middle"))
    return parts


def _across(time: float, begin: float, end: float) -> float:
    return _LEFT + (_WIDTH - _RIGHT - _LEFT) * (time - begin) / (end - begin)


def _mark(x: float, y: float, colour: str) -> str:
    return f'<rect x="{x - 2:.1f}" y="{y}" width="4" height="12" rx="1" fill="{colour}"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    look = f'text-anchor="{anchor}" font-size="{size}"{weight} fill="{_INK}"'
    return f'<text x="{x:.1f}" y="{y}" {look}>{escape(text)}</text>'
