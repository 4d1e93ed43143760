"""Draws charts with pygal: SVG without scripts, in the pages' colours, light and dark. It must not know any figure.

pygal's own style is left out: it reads it from a file at each drawing, which may be unreadable once privileges are
dropped. Ours carries a nonce, since no page here allows unsigned styles. Series are told apart by pattern and dashes
beside their colours.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pygal import HorizontalBar, Line, StackedBar
from pygal.style import Style

MISSING: Final = "missing"
"""The class of a series that marks what is not known: grey, up to the top."""

_LABEL_PX, _LEGEND_PX = 12, 13
_FONT: Final = 'system-ui, -apple-system, Roboto, "Noto Sans", sans-serif'
_STYLE: Final = Style(
    font_family=_FONT,
    label_font_size=_LABEL_PX,
    major_label_font_size=_LABEL_PX,
    value_font_size=_LABEL_PX,
    legend_font_size=_LEGEND_PX,
    no_data_font_size=_LEGEND_PX,
)
_CSS: Final = f"""
:root {{ --ink: #17211e; --dim: #4a5854; --rule: #d3dbd8; --axis: #6f7d78; --a: #0b5f4c; --b: #b35900; --c: #3d4fb3;
  --gap: #c3cbc8; --paper: #fff; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #e9efec; --dim: #aebbb6; --rule: #36433e; --axis: #7d8c86; --a: #5fc4a5; --b: #f0a860; --c: #a9b6ff;
    --gap: #4a5753; --paper: #1a2320; }}
}}
svg {{ font-family: {_FONT}; }}
.background {{ fill: none; }}
text {{ fill: var(--ink); stroke: none; }}
text.no_data {{ text-anchor: middle; font-size: {_LEGEND_PX}px; }}
.axis text {{ fill: var(--dim); font-size: {_LABEL_PX}px; }}
.axis.x text {{ text-anchor: middle; }}
.axis.y text {{ text-anchor: end; }}
.axis .line {{ fill: none; stroke: var(--axis); }}
.axis .guide.line {{ stroke: var(--rule); }}
.horizontal .axis.y .guide.line, .vertical .axis.x .guide.line {{ opacity: 0; }}
.legends text {{ font-size: {_LEGEND_PX}px; }}
.text-overlay text.value {{ text-anchor: start; font-size: {_LABEL_PX}px; }}
.nofill {{ fill: none; }}
.color-0 {{ fill: var(--a); stroke: var(--a); }}
.color-1 {{ fill: var(--b); stroke: var(--b); }}
.color-2 {{ fill: var(--c); stroke: var(--c); }}
.series .color-1 rect, .series.color-1 rect, .legend .color-1 {{ fill: url(#hatch); stroke: var(--b); }}
.series.color-2 rect, .legend .color-2 {{ fill: url(#dots); stroke: var(--c); }}
.rect {{ stroke-width: 1px; }}
path.line.reactive {{ stroke-width: 2px; }}
.lines-graph .series.color-1 path {{ stroke-dasharray: 7 4; }}
.lines-graph .legend .color-1 {{ fill: none; stroke-width: 2px; stroke-dasharray: 3 2; }}
.hatch, .dotted {{ stroke: none; }}
.hatch-ground {{ fill: var(--paper); stroke: none; }}
.hatch {{ fill: var(--b); }}
.dotted {{ fill: var(--c); }}
"""
_GAP_CSS: Final = (
    ".series.color-{n} rect, .legend .color-{n} {{ fill: var(--gap) !important; stroke: var(--gap) !important; }}"
)
_PATTERNS: Final = (
    '<pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect class="hatch-ground" width="5" height="5"/><rect class="hatch" width="3" height="5"/></pattern>',
    '<pattern id="dots" width="5" height="5" patternUnits="userSpaceOnUse">'
    '<rect class="hatch-ground" width="5" height="5"/><circle class="dotted" cx="2.5" cy="2.5" r="1.7"/></pattern>',
)


class Kind(enum.Enum):
    STACKED = "stacked"
    LINES = "lines"
    SIDEWAYS = "sideways"  # bars that lie, in groups


class Size(enum.Enum):
    """In CSS pixels; letters are of the same size in both."""

    WIDE = (920, 280)
    SMALL = (330, 250)


@dataclass(frozen=True, slots=True)
class Series:
    """``values`` as many as there are labels; None: not known."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Drawing:
    """What to draw, and the sentence that says it without the picture. ``say`` writes a value on the axis.

    ``missing``: the name of what is grey, and at which labels: where there should be values, and none are known.
    """

    kind: Kind
    labels: Sequence[str]
    series: Sequence[Series]
    say: Callable[[float], str]
    alt: str
    missing: tuple[str, Sequence[bool]] = ("", ())


class _Sober:
    """What keeps pygal from files and scripts of its own."""

    def _draw(self) -> None:
        super()._draw()  # type: ignore[misc]
        svg = self.svg  # type: ignore[attr-defined]
        svg.add_styles = svg.add_scripts = lambda: None


class Stacked(_Sober, StackedBar):  # type: ignore[misc]
    pass


class Lines(_Sober, Line):  # type: ignore[misc]
    pass


class Sideways(_Sober, HorizontalBar):  # type: ignore[misc]
    pass


_KINDS: Final[dict[Kind, Any]] = {Kind.STACKED: Stacked, Kind.LINES: Lines, Kind.SIDEWAYS: Sideways}


def draw(drawing: Drawing, size: Size, nonce: str) -> str:
    """The SVG. ``nonce``: of the content security policy that it is served with."""
    width, height = size.value
    series = [*drawing.series]
    css = _CSS
    if gap := _gap(drawing):
        css += _GAP_CSS.format(n=len(series))
        series.append(gap)
    sideways = drawing.kind is Kind.SIDEWAYS
    step = _step(len(drawing.labels), size)
    chart = _KINDS[drawing.kind](
        width=width,
        height=max(height, (18 * len(series) + 10) * len(drawing.labels) + 80) if sideways else height,
        js=(),
        style=_STYLE,
        defs=[f'<style nonce="{nonce}">{css}</style>', *_PATTERNS],
        value_formatter=drawing.say,
        x_labels=list(drawing.labels) if not sideways else list(reversed(drawing.labels)),
        x_labels_major=None if sideways else list(drawing.labels)[::step],
        show_minor_x_labels=sideways,
        truncate_label=-1,
        truncate_legend=-1,
        show_legend=len(series) > 1,
        legend_at_bottom=True,
        legend_at_bottom_columns=len(series) if size is Size.WIDE else 1,
        max_scale=6 if size is Size.WIDE else 4,
        min_scale=1,
        order_min=0,
        margin=8,
        margin_right=48 if sideways else 8,
        spacing=8,
        include_x_axis=True,
        allow_interruptions=True,
        dots_size=2,
        print_values=sideways,
        print_values_position="top",
        explicit_size=True,
        disable_xml_declaration=True,
    )
    for one in series:
        chart.add(one.name, list(reversed(one.values)) if sideways else list(one.values))
    chart.add_xml_filter(lambda root: _bare(root, drawing.alt))
    rendered: str = chart.render(is_unicode=True)
    return rendered


def _gap(drawing: Drawing) -> Series | None:
    """Grey from bottom to top where nothing is known."""
    name, at = drawing.missing
    if not any(at):
        return None
    columns = zip(*(one.values for one in drawing.series), strict=True)
    most = max((sum(value or 0 for value in column) for column in columns), default=0) or 1
    return Series(name, [most if missing else 0 for missing in at])


def _step(labels: int, size: Size) -> int:
    """Every label at a desk, every fifth or so on a phone."""
    return 1 if size is Size.WIDE or labels <= 8 else 5 if labels > 24 else 4


def _bare(root: Any, alt: str) -> Any:
    """Without what only scripts would use, and without who made it when."""
    for parent in list(root.iter()):
        for node in list(parent):
            if callable(node.tag) or node.tag == "desc" or "tooltip-overlay" in node.get("class", ""):
                parent.remove(node)
    root.find("title").text = alt
    return root
