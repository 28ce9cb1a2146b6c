"""The figures of a study that the paper shows: which, in which part, with the captions that their files hold."""

from pathlib import Path
from typing import NamedTuple

from ..style import COLUMN, FULL, STYLE
from .macros import Macros, macro_name

PAGE = 8.0  # inches: what is higher fits no page with its caption
PARTS = {  # part of the paper -> its figures, in the order of the text; all others stand in the appendix
    "mote": ("gains", "figure3", "similarity_by_layer", "gradient_conflict"),
    "ablations": ("table5_gains", "table6_gains", "table7_gains"),
    "tsembed": ("tsembed_gains", "specialisation", "routing_proxy"),
    "cost": ("efficiency",),
}
PANELS = ("similarity", "experts", "training")  # of the first page's figure, a file each


class Figure(NamedTuple):
    """One figure as main.tex shows it."""

    name: str
    files: tuple[str, ...]  # below figures/, without suffix
    caption: str  # a macro's use
    wide: bool  # needs both columns of a two-column page


def overview(report: Path, macros: Macros) -> Figure | None:
    """The figure of the first page, its panels as files of their own."""
    panels = [f"overview/{name}" for name in PANELS if (report / "figures" / "overview" / f"{name}.pdf").is_file()]
    whole = report / "figures" / "overview.png"
    if not panels or not whole.is_file():
        return None
    return Figure("overview", tuple(panels), _caption(macros, "overview", whole), wide=True)


def by_part(report: Path, macros: Macros) -> dict[str, list[Figure]]:
    """Part -> its figures; "appendix" has those that no part names."""
    paths = {p.stem: p for p in sorted((report / "figures").glob("*.png")) if p.with_suffix(".pdf").is_file()}
    fitting = {name: path for name, path in paths.items() if _size(path)[1] <= PAGE and name != "overview"}
    parts = {part: [name for name in names if name in fitting] for part, names in PARTS.items()}
    shown = {name for names in parts.values() for name in names}
    parts["appendix"] = [name for name in fitting if name not in shown]
    return {part: [_figure(macros, fitting[name]) for name in names] for part, names in parts.items()}


def _figure(macros: Macros, path: Path) -> Figure:
    wide = _size(path)[0] > (COLUMN + FULL) / 2
    return Figure(path.stem, (path.stem,), _caption(macros, path.stem, path), wide)


def _caption(macros: Macros, name: str, png: Path) -> str:
    from PIL import Image

    with Image.open(png) as image:
        return macros.put(macro_name("caption figure", name), image.info.get("Description", name))


def _size(png: Path) -> tuple[float, float]:
    """Width and height in inches."""
    from PIL import Image

    with Image.open(png) as image:
        width, height = image.size
    return width / STYLE["savefig.dpi"], height / STYLE["savefig.dpi"]
