"""Draw the pipeline and the rooms of reward/: python -m docs.architecture

Writes docs/architecture.svg. Stages and files are those of dvc.yaml, and who imports whom is read
from the source, so the picture is as true as the last time that this was run. Needs no network.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from itertools import combinations, pairwise, permutations, product
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

import yaml

from reward.harness.closure import PROJECT, imported_modules, project_files

WIDTH, MARGIN = 1100, 16
INNER = WIDTH - 2 * MARGIN
LABELS = 256  # width of the column with the files' names
HEAD, ROW = 76, 21  # heights
BOX = (312, 64)  # of a room
LANE = 20  # what a line that passes between boxes gets of the width
LAYER = 124  # from one row of boxes to the next

STYLE = """
  svg { font: 13px 'Liberation Sans', Arial, Helvetica, sans-serif }
  .paper { fill: #ffffff } .ink { fill: #1f2328 } .muted { fill: #59636e } .mark { fill: #7a3fc4 }
  .box { fill: #f6f2fc; stroke: #7a3fc4 } .band { fill: #f6f8fa } .guide { stroke: #d8dee4 }
  .flow, .dot { stroke: #7a3fc4; stroke-width: 2 } .dot { fill: #ffffff }
  .import { fill: none; stroke: #6e7781; stroke-width: 1.4 } .tip { fill: #6e7781 }
  .path { font: 12px 'Liberation Mono', Menlo, Consolas, monospace }
  .name { font-weight: bold } .title { font-size: 16px; font-weight: bold }
  .small { font-size: 12px } .middle { text-anchor: middle }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117 } .ink { fill: #e6edf3 } .muted { fill: #a2abb4 } .mark { fill: #c39bf0 }
    .box { fill: #1d1630; stroke: #c39bf0 } .band { fill: #151b23 } .guide { stroke: #30363d }
    .flow, .dot { stroke: #c39bf0 } .dot { fill: #0d1117 }
    .import { stroke: #a2abb4 } .tip { fill: #a2abb4 }
  }
"""
IMPORTS = (
    "An arrow goes from a room to one that it imports. Below a room's name: the stages, then the "
    "commands (reward.NAME), that import it."
)


class File(NamedTuple):
    """A file or folder that stages hand on: who writes it (None: you do) and who reads it."""

    path: str
    writer: str | None
    readers: list[str]


class Place(NamedTuple):
    """Where a box of the second picture, or a line that passes between boxes, has its middle."""

    x: float
    y: float


Edge = tuple[str, str]  # who imports, what is imported
Layers = Sequence[Sequence[str]]  # boxes and passing lines, left to right in each; top first


def picture() -> str:
    """The whole picture as SVG."""
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    files = handed_on(stages)
    top = HEAD + ROW * len(files) + 56
    rooms, height = draw_rooms(importers(), list(stages), top)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" role="img" '
            'aria-labelledby="title">',
            '<title id="title">The stages with the files that they read and write, and the rooms '
            "of reward/ with the imports between them</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="paper" width="{WIDTH}" height="{height:g}"/>',
            *draw_stages(list(stages), files),
            *rooms,
            "</svg>\n",
        ]
    )


def handed_on(stages: Mapping[str, Any]) -> list[File]:
    """The files and folders below data/ and metrics/, in the order in which they are written."""

    def paths(stage: str, *kinds: str) -> list[str]:
        entries = [entry for kind in kinds for entry in stages[stage].get(kind, [])]
        return [
            path for entry in entries for path in ([entry] if isinstance(entry, str) else entry)
        ]

    written = {path: name for name in stages for path in paths(name, "outs", "metrics", "plots")}
    read = {path: None for name in stages for path in paths(name, "deps")}
    brought = [path for path in read if path.startswith("data/") and path not in written]
    return [
        File(path, written.get(path), [name for name in stages if path in paths(name, "deps")])
        for path in (*brought, *written)
    ]


def draw_stages(stages: list[str], files: list[File]) -> Iterator[str]:
    """A column for each stage and a row for each file, as a line from its writer to its readers."""
    column = (INNER - LABELS) / len(stages)
    at = {name: MARGIN + LABELS + column * (index + 0.5) for index, name in enumerate(stages)}
    bottom = HEAD + ROW * len(files)
    yield text(MARGIN, 28, "The stages, and what they hand on", "ink title")
    legend = WIDTH - MARGIN - 136
    yield f'<rect class="mark" x="{legend}" y="18" width="10" height="10"/>'
    yield text(legend + 17, 27.5, "writes", "ink")
    yield f'<circle class="dot" cx="{legend + 85}" cy="23" r="5"/>'
    yield text(legend + 97, 27.5, "reads", "ink")
    for number in range(0, len(files), 2):
        y = float(HEAD + ROW * number)
        yield f'<rect class="band" x="{MARGIN}" y="{y:g}" width="{INNER}" height="{ROW}"/>'
    for name, x in at.items():
        yield f'<line class="guide" x1="{x:g}" y1="{HEAD - 10}" x2="{x:g}" y2="{bottom}"/>'
        yield (
            f'<rect class="box" x="{x - column / 2 + 4:g}" y="{HEAD - 34}" width="{column - 8:g}" '
            'height="25" rx="5"/>'
        )
        yield text(x, HEAD - 17, name, "ink name middle")
    for number, file in enumerate(files):
        y = HEAD + ROW * (number + 0.5)
        yield text(MARGIN + 6, y + 4, file.path, "ink path")
        stops = [at[name] for name in (file.writer, *file.readers) if name]
        start = at[file.writer] if file.writer else MARGIN + LABELS - 20
        yield f'<line class="flow" x1="{start:g}" y1="{y}" x2="{max(stops):g}" y2="{y}"/>'
        for name in file.readers:
            yield f'<circle class="dot" cx="{at[name]:g}" cy="{y}" r="5"/>'
        if file.writer:
            x = at[file.writer]
            yield f'<rect class="mark" x="{x - 5:g}" y="{y - 5}" width="10" height="10"/>'


def importers() -> dict[str, set[str]]:
    """From each room to who imports it: rooms, stages (stages/NAME) and commands (reward/NAME)."""
    rooms = {path.parent.name for path in (PROJECT / "reward").glob("*/__init__.py")}
    found: dict[str, set[str]] = {room: set() for room in sorted(rooms)}
    for path in [*(PROJECT / "reward").rglob("*.py"), *(PROJECT / "stages").glob("*.py")]:
        who = room_of(path.relative_to(PROJECT))
        for dotted in imported_modules(path):
            for room in {room_of(Path(file)) for file in project_files(dotted)} & rooms - {who}:
                found[room].add(who)
    return found


def room_of(file: Path) -> str:
    """The room that a file is in; of a stage or a command, its path without the ending."""
    _, *folders = file.parent.parts
    return folders[0] if folders else file.with_suffix("").as_posix()


def draw_rooms(
    imported: Mapping[str, set[str]], stages: list[str], top: float
) -> tuple[list[str], float]:
    """A box for each room above those that it imports, and the y where the picture ends."""
    rooms = set(imported)
    everywhere = [room for room in imported if rooms - {room} <= imported[room]]
    edges = [
        (who, room)
        for room in imported
        if room not in everywhere
        for who in sorted(imported[room] & rooms)
    ]
    layers, chains = layered(edges, sorted(rooms - {*everywhere}))
    places = dict(placed(best_order(layers, chains), top + 76))
    y = top + 76 + LAYER * (len(layers) - 1) + BOX[1] / 2 + 40
    drawn = [
        text(MARGIN, top, "The rooms of reward/, and who imports whom", "ink title"),
        text(MARGIN, top + 22, IMPORTS, "muted"),
        *(line for chain in chains for line in draw_import(chain, places, chains)),
    ]
    for room in sorted(rooms & set(places)):
        width, height = BOX
        x, middle = places[room]
        drawn.append(
            f'<rect class="box" x="{x - width / 2:g}" y="{middle - height / 2:g}" width="{width}" '
            f'height="{height}" rx="6"/>'
        )
        lines = [room, *used_by(imported[room], stages)]
        for number, line in enumerate(lines):
            y_line = middle + 5 + 18 * (number - (len(lines) - 1) / 2)
            drawn.append(text(x, y_line, line, f"{'muted small' if number else 'ink name'} middle"))
    for room in everywhere:
        drawn.append(
            f'<rect class="box" x="{MARGIN}" y="{y:g}" width="{INNER}" height="34" rx="6"/>'
        )
        drawn.append(text(WIDTH / 2 - 70, y + 22, room, "ink name middle"))
        drawn.append(text(WIDTH / 2 - 30, y + 22, "imported by all the others", "muted small"))
        y += 44
    return drawn, y + MARGIN - 10


def used_by(who: set[str], stages: list[str]) -> Iterator[str]:
    """The stages, and then the commands, of those who import a room."""
    if named := [name for name in stages if f"stages/{name}" in who]:
        yield ", ".join(named)
    if named := sorted(name for name in who if name.startswith("reward/")):
        yield ", ".join(named).replace("/", ".")


def layered(edges: list[Edge], rooms: list[str]) -> tuple[list[list[str]], list[list[str]]]:
    """The rooms, each one layer above the highest that it imports, top first; and for each import
    the names that its line goes through, one more in every layer that it passes.
    """
    below = {room: [target for who, target in edges if who == room] for room in rooms}
    level: dict[str, int] = {}
    for room in TopologicalSorter(below).static_order():
        level[room] = 1 + max((level[target] for target in below[room]), default=-1)
    layers = [
        [room for room in rooms if level[room] == number]
        for number in range(max(level.values()), -1, -1)
    ]
    chains = []
    for who, target in edges:
        passed = range(level[who] - 1, level[target], -1)
        chain = [who, *(f"{who} to {target}, at {number}" for number in passed), target]
        for number, name in zip(passed, chain[1:-1], strict=True):
            layers[-1 - number].append(name)
        chains.append(chain)
    return layers, chains


def best_order(layers: Layers, chains: list[list[str]]) -> Layers:
    """The layers, each in the order by which the fewest lines cross.

    All orders are tried, which takes well below a second for as few rooms as these.
    """
    steps = [step for chain in chains for step in pairwise(chain)]
    links = [
        [(high, low) for high, low in steps if high in upper and low in lower]
        for upper, lower in pairwise(layers)
    ]

    def cost(orders: Layers) -> tuple[int, float]:
        crossings, length = 0, 0.0
        for (upper, lower), lines in zip(pairwise(orders), links, strict=True):
            ends = [(upper.index(high), lower.index(low)) for high, low in lines]
            crossings += sum((a - c) * (b - d) < 0 for (a, b), (c, d) in combinations(ends, 2))
            length += sum(abs((a + 0.5) / len(upper) - (b + 0.5) / len(lower)) for a, b in ends)
        return crossings, length

    return min(product(*map(permutations, layers)), key=cost)


def placed(layers: Layers, top: float) -> Iterator[tuple[str, Place]]:
    """Every box and passing line with its place: each layer is spread over the whole width."""
    for number, order in enumerate(layers):
        widths = [BOX[0] if name.isidentifier() else LANE for name in order]
        gap = (INNER - sum(widths)) / (len(order) + 1)
        x = float(MARGIN)
        for name, width in zip(order, widths, strict=True):
            x += gap
            yield name, Place(x + width / 2, top + LAYER * number)
            x += width


def draw_import(
    chain: list[str], places: Mapping[str, Place], chains: Iterable[list[str]]
) -> Iterator[str]:
    """The line of one import, with an arrow's tip on the imported room."""

    # Lines at one edge of a box stand side by side, in the order of their other ends.
    def port(room: str, ends: list[str], mine: str) -> float:
        ends = sorted(ends, key=lambda name: places[name].x)
        return places[room].x + (ends.index(mine) - (len(ends) - 1) / 2) * 34

    first, last = chain[0], chain[-1]
    out = port(first, [other[1] for other in chains if other[0] == first], chain[1])
    into = port(last, [other[-2] for other in chains if other[-1] == last], chain[-2])
    half = BOX[1] / 2
    points = [Place(out, places[first].y + half)]
    for name in chain[1:-1]:
        x, y = places[name]
        points += [Place(x, y - half), Place(x, y + half)]
    points.append(Place(into, places[last].y - half - 7))
    path = f"M{points[0].x:g},{points[0].y:g}"
    for (x, y), (to_x, to_y) in pairwise(points):
        bend = (to_y - y) / 2
        path += f" C{x:g},{y + bend:g} {to_x:g},{to_y - bend:g} {to_x:g},{to_y:g}"
    tip = places[last].y - half
    yield f'<path class="import" d="{path}"/>'
    yield f'<path class="tip" d="M{into:g},{tip:g} l-4.5,-9 h9 z"/>'


def text(x: float, y: float, words: str, kind: str) -> str:
    """A line of text; `kind` is its classes of STYLE."""
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(words)}</text>'


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(picture(), encoding="utf-8")
