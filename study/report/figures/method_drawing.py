"""Drawings of the methods: MoTE's block with an expert per instruction, MoE-LoRA's layer, EANS's weights.

`python -m study.report.figures.method_drawing` writes them to docs/methods/, where the README shows them.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ... import paths
from ..method_styles import METHODS
from ..style import STYLE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOLDER = "docs/methods"
WIDTH, HEIGHT = 3.0, 3.3  # inches
LINE, PLAIN = "#444444", "#F2F2F2"
SIZE = 8.0  # of the text


def mote() -> "Figure":
    """A transformer block of MoTE: the instruction of the text chooses one of four experts."""
    colour = METHODS["mote"].colour
    with new_figure(WIDTH, HEIGHT, "a block of MoTE: the instruction chooses one of four experts") as figure:
        axes = _canvas(figure, "MoTE: the instruction chooses")
        _box(axes, 50, 8, 92, 9, "search_query: What is BM25?")
        _box(axes, 50, 27, 60, 10, "attention (shared)")
        _arrow(axes, 50, 12.5, 50, 22)
        for place, name in zip((14, 38, 62, 86), ("class.", "cluster", "query", "doc."), strict=True):
            chosen = name == "query"
            _box(axes, place, 56, 21, 20, f"expert\n{name}", fill=colour if chosen else PLAIN, light=chosen)
        _arrow(axes, 50, 32, 62, 46, colour=colour)
        _arrow(axes, 62, 66, 50, 77, colour=colour)
        _box(axes, 50, 82, 60, 10, "next block")
        axes.text(34, 39, "route of\nsearch_query", ha="center", va="center", fontsize=SIZE - 1, color=colour)
    return figure


def moe_lora() -> "Figure":
    """An adapted layer of MoE-LoRA: a router mixes four low-rank experts beside the frozen weights."""
    colour = METHODS["vl_moe_lora"].colour
    with new_figure(WIDTH, HEIGHT, "a layer of MoE-LoRA: a router mixes four low-rank experts") as figure:
        axes = _canvas(figure, "MoE-LoRA: a router mixes")
        _box(axes, 50, 8, 40, 9, "token x")
        _box(axes, 14, 45, 26, 24, "frozen\nweights\nW")
        _arrow(axes, 40, 12.5, 14, 33)
        _box(axes, 64, 27, 44, 10, "router: gates p", fill=colour, light=True)
        _arrow(axes, 55, 12.5, 64, 22)
        for place, gate in zip((38, 55, 72, 89), (0.1, 0.6, 0.2, 0.1), strict=True):
            _arrow(axes, 64, 32, place, 46, colour=colour, width=0.6 + 4 * gate)
            _box(axes, place, 54, 14, 16, "LoRA", fill=PLAIN)
            _arrow(axes, place, 62, 55, 76, colour=colour, width=0.6 + 4 * gate)
        _arrow(axes, 14, 57, 45, 76)
        _box(axes, 50, 82, 60, 11, "W x + Σ pₑ Bₑ Aₑ x")
    return figure


def eans() -> "Figure":
    """EANS: a negative whose routing is like the query's weighs more in the loss."""
    colour = METHODS["tsembed"].colour
    with new_figure(WIDTH, HEIGHT, "EANS: negatives that are routed like the query weigh more") as figure:
        axes = _canvas(figure, "EANS: routed alike weighs more")
        query, negatives = (0.1, 0.7, 0.2), ((0.15, 0.65, 0.2), (0.4, 0.4, 0.2), (0.7, 0.1, 0.2))
        rows = [("query", query, None)]
        weights = _weights(query, negatives)
        rows += [(f"negative {i}", *pair) for i, pair in enumerate(zip(negatives, weights, strict=True), 1)]
        axes.text(46, 88, "use of experts", ha="center", va="center", fontsize=SIZE)
        axes.text(85, 88, "weight", ha="center", va="center", fontsize=SIZE)
        for y, (name, gates, weight) in zip((72, 52, 34, 16), rows, strict=True):
            axes.text(1, y, name, ha="left", va="center", fontsize=SIZE)
            for number, gate in enumerate(gates):
                bar = {"facecolor": LINE if name == "query" else colour, "linewidth": 0}
                _patch(axes, 36 + 9 * number, y - 6, 7, 15 * gate, **bar)
            axes.plot([34, 63], [y - 6, y - 6], color=LINE, linewidth=0.8)
            if weight is not None:
                _arrow(axes, 67, y, 76, y, colour=colour, width=1.6 * weight)
                axes.text(
                    87, y, f"{weight:.1f}", ha="center", va="center", fontsize=SIZE + 1, fontweight="bold", color=colour
                )
        axes.plot([1, 99], [62, 62], color="#BBBBBB", linewidth=0.6)
        axes.text(50, 4, "an example; the mean weight is 1", ha="center", va="center", fontsize=SIZE - 1)
    return figure


DRAWINGS: dict[str, Callable[[], "Figure"]] = {"mote": mote, "moe_lora": moe_lora, "eans": eans}


def svg(draw: Callable[[], "Figure"]) -> bytes:
    """A drawing as SVG, its text as outlines: the same bytes for the same packages."""
    import io

    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE | {"svg.fonttype": "path", "svg.hashsalt": "tsembed"}):
        figure = draw()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return b"\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + b"\n"


def _weights(query: Sequence[float], negatives: Sequence[Sequence[float]], beta: float = 1.5) -> list[float]:
    """exp(beta cos) of the query's routing with each negative's, over its mean.

    >>> [round(weight, 1) for weight in _weights((1, 0), [(1, 0), (0, 1)])]
    [1.6, 0.4]
    """
    sharp = [math.exp(beta * _cosine(query, each)) for each in negatives]
    return [value * len(sharp) / sum(sharp) for value in sharp]


def _cosine(first: Sequence[float], second: Sequence[float]) -> float:
    product = sum(a * b for a, b in zip(first, second, strict=True))
    return product / (math.hypot(*first) * math.hypot(*second))


def _canvas(figure: "Figure", title: str) -> "Axes":
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-1, 101), ylim=(-1, 101))
    axes.axis("off")
    axes.text(50, 96, title, ha="center", va="center", fontsize=SIZE + 1, fontweight="bold")
    return axes


def _box(axes: "Axes", x: float, y: float, width: float, height: float, text: str, *, fill=PLAIN, light=False) -> None:
    """A box round a centre with its text."""
    _patch(axes, x - width / 2, y - height / 2, width, height, facecolor=fill, edgecolor=LINE, linewidth=0.8)
    colour = "white" if light else "#111111"
    axes.text(x, y, text, ha="center", va="center", fontsize=SIZE, color=colour, linespacing=1.3)


def _patch(axes: "Axes", x: float, y: float, width: float, height: float, **look) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((x, y), width, height, **look))


def _arrow(axes: "Axes", x: float, y: float, to_x: float, to_y: float, *, colour=LINE, width: float = 1.2) -> None:
    look = {"arrowstyle": "-|>", "color": colour, "linewidth": width, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (to_x, to_y), (x, y), arrowprops=look)


def main() -> None:
    """Write every drawing to docs/methods/."""
    folder = paths.ROOT / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in DRAWINGS.items():
        (folder / f"{name}.svg").write_bytes(svg(draw))


if __name__ == "__main__":
    main()
