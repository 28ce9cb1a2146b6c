"""Verdicts on the papers' claims, by the rule in references/claims.yaml, which was written before the runs."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import yaml

from .. import paths
from ..analysis.statistics import Interval, verdict
from ..config import Strict, check

if TYPE_CHECKING:
    import pandas as pd


class Claim(Strict):
    """One claim: (method - baseline) over some task types or route pairs is greater or less than zero."""

    id: str
    text: str
    place: str
    notebook: str
    quantity: Literal["score", "similarity"]
    method: str
    baseline: str
    over: tuple[str, ...]
    claimed: Literal["greater", "less"]


def claims(notebook: str | None = None) -> list[Claim]:
    """The claims that a notebook judges; all of them without one.

    Raises:
        ValueError: If the file has an unknown key, or an id twice.
    """
    path = paths.REFERENCES / "claims.yaml"
    found = [check(Claim, row, f"{path}: {row.get('id')}") for row in yaml.safe_load(path.read_text())["claims"]]
    ids = [claim.id for claim in found]
    if len(ids) != len(set(ids)):
        raise ValueError(f"{path}: ids stand twice: {sorted({i for i in ids if ids.count(i) > 1})}")
    return [claim for claim in found if notebook in (None, claim.notebook)]


def verdicts(notebook: str, measure: Callable[[Claim], Interval]) -> "pd.DataFrame":
    """A row per claim of the notebook: claim, place, difference with interval, verdict.

    Args:
        measure: The quantity's mean and 95 % interval, from the runs.
    """
    import pandas as pd

    rows = []
    for claim in claims(notebook):
        interval = measure(claim)
        rows.append(
            {
                "id": claim.id, "claim": claim.text, "place": claim.place, "claimed": claim.claimed,
                "difference": interval.mean, "low": interval.low, "high": interval.high,
                "verdict": verdict(interval, claim.claimed),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)
