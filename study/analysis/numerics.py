"""What other arithmetic does to the claims: the table of `experiments/numerics.py`, and what follows from it.

Kernels for other processors, another number of threads or bf16 add the same numbers in another order or with other
rounding; a training carries the difference on. A verdict that differs between such conditions is none.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from .. import paths
from . import claims
from .claims import Claim
from .gains import differences
from .judgement import Measured, estimate, judge

COLUMNS = ("condition", "id", "claim", "difference", "low", "high", "verdict")


def table_of(preset: str) -> Path:
    """The committed table of a preset; it need not be there."""
    return paths.REFERENCES / f"numerics_{preset}.csv"


def measured(folders: Mapping[tuple[str, int], Path]) -> pd.DataFrame:
    """A row per score claim that some runs can answer: id, claim, difference, low, high (on these sets), verdict.

    Args:
        folders: (variant, seed) -> folder of a finished run.
    """
    frames = [
        pd.DataFrame(json.loads((folder / "scores.json").read_text())).assign(method=variant, seed=seed)
        for (variant, seed), folder in folders.items()
    ]
    scores = pd.concat(frames, ignore_index=True)
    rows = []
    for claim in claims.claims():
        types = [task_type for task_type in claim.over if task_type in set(scores.task_type)]
        if not types or not _answered(claim, {variant for variant, _ in folders}):
            continue
        values = Measured(differences(scores, claim.method, claim.baseline, types))
        numbers = estimate(claim, values)
        verdict = judge(claim, [values]).verdict
        rows.append(
            {"id": claim.id, "claim": claim.text, "verdict": verdict}
            | {key: numbers[key] for key in ("difference", "low", "high")}
        )
    return pd.DataFrame(rows)


def _answered(claim: Claim, variants: set[str]) -> bool:
    return claim.quantity == "score" and {claim.method, claim.baseline} <= variants and not claim.line_by_line


def read(preset: str) -> pd.DataFrame:
    """The committed table: columns `COLUMNS`, a row per condition and claim; none where the preset has no table."""
    path = table_of(preset)
    return pd.read_csv(path)[list(COLUMNS)] if path.is_file() else pd.DataFrame(columns=list(COLUMNS))


def collect(preset: str) -> pd.DataFrame:
    """`claims.collect`, in which a verdict that depends on the processor is open."""
    return claims.collect(preset, depends_on_processor=unsteady(read(preset)))


def unsteady(table: pd.DataFrame) -> set[str]:
    """Ids of claims whose verdict is not the same under all conditions."""
    verdicts = table.groupby("id").verdict.nunique()
    return set(verdicts[verdicts > 1].index)


def spread(table: pd.DataFrame) -> pd.DataFrame:
    """What a claim's difference does over the conditions.

    Returns:
        Columns id, claim, smallest, largest (of the difference), spread (points), verdicts (one, or all of them).
    """
    groups = table.groupby(["id", "claim"], sort=False)
    found = groups.difference.agg(["min", "max"]).rename(columns={"min": "smallest", "max": "largest"})
    found["spread"] = found.largest - found.smallest
    found["verdicts"] = groups.verdict.agg(lambda words: ", ".join(dict.fromkeys(words)))
    return found.reset_index()
