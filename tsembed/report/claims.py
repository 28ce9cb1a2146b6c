"""Verdicts on the papers' claims, by the rule in references/claims.yaml, written before the runs that are reported."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np
import yaml

from .. import paths
from ..analysis.statistics import bootstrap, minimal_detectable_effect, verdict
from ..config import check
from ..variants import Strict

if TYPE_CHECKING:
    import pandas as pd


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
    found = [check(Claim, row, f"{path}: {row.get('id')}") for row in yaml.safe_load(path.read_text())["claims"]]
    ids = [claim.id for claim in found]
    if len(ids) != len(set(ids)):
        raise ValueError(f"{path}: ids stand twice: {sorted({i for i in ids if ids.count(i) > 1})}")
    return [claim for claim in found if notebook in (None, claim.notebook)]


def verdicts(notebook: str, measure: "Callable[[Claim], np.ndarray | None]") -> "pd.DataFrame":
    """A row per claim of the notebook: claim, place, difference with interval, verdict.

    Args:
        measure: The quantity per seed and dataset (text, batch, layer), from the runs: (seeds, n). None where the
            preset has no such runs; the claim then has no row.

    Returns:
        Columns id, quantity, claim, place, claimed, than, difference, low, high, detectable (the difference from `than`
        that the rule would have seen with a power of 0.8), seeds, verdict.
    """
    import pandas as pd

    rows = []
    for claim in claims(notebook):
        values = measure(claim)
        if values is None:
            continue
        few = values.shape[1] < FEWEST
        interval = bootstrap(values, rng=np.random.default_rng(0))
        rows.append(
            {
                "id": claim.id, "quantity": claim.quantity, "claim": claim.text, "place": claim.place,
                "claimed": claim.claimed, "than": claim.than, "difference": interval.mean, "low": interval.low,
                "high": interval.high, "detectable": minimal_detectable_effect(values), "seeds": len(values),
                "verdict": OPEN if few else verdict(interval, claim.claimed, than=claim.than),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)
