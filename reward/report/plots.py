"""Pictures of the report: Vega-Lite templates filled and drawn as SVG, and bars' scale."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import vl_convert
from dvc_render.vega import VegaRenderer

WIDTH, HEIGHT = 440, 300  # pixels within the axes; two pictures side by side fill the page
MOST_POINTS = 300  # of a kind in a plot, evenly spaced: a long run has a step for every pixel

# What Vega draws with on the left is what the style sheet knows on the right, so that one picture
# does for light and dark. A template's own colours are these two.
COLOURS = {"#945dd6": "var(--mark)", "#888888": "var(--muted)"}
THEME = {
    "background": None,
    "font": "Liberation Sans",  # vl-convert brings it along: sizes do not depend on the machine
    "view": {"stroke": "var(--line)"},
    "axis": {
        "domainColor": "var(--line)",
        "gridColor": "var(--line)",
        "tickColor": "var(--line)",
        "labelColor": "var(--muted)",
        "titleColor": "var(--muted)",
        "titleFontWeight": "normal",
        "labelFontSize": 11,
        "titleFontSize": 11,
    },
    "axisX": {"tickCount": 6},
    "header": {"labelColor": "var(--muted)", "labelFontSize": 12},
    "legend": {
        "disable": True,  # of the revision: there is one; a template that sets a legend keeps it
        "labelColor": "var(--muted)",
        "titleColor": "var(--muted)",
        "titleFontWeight": "normal",
    },
}


@dataclass(frozen=True)
class Plot:
    """One picture: the table behind it, and its template for DVC."""

    name: str
    table: pa.Table
    template: Path


@dataclass(frozen=True)
class Scale:
    """The accuracies that a chart spans, both multiples of 0.1, with 0.5 between them."""

    low: float
    high: float

    @classmethod
    def around(cls, rows: list[dict[str, Any]]) -> "Scale":
        lowest = min(0.4, *(row["accuracy_low"] for row in rows))
        highest = max(0.6, *(row["accuracy_high"] for row in rows))
        return cls(math.floor(lowest * 10) / 10, math.ceil(highest * 10) / 10)

    def at(self, accuracy: float) -> str:
        """Where an accuracy is, in percent of the chart's width."""
        return f"{100 * (accuracy - self.low) / (self.high - self.low):.2f}%"

    @property
    def ticks(self) -> list[float]:
        """Every 10 %, or every 20 % on a wide scale; 0.5 is not always among them."""
        first, last = round(self.low * 10), round(self.high * 10)
        step = 1 if last - first <= 5 else 2
        return [tick / 10 for tick in range(first, last + 1, step)]


def draw(plot: Plot) -> str:
    """A plot as SVG without a background, in the colours that the page's style sheet names."""
    rows = [{**row, "rev": "workspace"} for row in plot.table.to_pylist()]
    # Evaluations are few between many steps: each kind is thinned by itself.
    kinds = [
        [row for row in rows if (row.get("split") == "validation") is k] for k in (False, True)
    ]
    rows = [row for part in kinds for row in part[:: -(-len(part) // MOST_POINTS) or 1]]
    renderer = VegaRenderer(
        rows,
        plot.name,
        template=plot.template.stem,
        template_dir=str(plot.template.parent),
    )
    picture = renderer.get_filled_template() | {"config": THEME}
    if "width" in picture:  # not in one of several panels
        picture |= {"width": WIDTH, "height": HEIGHT}
    text = json.dumps(picture)
    for drawn, named in COLOURS.items():
        text = text.replace(drawn, named)
    return vl_convert.vegalite_to_svg(text)
