"""What other arithmetic does to the claims: the table of `experiments/numerics.py`, and what follows from it.

Kernels for other processors, another number of threads or bf16 add the same numbers in another order or with other
rounding; a training carries the difference on. A verdict that differs between such conditions is none, and what the
gains and scores move by is what `verify` allows between machines.
"""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from tsembed.tasks import TASK_OF_TYPE

from .. import paths
from . import claims
from .gains import MEAN_OF_DATASETS, differences
from .items import QueryVariance
from .results import load_scores
from .score_claims import measure

# kind: claim, gain or score. row: id of the claim, «method, task type», or «variant/seed<k>, dataset». value (points):
# the difference of the claim, the gain over EM, or the score. low, high: interval on these sets. verdict: of a claim.
COLUMNS = ("condition", "kind", "row", "value", "low", "high", "verdict")


class Spread(NamedTuple):
    """The largest moves over conditions, in points."""

    score: float  # of one run on one dataset
    gain: float  # over EM, of the mean over the datasets of one task type
    average: float  # over EM, of the mean over all datasets


def table_of(preset: str) -> Path:
    """The committed table of a preset; it need not be there."""
    return paths.REFERENCES / f"numerics_{preset}.csv"


def measured(preset: str, condition: str) -> pd.DataFrame:
    """What the finished runs of a preset say under one condition: columns `COLUMNS`.

    Args:
        preset: All of its own runs are finished.
        condition: Its name in the table.
    """
    scores = load_scores(preset)
    notebooks = dict.fromkeys(claim.notebook for claim in claims.claims() if claim.quantity == "score")
    of_claim = measure(scores, QueryVariance(preset))
    judged = [claims.verdicts(name, of_claim, preset=preset) for name in notebooks]
    judged = pd.concat([rows for rows in judged if len(rows)]).rename(columns={"id": "row", "difference": "value"})
    types = [kind for kind in TASK_OF_TYPE if (scores.task_type == kind).any()]
    gains = [
        {"row": f"{method}, {name}", "value": differences(scores, method, "em", chosen).mean()}
        for method in scores.method.unique()
        if method != "em"
        for name, chosen in [*((kind, [kind]) for kind in types), (MEAN_OF_DATASETS, types)]
    ]
    of_runs = scores.assign(
        row=lambda t: t.variant + "/seed" + t.seed.astype(str) + ", " + t.dataset, value=scores.score
    )
    parts = {"claim": judged, "gain": pd.DataFrame(gains), "score": of_runs[["row", "value"]]}
    rows = pd.concat([part.assign(kind=kind) for kind, part in parts.items()], ignore_index=True)
    return rows.assign(condition=condition).reindex(columns=list(COLUMNS))


def read(preset: str) -> pd.DataFrame:
    """The committed table: columns `COLUMNS`; no rows where the preset has no table."""
    path = table_of(preset)
    return pd.read_csv(path)[list(COLUMNS)] if path.is_file() else pd.DataFrame(columns=list(COLUMNS))


def collect(preset: str) -> pd.DataFrame:
    """`claims.collect`, in which a verdict that depends on the processor is open."""
    return claims.collect(preset, depends_on_processor=unsteady(read(preset)))


def unsteady(table: pd.DataFrame) -> set[str]:
    """Ids of claims whose verdict is not the same under all conditions."""
    verdicts = table[table.kind == "claim"].groupby("row").verdict.nunique()
    return set(verdicts[verdicts > 1].index)


def claims_over_conditions(table: pd.DataFrame) -> pd.DataFrame:
    """What a claim's difference does over the conditions.

    Returns:
        Columns id, claim, smallest, largest (of the difference), spread (points), verdicts (one, or all of them).
    """
    texts = {claim.id: claim.text for claim in claims.claims()}
    groups = table[table.kind == "claim"].groupby("row", sort=False)
    found = groups.value.agg(["min", "max"]).rename(columns={"min": "smallest", "max": "largest"})
    found["spread"] = found.largest - found.smallest
    found["verdicts"] = groups.verdict.agg(lambda words: ", ".join(dict.fromkeys(words)))
    found.insert(0, "claim", [texts.get(name, name) for name in found.index])
    return found.rename_axis("id").reset_index()


def spread(preset: str) -> Spread | None:
    """The largest moves over the conditions of a preset's table; None where there is no table."""
    table = read(preset)
    if table.empty:
        return None
    moves = table.groupby(["kind", "row"]).value.agg(lambda values: values.max() - values.min())
    over_all = moves.index.get_level_values("row").str.endswith(MEAN_OF_DATASETS)
    kind = moves.index.get_level_values("kind")
    return Spread(
        score=float(moves[kind == "score"].max()),
        gain=float(moves[(kind == "gain") & ~over_all].max()),
        average=float(moves[(kind == "gain") & over_all].max()),
    )
