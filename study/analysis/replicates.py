"""The noise floor: what the scores of one seed move by when the same training adds its numbers in another order.

`experiments/replicates.py` makes the table. A difference between two methods that is no larger is rounding.
"""

from pathlib import Path

import pandas as pd

from .. import paths

# condition: of `experiments.numerics.conditions`. variant, dataset, task_type: whose score it is. score: 0 to 100.
COLUMNS = ("condition", "variant", "dataset", "task_type", "score")


def table_of(preset: str) -> Path:
    """The committed table of a preset; it need not be there."""
    return paths.REFERENCES / f"replicates_{preset}.csv"


def read(preset: str) -> pd.DataFrame:
    """The committed table: columns `COLUMNS`; no rows where the preset has no table."""
    path = table_of(preset)
    return pd.read_csv(path)[list(COLUMNS)] if path.is_file() else pd.DataFrame(columns=list(COLUMNS))


def noise(table: pd.DataFrame, *, baseline: str) -> pd.DataFrame:
    """Standard deviation over the replicates of scores, of their mean, and of differences from a baseline, in points.

    Args:
        table: Columns `COLUMNS`; every condition has every variant and dataset.
        baseline: The variant that is subtracted.

    Returns:
        Columns variant, replicates, dataset_deviation (of one score; root mean square over the datasets),
        mean_deviation (of the mean over all datasets), and dataset_difference_deviation and mean_difference_deviation,
        the same of the difference; nan for the baseline.
    """
    scores = table.pivot(index="condition", columns=["variant", "dataset"], values="score")
    rows = []
    for variant in dict.fromkeys(table.variant):
        own, gain = scores[variant], scores[variant] - scores[baseline]
        same = variant == baseline
        rows.append(
            {
                "variant": variant,
                "replicates": len(own),
                "dataset_deviation": own.var().mean() ** 0.5,
                "mean_deviation": own.mean(axis=1).std(),
                "dataset_difference_deviation": float("nan") if same else gain.var().mean() ** 0.5,
                "mean_difference_deviation": float("nan") if same else gain.mean(axis=1).std(),
            }
        )
    return pd.DataFrame(rows)
