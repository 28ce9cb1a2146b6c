"""A finished study as the files of its report hold it: that of this checkout, or the committed one.

Both have the same form, so what is written from one (a paper, a summary) can be written from the other:

    <report>/tables/claims.csv      every claim with its numbers and verdict, as `analysis.claims.collect` returns it
    <report>/figures/overview.csv   the differences and similarities of the first page
    <runs>/<variant>/seed<k>/       config.yaml, scores.json, env.json, done.json
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ... import paths
from ...analysis import overview
from ..status import hardware_line
from .freeze import about_runs, folder_of

CLAIMS, OVERVIEW = "tables/claims.csv", "figures/overview.csv"
TEXTS = ("verdict", "scope", "reason", "explained", "survives")  # columns of claims.csv that may be empty
NEEDED = ("id", "source", "quantity", "unit", "difference", "low", "high", "seeds", "datasets", "notebook", *TEXTS)
DIFFERENCES = ("row", "method", "baseline", "datasets", "seeds", "gain", "low", "high", "detectable", "paper")
SIMILARITIES = ("pair", "method", "mean", "low", "high", "seeds", "texts")


class Finished(NamedTuple):
    """Where the results of a finished study lie."""

    preset: str
    report: Path  # figures/ and tables/
    runs: Path  # <variant>/seed<k>/
    committed: bool


def committed(preset: str) -> Finished:
    """The committed study of a preset.

    Raises:
        ValueError: If there is none, or if it is of a version whose tables had other columns.
    """
    folder = folder_of(preset)
    return _checked(Finished(preset, folder, folder / "results", committed=True))


def latest(preset: str) -> Finished:
    """The finished study of this checkout; the committed one where there is none.

    Raises:
        ValueError: If there is neither, or if its tables have other columns.
    """
    report = paths.report_dir(preset)
    here = Finished(preset, report, paths.RUNS / preset, committed=False)
    if (report / CLAIMS).is_file():
        return _checked(here)
    if (folder_of(preset) / "reference.json").is_file():
        return committed(preset)
    place, other = (folder.relative_to(paths.ROOT) for folder in (report, folder_of(preset)))
    raise ValueError(f"preset {preset}: neither {place} nor {other} holds a finished study; run ./run_all.sh {preset}")


def _checked(study: Finished) -> Finished:
    path = study.report / CLAIMS
    place = path.relative_to(paths.ROOT)
    if not path.is_file():
        raise ValueError(f"preset {study.preset}: {place} is missing; run ./run_all.sh {study.preset}")
    missing = [name for name in NEEDED if name not in pd.read_csv(path, nrows=0).columns]
    if missing:
        raise ValueError(
            f"preset {study.preset}: {place} is of an earlier version: it has no column {', '.join(missing)}; "
            f"run ./run_all.sh {study.preset} anew"
        )
    return study


def verdicts(study: Finished) -> pd.DataFrame:
    """A row per claim, as `analysis.claims.collect` returns it."""
    table = pd.read_csv(study.report / CLAIMS, dtype=dict.fromkeys(TEXTS, str))
    return table.assign(**{name: table[name].fillna("") for name in TEXTS})


def measured(table: pd.DataFrame) -> pd.DataFrame:
    """The claims that the study has a number for."""
    return table[table.difference.notna()]


def differences(study: Finished) -> pd.DataFrame:
    """As `analysis.overview.score_differences` returns it; no rows where the first page has no figure."""
    return _panel(study, "scores", DIFFERENCES)


def similarity(study: Finished) -> pd.DataFrame:
    """As `analysis.overview.route_similarity` returns it; no rows where the first page has no figure."""
    return _panel(study, "similarity", SIMILARITIES)


def _panel(study: Finished, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
    path = study.report / OVERVIEW
    if not path.is_file():
        return pd.DataFrame()
    table = pd.read_csv(path)
    rows = table[table.panel == name].reset_index(drop=True)
    return rows[list(columns)] if len(rows) else pd.DataFrame()


def scope(study: Finished) -> list[overview.Scope]:
    """The text part and the image part, as `analysis.overview.scope` has them."""
    return overview.scope_of(study.runs)


def about(study: Finished) -> dict[str, Any]:
    """Number of runs, commits, dates, seconds, hardware and versions, as reference.json has them."""
    if study.committed:
        return json.loads((study.report / "reference.json").read_text())
    done = sorted(study.runs.glob("*/seed*/done.json"))
    return about_runs(study.preset, {"/".join(mark.parts[-3:-1]): mark.parent for mark in done})


def machine(about: dict[str, Any]) -> str:
    """The machines of the runs, in the words of one line.

    >>> machine({"hardware": [{"processor": "AMD EPYC", "cores": 2, "gpus": []}]})
    'AMD EPYC, 2 cores'
    """
    return "; ".join(dict.fromkeys(hardware_line(each) for each in about["hardware"]))
