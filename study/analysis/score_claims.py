"""What claims about scores are judged on: differences of two methods, and what the choice of queries adds."""

from collections.abc import Callable

import pandas as pd

from .claims import Claim
from .gains import matrix, paired
from .items import QueryVariance
from .judgement import Measured


def measure(preset: str, scores: pd.DataFrame, *experiments: str) -> Callable[[Claim], Measured | None]:
    """The `measure` of `claims.verdicts` for claims whose quantity is a score.

    It is None for a claim about a method without scores. Runs that were made before the items of their scores were
    kept have no query variance: their interval is that over seeds alone.

    Args:
        preset: A name in configs/presets.
        scores: As `results.load_scores` returns them, of the preset and the experiments.
        experiments: As in `results.load_scores`.
    """
    methods = set(scores.method)
    query_variance = QueryVariance(preset, *experiments)

    def of_claim(claim: Claim) -> Measured | None:
        if not {claim.method, claim.baseline} <= methods:
            return None
        ours, base = (matrix(scores, name, claim.over) for name in (claim.method, claim.baseline))
        differences = paired(ours, base)
        if not query_variance.known(claim.method, claim.baseline):
            return Measured(differences)
        datasets = scores.dataset[(scores.method == claim.method) & scores.task_type.isin(claim.over)].unique()
        seeds = ours.index.intersection(base.index)
        return Measured(differences, query_variance(claim.method, claim.baseline, list(seeds), list(datasets)))

    return of_claim
