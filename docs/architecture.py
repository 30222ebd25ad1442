"""Draw packages by floor, from the imports in the source: `python docs/architecture.py` writes architecture.png.

A room is a package, or a module that stands by itself in `mvm`. A room's floor is one above the highest room that it
imports from. An arrow is an import between rooms; an arrow that follows from others is left out.
"""

from __future__ import annotations

import argparse
import ast
import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise
from pathlib import Path
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as PathCode
from scipy.optimize import isotonic_regression

__all__ = ["FILES", "HOUSES", "PICTURE", "ROOT", "House", "imports", "imports_of", "room_of"]

ROOT = Path(__file__).parents[1]
PICTURE = Path(__file__).with_name("architecture.png")
HOUSES = ("app", "mvm", "toy_manifolds", "benchmarks")

# -- reading -----------------------------------------------------------------------------------------------------------


def module_name(path: Path) -> str:
    """The dotted name of a source file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for house in HOUSES for path in sorted((ROOT / house).rglob("*.py"))}


def imports(source: str, module: str, *, package: bool, lazy: bool = True) -> set[str]:
    """Every module that `source` names in an import; without `lazy`, only those imported when it is loaded."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if not lazy and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        if not lazy and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -(node.level - package) or None] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            inner = {f"{base}.{alias.name}" for alias in node.names} & set(FILES)
            found.update(inner)
            if len(inner) < len(node.names):
                found.add(base)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(source))
    return found


def imports_of(module: str, *, lazy: bool = True) -> set[str]:
    """Every module that a module of the repository imports."""
    path = FILES[module]
    return imports(path.read_text(encoding="utf-8"), module, package=path.name == "__init__.py", lazy=lazy)


def room_of(module: str) -> str:
    """The package that a module belongs to, or the module itself where it stands by itself in `mvm`."""
    return ".".join(module.split(".")[: 2 if module.startswith("mvm.") else 1])


@dataclass(frozen=True)
class House:
    """Rooms and what each imports from.

    Attributes:
        modules: names of a room's modules.
        below: rooms that a room imports from.
    """

    modules: Mapping[str, tuple[str, ...]]
    below: Mapping[str, frozenset[str]]

    @classmethod
    def read(cls) -> House:
        """The house as the source has it now."""
        modules: dict[str, tuple[str, ...]] = {}
        below: dict[str, frozenset[str]] = {}
        for module in FILES:
            room = room_of(module)
            others = {room_of(other) for other in imports_of(module) & set(FILES)} - {room}
            modules[room] = (*modules.get(room, ()), module)
            below[room] = below.get(room, frozenset()) | others
        return cls(modules, below)

    @cached_property
    def floors(self) -> list[list[str]]:
        """Rooms of each floor, from the ground up.

        Raises:
            ValueError: rooms import each other in a circle.
        """
        floors: list[list[str]] = []
        built: set[str] = set()
        while len(built) < len(self.below):
            floor = sorted(room for room in self.below.keys() - built if self.below[room] <= built)
            if not floor:
                raise ValueError(
                    f"these rooms import each other in a circle: {', '.join(sorted(self.below.keys() - built))}"
                )
            floors.append(floor)
            built.update(floor)
        return floors

    @cached_property
    def arrows(self) -> list[tuple[str, str]]:
        """(room, room below) of each import that does not follow from others."""
        reached: dict[str, set[str]] = {}
        for floor in self.floors:
            for room in floor:
                reached[room] = set(self.below[room]).union(*(reached[other] for other in self.below[room]))
        return [
            (room, other)
            for room in reached
            for other in sorted(self.below[room])
            if not any(other in reached[between] for between in self.below[room])
        ]

    def lines(self, room: str) -> int:
        """Lines of source in a room."""
        return sum(len(FILES[module].read_text(encoding="utf-8").splitlines()) for module in self.modules[room])

    def summary(self) -> str:
        """Floors and arrows as JSON: the text that a picture carries."""
        return json.dumps({"floors": self.floors, "arrows": self.arrows})


# -- placing -----------------------------------------------------------------------------------------------------------

WIDTH = 92.0  # of the house; ten units are an inch
STOREY, HEIGHT = 8.6, 5.9  # of a floor, and of a room on it
GAP = 2.4  # between rooms
PORT = 2.0  # between arrows at a room, and the width that an arrow takes where it passes a floor
SWEEPS = 24

Point = tuple[float, float]


@dataclass(frozen=True)
class Plan:
    """Where everything is drawn.

    Attributes:
        middles: x of each room.
        widths: of each room, by its lines.
        width: of the widest row, `WIDTH` at least.
        ways: points that each arrow goes through, from the lower edge of a room to the upper edge of one below.
    """

    middles: dict[str, float]
    widths: dict[str, float]
    width: float
    ways: list[list[Point]]


def plan(house: House) -> Plan:
    """Place rooms near those that they import from; an arrow that passes a floor goes between its rooms."""
    level = {room: number for number, floor in enumerate(house.floors) for room in floor}
    widths: dict[str, float] = {room: 11 + house.lines(room) / 100 for room in level}
    rows: list[list[str]] = [list(floor) for floor in house.floors]
    chains: list[list[str]] = []
    for upper, lower in house.arrows:
        passed = [f"{upper} to {lower} on {number}" for number in range(level[upper] - 1, level[lower], -1)]
        for number, name in zip(range(level[upper] - 1, level[lower], -1), passed, strict=True):
            rows[number].append(name)
            widths[name] = PORT
        chains.append([upper, *passed, lower])
    links = [link for chain in chains for link in pairwise(chain)]
    row_of = {name: number for number, row in enumerate(rows) for name in row}
    width = max(WIDTH, *(sum(widths[name] for name in row) + GAP * (len(row) - 1) for row in rows))
    middles = dict.fromkeys(widths, width / 2)
    tried: list[dict[str, float]] = []
    for sweep in range(SWEEPS):
        upwards = sweep % 2 == 1
        near: dict[str, list[str]] = {name: [] for name in widths}
        for upper, lower in links:  # sort by the row that was placed last, then balance between both
            if upwards or sweep > SWEEPS / 2:
                near[upper].append(lower)
            if not upwards or sweep > SWEEPS / 2:
                near[lower].append(upper)
        for row in rows if upwards else reversed(rows):
            wanted = {name: fmean(middles[other] for other in near[name] or [name]) for name in row}
            middles |= side_by_side(wanted, widths, width)
        tried.append(dict(middles))
    best = min(tried, key=lambda middles: cost(links, middles, row_of))
    return Plan(best, widths, width, ways(chains, best, widths, level))


def cost(links: list[tuple[str, str]], middles: dict[str, float], row_of: dict[str, int]) -> float:
    """Crossings of arrows, then how far they lean."""
    lean = sum(abs(middles[upper] - middles[lower]) for upper, lower in links)
    crossings = sum(
        row_of[a] == row_of[c] and (middles[a] - middles[c]) * (middles[b] - middles[d]) < 0
        for (a, b), (c, d) in combinations(links, 2)
    )
    return crossings * WIDTH + lean


def side_by_side(wanted: dict[str, float], widths: dict[str, float], width: float) -> dict[str, float]:
    """Middles of a row's rooms as near to the wanted ones as they can stand without overlap."""
    order = sorted(wanted, key=lambda name: wanted[name])
    offsets = np.cumsum([0.0, *(widths[left] / 2 + GAP + widths[right] / 2 for left, right in pairwise(order))])
    shifts = isotonic_regression([wanted[name] for name in order] - offsets).x
    first, last = widths[order[0]] / 2, width - offsets[-1] - widths[order[-1]] / 2
    return dict(zip(order, (offsets + np.clip(shifts, first, max(first, last))).tolist(), strict=True))


def ways(
    chains: list[list[str]], middles: dict[str, float], widths: dict[str, float], level: dict[str, int]
) -> list[list[Point]]:
    """Points of each arrow; arrows at the same edge of a room are spread, in the order of their other ends."""
    starts, ends = (
        {index: place for room in level for index, place in ports(room, chains, end, middles, widths).items()}
        for end in (0, -1)
    )
    found = []
    for index, (upper, *passed, lower) in enumerate(chains):
        points = [(starts[index], level[upper] * STOREY)]
        for number, name in zip(range(level[upper] - 1, level[lower], -1), passed, strict=True):
            points += [(middles[name], number * STOREY + HEIGHT), (middles[name], number * STOREY)]
        found.append([*points, (ends[index], level[lower] * STOREY + HEIGHT)])
    return found


def ports(
    room: str, chains: list[list[str]], end: int, middles: dict[str, float], widths: dict[str, float]
) -> dict[int, float]:
    """x at which each arrow leaves (`end` 0) or enters (-1) a room, by the arrow's number."""
    own = [index for index, chain in enumerate(chains) if chain[end] == room]
    own.sort(key=lambda index: middles[chains[index][1 if end == 0 else -2]])
    step = min(PORT, 0.8 * widths[room] / max(1, len(own)))
    return {index: middles[room] + (place - (len(own) - 1) / 2) * step for place, index in enumerate(own)}


# -- drawing -----------------------------------------------------------------------------------------------------------

COLOURS = {"app": "#D55E00", "mvm": "#0072B2", "toy_manifolds": "#009E73", "benchmarks": "#8A6FA8"}
INK, FAINT, ARROW = "#1F2933", "#616E7C", "#9AA5B1"
BANDS = ("#FFFFFF", "#F4F6F8")


def draw_house(ax: Axes, house: House, places: Plan) -> None:
    """Draw floors, arrows and rooms."""
    margin = (STOREY - HEIGHT) / 2
    for number, floor in enumerate(house.floors):
        base = number * STOREY
        ax.axhspan(base - margin, base + HEIGHT + margin, color=BANDS[number % 2], lw=0, zorder=0)
        ax.text(-3, base + HEIGHT / 2, str(number + 1), ha="center", va="center", color=FAINT, size=9)
        for room in floor:
            draw_room(ax, house, room, middle=places.middles[room], width=places.widths[room], base=base)
    for points in places.ways:
        draw_arrow(ax, points)
    ax.set(xlim=(-6, places.width + 2), ylim=(-margin, len(house.floors) * STOREY - margin), aspect="equal")
    ax.axis("off")


def draw_arrow(ax: Axes, points: list[Point]) -> None:
    """Draw a smooth line down through points, upright at each."""
    vertices, codes = [points[0]], [PathCode.MOVETO]
    for (x, y), (to_x, to_y) in pairwise(points):
        between = (y + to_y) / 2
        vertices += [(x, between), (to_x, between), (to_x, to_y)]
        codes += [PathCode.CURVE4] * 3
    style = "-|>,head_length=2.6,head_width=1.4"
    ax.add_patch(FancyArrowPatch(path=PathCode(vertices, codes), arrowstyle=style, lw=0.9, color=ARROW, zorder=2))


def draw_room(ax: Axes, house: House, room: str, *, middle: float, width: float, base: float) -> None:
    """Draw a room with its name and its modules."""
    colour = COLOURS[room.split(".")[0]]
    tint = tuple(0.9 + 0.1 * channel for channel in to_rgb(colour))
    shape, corner = "round,pad=0,rounding_size=0.8", (middle - width / 2, base)
    ax.add_patch(FancyBboxPatch(corner, width, HEIGHT, shape, fc=tint, ec=colour, lw=1, zorder=3))
    parts = dict.fromkeys(module.removeprefix(f"{room}.").split(".")[0] for module in house.modules[room][1:])
    lines = textwrap.wrap(", ".join(parts), width=int(width * 1.9))
    name = "import mvm" if room == "mvm" else room.removeprefix("mvm.") + ("/" if parts else "")
    top = base + HEIGHT / 2 + 0.5 * len(lines)
    ax.text(middle, top, name, ha="center", va="center", color=INK, size=9, weight="bold", zorder=4)
    if lines:
        words = "\n".join(lines)
        ax.text(middle, top - 0.95, words, ha="center", va="top", color=FAINT, size=6.2, linespacing=1.15, zorder=4)


def figure(house: House) -> Figure:
    """The house on a page of its own."""
    places = plan(house)
    made = Figure(figsize=((places.width + 8) / 10, len(house.floors) * STOREY / 10))
    draw_house(made.add_axes((0, 0, 1, 1)), house, places)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=PICTURE, help="the picture, a PNG (default: beside this script)")
    options = parser.parse_args()
    house = House.read()
    figure(house).savefig(options.out, dpi=180, metadata={"Description": house.summary(), "Software": None})
    print(options.out)


if __name__ == "__main__":
    main()
