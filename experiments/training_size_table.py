"""The lines of `experiments.training_size` as the table that notebook 27 reads: references/training_size.csv.

    python -m experiments.training_size_table DATA RESULTS.jsonl [MORE.jsonl] > references/training_size.csv

DATA are the prepared data of the trainings: they say which task a held-out set belongs to. A row is a training.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TextIO

import pandas as pd

from tsembed.data.manifest import read_manifest, training_tasks

from .training_size import KEY

HEADER = """\
# Recall@1 (0..100) on held-out training pairs, a row per training: per task the mean of its sets; mean: of the tasks.
# Measured by `python -m experiments.training_size` on the data of the preset local, fp32, cosine decay to zero after a
# warm-up of a tenth of the steps; LOG.md, entry 16. Made by `python -m experiments.training_size_table`.
# The held-out sets are those of natural pairs, whatever a training learned from.
"""


def table(lines: list[dict], manifest: dict) -> pd.DataFrame:
    """A row per training, sorted: what was trained, the steps, the mean score of each task's sets, the mean of tasks.

    Args:
        lines: As `experiments.training_size` writes them; where two are of the same training, the last counts.
        manifest: Of the data that were trained on.

    Raises:
        ValueError: If a scored set has no task in the manifest.
    """
    tasks = training_tasks(manifest, "validation")
    rows = []
    for line in lines:
        if unknown := sorted(set(line["scores"]) - set(tasks)):
            raise ValueError(f"the data have no held-out pairs of {', '.join(unknown)}")
        means = pd.Series(line["scores"]).groupby(tasks).mean()
        rows.append({key: line[key] for key in (*KEY, "steps")} | means.to_dict() | {"mean": means.mean()})
    frame = pd.DataFrame(rows).drop_duplicates(list(KEY), keep="last")
    order = ["supervision", "learning_rate", "batch_size", "pairs", "variant", "seed"]
    return frame.sort_values(order).reset_index(drop=True)


def write(frame: pd.DataFrame, file: TextIO) -> None:
    """The table with its heading, scores to three digits."""
    file.write(HEADER)
    frame.to_csv(file, index=False, float_format="%.5g")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="prepared data of the preset `local`")
    parser.add_argument("results", type=Path, nargs="+", help="what `experiments.training_size` wrote")
    options = parser.parse_args()
    lines = [json.loads(line) for path in options.results for line in path.read_text().splitlines()]
    write(table(lines, read_manifest(options.data)), sys.stdout)


if __name__ == "__main__":
    main()
