"""Draws horizontal bars as SVG: how many times less the candidate takes, on a logarithmic scale.

A bar to the right of the line at 1 is in the candidate's favour. The picture brings its own
background, so that it can be read on a light and on a dark page.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from xml.sax.saxutils import escape

from .results import Spread

WIDTH, LABELS, FIGURES = 820, 300, 190  # px: the picture, its left column, its right column
HEAD, STEP, BAR = 64, 26, 14  # px: above the first bar, from bar to bar, a bar

STYLE = """
  .back { fill: #ffffff } text { fill: #24292f; font: 13px sans-serif }
  .title { font-weight: bold; font-size: 15px } .small { font-size: 11px }
  .bar { fill: #2f6fbd } .tuned { fill: #2e8b57 } .goal { stroke: #c2410c; stroke-width: 2 }
  .range { stroke: #24292f; stroke-width: 1 } .grid { stroke: #d0d7de } .one { stroke: #57606a }
  @media (prefers-color-scheme: dark) {
    .back { fill: #161b22 } text { fill: #e6edf3 } .bar { fill: #5b9bea } .tuned { fill: #4fb477 }
    .goal { stroke: #ff9d5c } .range { stroke: #e6edf3 } .grid { stroke: #30363d }
    .one { stroke: #8b949e }
  }
"""


@dataclass(frozen=True)
class Bar:
    """A ratio with its range, and the ratio that was aimed at."""

    label: str
    ratio: Spread
    goal: float | None = None
    tuned: bool = False


def draw(title: str, bars: list[Bar]) -> str:
    """An SVG document."""
    scale = Scale.of(bars)
    height = HEAD + STEP * len(bars) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<rect class="back" width="{WIDTH}" height="{height}" rx="6"/>',
        f'<text class="title" x="12" y="24">{escape(title)}</text>',
        *_grid(scale, height),
    ]
    for place, bar in enumerate(bars):
        parts += _bar(scale, bar, HEAD + STEP * place)
    return "\n".join([*parts, "</svg>"]) + "\n"


@dataclass(frozen=True)
class Scale:
    """Powers of two from `low` to `high`, as exponents."""

    low: int
    high: int

    @classmethod
    def of(cls, bars: list[Bar]) -> "Scale":
        shown = [1.0, 2.0]
        for bar in bars:
            shown += [bar.ratio.low, bar.ratio.high, bar.goal or 1.0]
        return cls(math.floor(math.log2(min(shown))), math.ceil(math.log2(max(shown))))

    def x(self, ratio: float) -> float:
        width = WIDTH - LABELS - FIGURES
        share = (math.log2(ratio) - self.low) / (self.high - self.low)
        return round(LABELS + width * share, 1)


def _grid(scale: Scale, height: int) -> Iterator[str]:
    for exponent in range(scale.low, scale.high + 1):
        x = scale.x(2.0**exponent)
        kind = "grid" if exponent else "one"
        yield f'<line class="{kind}" x1="{x}" x2="{x}" y1="{HEAD - 10}" y2="{height - 6}"/>'
        name = f"{2**exponent}" if exponent >= 0 else f"1/{2**-exponent}"
        yield f'<text class="small" x="{x}" y="{HEAD - 14}" text-anchor="middle">{name}</text>'


def _bar(scale: Scale, bar: Bar, y: int) -> Iterator[str]:
    one, end = scale.x(1.0), scale.x(bar.ratio.median)
    left, width = min(one, end), round(max(abs(end - one), 1.0), 1)
    middle, base = y + BAR / 2, y + BAR - 3
    low, high = scale.x(bar.ratio.low), scale.x(bar.ratio.high)
    yield f'<text x="{LABELS - 10}" y="{base}" text-anchor="end">{escape(bar.label)}</text>'
    kind = "tuned" if bar.tuned else "bar"
    yield f'<rect class="{kind}" x="{left}" y="{y}" width="{width}" height="{BAR}"/>'
    yield f'<line class="range" x1="{low}" x2="{high}" y1="{middle}" y2="{middle}"/>'
    if bar.goal:
        x = scale.x(bar.goal)
        yield f'<line class="goal" x1="{x}" x2="{x}" y1="{y - 3}" y2="{y + BAR + 3}"/>'
    goal = f", goal {bar.goal:g}" if bar.goal else ""
    figure = f"{bar.ratio.median:.1f} ({bar.ratio.low:.1f} to {bar.ratio.high:.1f}{goal})"
    yield f'<text x="{WIDTH - FIGURES + 8}" y="{base}">{figure}</text>'
