"""The picture: polling requests an hour of each fleet, health checks and refreshes, as bars.

In: what was measured. Out: SVG that needs no font, script or style from elsewhere and reads on light and dark pages.
Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from .contextforge import NAMES
from .counting import Kind
from .measured import MODES, Measured, Mode, Outcome, releases

_WIDTH, _LEFT, _RIGHT = 860, 210, 130
_BAR, _ROW, _HEAD, _GAP, _FOOT = 20, 30, 66, 26, 40
_COLOURS = {Kind.HEALTH: "#1d4ed8", Kind.REFRESH: "#c2410c"}
_LABELS = {Kind.HEALTH: "health checks", Kind.REFRESH: "tool refreshes"}
_INK = "#111827"


def draw(runs: Sequence[Measured]) -> str:
    """The whole picture: a group for each release, a bar for each fleet."""
    shown = releases(runs)
    bars = sum(len(measured.outcomes_of(release)) for measured, release in shown)
    height = _HEAD + bars * _ROW + len(shown) * _GAP + _FOOT
    title = "HTTP requests an hour that ten MCP servers receive from polling"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
        ' font-family="Helvetica, Arial, sans-serif" font-size="12" role="img">',
        f"<title>{title}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(16, 24, title, size=15, bold=True),
        _text(16, 44, "Two of the ten are in use. Default settings of ContextForge."),
    ]
    most = max(measured.hourly(outcome.polling(NAMES)) for measured in runs for outcome in measured.outcomes)
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    top = _HEAD
    for measured, release in shown:
        parts.append(_text(16, top + 16, f"ContextForge {release}", bold=True))
        top += _GAP
        for outcome in measured.outcomes_of(release):
            parts += _bar(measured, outcome, scale, top)
            top += _ROW
    for x, kind in ((_LEFT, Kind.HEALTH), (_LEFT + 150, Kind.REFRESH)):
        parts += [_box(x, height - 24, 12, 12, _COLOURS[kind]), _text(x + 18, height - 14, _LABELS[kind])]
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _bar(measured: Measured, outcome: Outcome, scale: float, top: int) -> list[str]:
    parts = [_text(_LEFT - 10, top + 15, MODES[outcome.mode], anchor="end")]
    x = float(_LEFT)
    for kind in (Kind.HEALTH, Kind.REFRESH):
        width = measured.hourly(outcome.requests(kind, NAMES)) * scale
        parts.append(_box(x, top, width, _BAR, _COLOURS[kind]))
        x += width
    said = f"{measured.hourly(outcome.polling(NAMES)):.0f}"
    if outcome.mode is not Mode.ALONE:
        said += f" ({measured.saved(outcome.release, outcome.mode, NAMES):.0%} saved)"
    parts.append(_text(round(x) + 8, top + 15, said, bold=True))
    return parts


def _box(x: float, y: int, width: float, height: int, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{height}" fill="{colour}"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    look = f'text-anchor="{anchor}" font-size="{size}"{weight} fill="{_INK}"'
    return f'<text x="{x:.1f}" y="{y}" {look}>{escape(text)}</text>'
