"""Verdicts on the papers' claims, by the rule in references/claims.yaml, written before the runs that are reported."""

import re
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pandas as pd
import yaml

from tsembed.settings import Strict, check

from .. import paths
from .statistics import bootstrap, minimal_detectable_effect, verdict

NOT_JUDGED = "not judged"
MARKS = {"reproduced": "●", "contradicted": "✕", "inconclusive at this scale": "○", NOT_JUDGED: "–"}
UNITS = {
    "score": "points",
    "similarity": "cosine",
    "gradient": "cosine",
    "conflict": "cosine",
    "correlation": "Spearman",
    "information": "nats",
}


MEASURED = ("difference", "low", "high", "detectable", "seeds")


FEWEST = 3  # datasets (texts, batches, layers): a bootstrap over fewer has no interval that deserves the name
OPEN = "inconclusive at this scale"


class Claim(Strict):
    """One claim: (method - baseline) over some task types, pairs or references is greater or less than a value."""

    id: str
    text: str
    place: str
    notebook: str
    quantity: Literal["score", "similarity", "gradient", "conflict", "correlation", "information"]
    method: str
    baseline: str | None  # None: the method's own value
    over: tuple[str, ...]
    claimed: Literal["greater", "less"]
    than: float = 0.0


def claims(notebook: str | None = None) -> list[Claim]:
    """The claims that a notebook judges; all of them without one.

    Raises:
        ValueError: If the file has an unknown key, or an id twice.
    """
    path = paths.REFERENCES / "claims.yaml"
    loaded = [check(Claim, row, f"{path}: {row.get('id')}") for row in yaml.safe_load(path.read_text())["claims"]]
    ids = [claim.id for claim in loaded]
    if len(ids) != len(set(ids)):
        raise ValueError(f"{path}: ids stand twice: {sorted({i for i in ids if ids.count(i) > 1})}")
    return [claim for claim in loaded if notebook in (None, claim.notebook)]


def verdicts(notebook: str, measure: Callable[[Claim], np.ndarray | None]) -> pd.DataFrame:
    """A row per claim of the notebook: claim, place, difference with interval, verdict.

    Args:
        notebook: Only its claims have rows.
        measure: The quantity per seed and dataset (text, batch, layer), from the runs: (seeds, n). None where the
            preset has no such runs; the claim then has no row.

    Returns:
        Columns id, quantity, claim, place, claimed, than, difference, low, high, detectable (the difference from `than`
        that the rule would have seen with a power of 0.8), seeds, verdict.
    """
    rows = []
    for claim in claims(notebook):
        values = measure(claim)
        if values is None:
            continue
        few = values.shape[1] < FEWEST
        interval = bootstrap(values, rng=np.random.default_rng(0))
        rows.append(
            {
                "id": claim.id,
                "quantity": claim.quantity,
                "claim": claim.text,
                "place": claim.place,
                "claimed": claim.claimed,
                "than": claim.than,
                "difference": interval.mean,
                "low": interval.low,
                "high": interval.high,
                "detectable": minimal_detectable_effect(values),
                "seeds": len(values),
                "verdict": OPEN if few else verdict(interval, claim.claimed, than=claim.than),
            }
        )
    return pd.DataFrame(rows)


def collect(preset: str) -> pd.DataFrame:
    """A row per claim of references/claims.yaml, in its order, with what reports/<preset>/tables/claims_*.csv say.

    Returns:
        Columns id, quantity, unit, claim, place, claimed, than, paper (the published difference, where the paper
        prints one), difference, low, high, detectable, seeds, verdict, notebook. A claim that no notebook has judged
        has the verdict "not judged" and nan for what is measured.

    Raises:
        ValueError: If two tables judge the same claim, or one has an unknown verdict.
    """
    judged: dict[str, dict[str, Any]] = {}
    for path in sorted((paths.report_dir(preset) / "tables").glob("claims_*.csv")):
        for row in pd.read_csv(path).to_dict("records"):
            if row["id"] in judged:
                raise ValueError(f"{path}: the claim {row['id']!r} is judged in another table too")
            if row["verdict"] not in MARKS:
                raise ValueError(f"{path}: the verdict {row['verdict']!r} is none of {', '.join(MARKS)}")
            judged[row["id"]] = row
    numbers = yaml.safe_load((paths.REFERENCES / "mote.yaml").read_text())
    rows = []
    for claim in claims():
        judgement = judged.get(claim.id, {})
        rows.append(
            {
                "id": claim.id,
                "quantity": claim.quantity,
                "unit": UNITS[claim.quantity],
                "claim": claim.text,
                "place": claim.place,
                "claimed": claim.claimed,
                "than": claim.than,
                "paper": published(claim, numbers),
                **{key: float(judgement.get(key, float("nan"))) for key in MEASURED},
                "verdict": judgement.get("verdict", NOT_JUDGED),
                "notebook": claim.notebook,
            }
        )
    return pd.DataFrame(rows)


def published(claim: Claim, numbers: dict[str, Any]) -> float:
    """The paper's own (method - baseline) of a claim; nan where it prints no such number.

    The place of the claim names the table (or the abstract), `over` the row: one task type, or the average.

    Args:
        claim: Of references/claims.yaml.
        numbers: The content of references/mote.yaml.
    """
    if claim.place.startswith("Abstract"):
        row, gains = numbers["claims"]["average_gain"], True
    elif match := re.match(r"Table (\d)", claim.place):
        table = numbers["tables"][f"table{match[1]}"]
        row = table["rows"].get(claim.over[0] if len(claim.over) == 1 else "Average", {})
        gains = isinstance(table["unit"], dict)  # Tables 2 and 3: the column of EM is a score, the others gains over it
    else:
        return float("nan")
    row = row | {"em": 0.0} if gains else row
    values = [row.get(method) for method in (claim.method, claim.baseline)]
    return float("nan") if None in values else float(values[0]) - float(values[1])


def counts(verdicts: pd.DataFrame) -> dict[str, int]:
    """Verdict -> number of claims that have it, in a fixed order, without those that none has."""
    return {v: n for v in MARKS if (n := int((verdicts.verdict == v).sum()))}


def out_of_sight(verdicts: pd.DataFrame) -> pd.DataFrame:
    """The inconclusive claims that this design could not have seen at the size the paper reports.

    Their published difference, from the value that the claim names, is smaller than the detectable one (power 0.8).
    """
    size = (verdicts.paper - verdicts.than).abs()
    return verdicts[verdicts.verdict.str.startswith("inconclusive") & (size < verdicts.detectable)]
