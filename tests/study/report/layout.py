"""What is wrong with the layout of a drawn figure: text or marks outside, labels on each other, a legend on a mark."""

from itertools import combinations
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from study.report import style

PIXEL = 1.0  # what rounding may cost


class Label(NamedTuple):
    """A visible text and its place in pixels."""

    text: str
    box: Bbox


def faults(figure: Figure) -> list[str]:
    """A sentence for each fault of a figure, drawn in the style in which it is saved."""
    import matplotlib

    with matplotlib.rc_context(style.STYLE):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
        labels = [Label(t.get_text(), t.get_window_extent(renderer)) for t in _texts(figure)]
    panels = [axes for axes in figure.axes if axes.get_visible()]
    found = [f"{label.text!r} leaves the figure" for label in labels if not _holds(figure.bbox, label.box.get_points())]
    for first, second in combinations(labels, 2):
        if _meet(first.box, second.box):
            found.append(f"{first.text!r} lies on {second.text!r}")
    for axes in panels:
        marks = _marks(axes)
        found += [
            f"a {kind} of {axes.get_title()!r} leaves its axes" for kind, at in marks if not _holds(axes.bbox, at)
        ]
        if legend := axes.get_legend():
            frame = legend.get_window_extent(renderer)
            if any(frame.contains(*point) for kind, at in marks if kind == "line" for point in at):
                found.append(f"the legend of {axes.get_title()!r} lies on a mark")
    return found


def _texts(figure: Figure) -> list[Text]:
    """Every text that is drawn."""
    texts = [*figure.texts]
    for owner in (figure, *(axes for axes in figure.axes if axes.get_visible())):
        if isinstance(owner, Axes):
            for part in (owner, *owner.child_axes):
                texts += [*part.texts, part.title, part._left_title, part._right_title]
                for axis in (part.xaxis, part.yaxis) if part.axison else ():
                    texts += [axis.label, axis.offsetText]
                    ticks = axis._update_ticks() if axis.get_visible() else []
                    texts += [label for tick in ticks for label in (tick.label1, tick.label2)]
        legends = owner.legends if isinstance(owner, Figure) else [owner.get_legend()]
        texts += [text for legend in legends if legend for text in legend.get_texts()]
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


def _marks(axes: Axes) -> list[tuple[str, np.ndarray]]:
    """Kind and points, in pixels, of every line, bar of an interval and area."""
    artists = [("line", line) for line in axes.lines] + [("area", patch) for patch in axes.patches]
    marks = [(kind, a.get_transform().transform(a.get_path().vertices)) for kind, a in artists if a.get_visible()]
    for collection in axes.collections:
        for path in collection.get_paths():
            marks.append(("bar", collection.get_transform().transform(path.vertices)))
    marks = [(kind, points[np.isfinite(points).all(axis=1)]) for kind, points in marks]
    return [(kind, points) for kind, points in marks if len(points)]


def _holds(box: Bbox, points: np.ndarray) -> bool:
    low, high = points.min(axis=0) + PIXEL, points.max(axis=0) - PIXEL
    return bool((low >= box.min).all() and (high <= box.max).all())


def _meet(first: Bbox, second: Bbox) -> bool:
    width = min(first.x1, second.x1) - max(first.x0, second.x0)
    height = min(first.y1, second.y1) - max(first.y0, second.y0)
    return width > PIXEL and height > PIXEL
