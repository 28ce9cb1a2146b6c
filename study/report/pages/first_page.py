"""What a report's first page shows: the scope, the answers, the one figure, the verdicts by kind."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ...analysis import claims, overview
from .. import status
from ..figures import overview as figures
from ..style import seeds_text, write_files
from . import answer_boxes

FIGURE = "overview"
TITLES = {
    "similarity": "how alike a model makes one text under two tasks",
    "experts": "what experts add, by task type",
    "training": "what training changed, by task type",
}


def content(preset: str, report: Path, verdicts: pd.DataFrame | None, pages: Mapping[str, str]) -> dict[str, Any]:
    """Everything on the first page that is computed. It also writes its figure below `report`.

    Args:
        preset: A name in configs/presets.
        report: The folder of the report.
        verdicts: As `claims.collect` returns it; None without claims.
        pages: Notebook -> its page.
    """
    differences, similarity = overview.score_differences(preset), overview.route_similarity(preset)
    stated = {claim.id: claim for claim in claims.claims()}
    return {
        "scope": overview.scope(preset),
        "machines": machines(preset),
        "answers": [] if verdicts is None else answer_boxes.answers(verdicts, stated, pages),
        "untrained": answer_boxes.untrained(differences),
        "panels": _draw(report / "figures", similarity, differences),
        "caption": _caption(similarity, differences),
        "kinds": [] if verdicts is None else overview.by_kind(verdicts).to_dict("records"),
    }


def machines(preset: str) -> list[str]:
    """The distinct machines of the runs, in a few words each."""
    return list(dict.fromkeys(origin["hardware"] for origin in status.origins(preset)))


def _draw(folder: Path, similarity: pd.DataFrame, differences: pd.DataFrame) -> list[dict[str, Any]]:
    """Write the figure, and each panel of it for the page; the panels' names, texts and sizes."""
    from PIL import Image

    drawn = figures.panels(similarity, differences)
    if not drawn:
        return []
    (folder / FIGURE).mkdir(parents=True, exist_ok=True)
    data = pd.concat([similarity.assign(panel="similarity"), differences.assign(panel="scores")], ignore_index=True)
    write_files(figures.together(drawn), folder / FIGURE, data, _caption(similarity, differences))
    shown = []
    for name, panel in drawn.items():
        rows = similarity if name == "similarity" else differences
        write_files(figures.alone(panel, TITLES[name]), folder / FIGURE / name, rows, TITLES[name])
        with Image.open(folder / FIGURE / f"{name}.png") as image:
            width, height = image.size
        shown.append({"name": f"{FIGURE}/{name}", "text": TITLES[name], "width": width, "height": height})
    return shown


def _caption(similarity: pd.DataFrame, differences: pd.DataFrame) -> str:
    """What the figure shows, with its seeds and intervals."""
    parts = []
    if not similarity.empty:
        seeds, texts = seeds_text(similarity.seeds), int(similarity.texts.max())
        parts.append(f"Similarity: mean cosine of {texts} texts under two tasks ({seeds}); lower is further apart.")
    if not differences.empty:
        seeds = seeds_text(differences.seeds)
        papers = " Diamonds: the paper's MoTE − IC." if differences.paper.notna().any() else ""
        parts.append(
            f"Points are differences of mean scores ({seeds}).{papers} Grey: true differences that this design finds "
            "in fewer than 4 of 5 studies."
        )
    if parts:
        parts.append("Bars: 95 % intervals for another training on these datasets; one seed has none.")
    return " ".join(parts)
