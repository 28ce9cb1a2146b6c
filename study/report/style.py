"""Figures as a paper takes them: one style, one colour and marker per method, PDF + PNG + the CSV behind each.

Every figure says how many seeds it shows and which interval. The plot functions take results and return a matplotlib
Figure; `save` writes it and gives the notebook something to display.
"""

import base64
import html
import io
import math
import os
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from .. import paths
from .method_styles import METHODS

if TYPE_CHECKING:
    from IPython.display import HTML
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


COLUMN, FULL = 3.3, 6.9  # inches: one column and the full width of a page
SCALE = 7.5  # rem on a screen for an inch on paper
MISSING = "–"  # in place of a number that there is not
NAME = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?")
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "axes.grid": True,
    "grid.color": "#E2E2E2",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "figure.dpi": 110,
    "savefig.dpi": 220,
    "figure.facecolor": "white",
    "axes.formatter.useoffset": False,
}


def save(figure: "Figure", name: str, data: pd.DataFrame, *, preset: str, caption: str) -> "HTML":
    """Write reports/<preset>/figures/<name>.{pdf,png,csv}; what a notebook's cell displays for it.

    The files hold no date, so the same results give the same bytes.

    Args:
        figure: Saved as it stands, under the common style; it stays open.
        name: Letters, digits, `_`, `-`, `.`. `runs/<name>` keeps a figure of one run out of the gallery.
        data: The numbers that the figure shows, tidy.
        preset: Whose report it is for.
        caption: Plain text. It is the alternative text, and is kept in the PNG for the gallery.

    Raises:
        ValueError: If `name` has other characters, or `data` is empty.
    """
    from IPython.display import HTML

    target = target_of(preset, "figures", name)
    write_files(figure, target, data, caption)
    picture = _picture(Path(f"{target}.png").read_bytes(), caption, figure)
    text = f"{html.escape(caption)} {links(target, ('pdf', 'png', 'csv'))}"
    return HTML(f'<figure class="figure">{picture}<figcaption>{text}</figcaption></figure>')


def write_files(figure: "Figure", target: Path, data: pd.DataFrame, caption: str) -> None:
    """Write `target` with the suffixes .pdf, .png and .csv; the caption is kept in the first two.

    Raises:
        ValueError: If `data` is empty.
    """
    import matplotlib

    if data.empty:
        raise ValueError(f"figure {target.name!r} has no data behind it")
    with matplotlib.rc_context(STYLE):
        figure.savefig(f"{target}.pdf", metadata={"CreationDate": None, "Title": caption})
        figure.savefig(f"{target}.png", metadata={"Software": None, "Description": caption})
    data.to_csv(f"{target}.csv", index=False)


def target_of(preset: str, kind: str, name: str) -> Path:
    """reports/<preset>/<kind>/<name> without a suffix, its folder made.

    Raises:
        ValueError: If the name could leave the folder.
    """
    if not NAME.fullmatch(name) or ".." in name:
        raise ValueError(f"{kind}: the name {name!r} may have letters, digits, '_', '-', '.' and one '/' only")
    target = paths.report_dir(preset) / kind / name
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def links(target: Path, kinds: tuple[str, ...]) -> str:
    """Links to the files, relative to the notebook's folder; the site makes them relative to its pages."""
    place = os.path.relpath(target, Path.cwd()).replace(os.sep, "/")
    label = html.escape(target.name)
    named = {k: "LaTeX" if k == "tex" else k.upper() for k in kinds}
    anchors = (f'<a href="{html.escape(place)}.{k}" aria-label="{label} as {v}">{v}</a>' for k, v in named.items())
    return f'<span class="files">{" · ".join(anchors)}</span>'


def p_value(p: float) -> str:
    """The p-value as a label; a dash where there is none.

    >>> p_value(0.0312), p_value(1e-9), p_value(float("nan"))
    ('p = 0.031', 'p < 0.0001', '–')
    """
    if math.isnan(p):
        return MISSING
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"


def seeds_text(seeds: Iterable[int]) -> str:
    """Number of seeds behind each of several rows, as text.

    >>> seeds_text([2, 1, 2]), seeds_text([3, 3]), seeds_text([1])
    ('1 to 2 seeds', '3 seeds', '1 seed')
    """
    few, *more = sorted({int(n) for n in seeds})
    return f"{few} to {more[-1]} seeds" if more else f"{few} seed{'' if few == 1 else 's'}"


@contextmanager
def new_figure(width: float, height: float, about: str) -> "Iterator[Figure]":
    """A figure of a size in inches, drawn in our style. A notebook shows it without pyplot, `about` as its text."""
    import matplotlib
    from matplotlib.figure import Figure

    class Shown(Figure):
        def _repr_html_(self) -> str:
            buffer = io.BytesIO()
            with matplotlib.rc_context(STYLE):
                self.savefig(buffer, format="png")
            return _picture(buffer.getvalue(), about, self)

    with matplotlib.rc_context(STYLE):
        yield Shown(figsize=(width, height), layout="constrained")


def _picture(png: bytes, text: str, figure: "Figure") -> str:
    width = SCALE * figure.get_figwidth()
    return (
        f'<img src="data:image/png;base64,{base64.b64encode(png).decode()}" alt="{html.escape(text)}"'
        f' style="width:{width:.1f}rem;max-width:100%">'
    )


def _legend(figure: "Figure", methods: list[str], paper: bool) -> None:
    from matplotlib.lines import Line2D

    looks = [METHODS[m] for m in methods]
    entries = [Line2D([], [], color=v.colour, marker=v.marker, linestyle="none", label=v.label) for v in looks]
    if paper:
        entries.append(
            Line2D([], [], color="#444444", marker="o", fillstyle="none", linestyle="none", label="hollow: the paper")
        )
    longest = max(len(entry.get_label()) for entry in entries)
    fit = max(1, int(16.5 * figure.get_figwidth() / (longest + 5)))  # side by side, as wide as the longest
    lines = math.ceil(len(entries) / fit)
    figure.legend(handles=entries, loc="outside upper center", ncols=math.ceil(len(entries) / lines))


def label_outside(panels: "Sequence[Axes]", used: int, columns: int, *, x: str, y: str) -> None:
    """Label the outer axes of a grid of panels, and hide those that are not used.

    Args:
        panels: Row by row.
        used: How many show something, from the first.
        columns: Of the grid.
        x: Of the lowest panel of every column.
        y: Of the first column.
    """
    for axes in panels[used:]:
        axes.set_visible(False)
    for axes in panels[:used:columns]:
        axes.set_ylabel(y)
    for axes in panels[max(0, used - columns) : used]:
        axes.set_xlabel(x)
        axes.xaxis.set_tick_params(labelbottom=True)


def footnote(figure: "Figure", text: str) -> None:
    """The small lines below: seeds and interval."""
    text = textwrap.fill(text, int(23 * figure.get_figwidth()))
    figure.supxlabel(text, fontsize=5.5, color="#555555", x=0.99, ha="right")
