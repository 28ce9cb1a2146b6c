"""references/training_size.csv and the script that makes it.

- A training's score is the mean over tasks of the mean over their datasets; a training that was repeated counts once.
- A dataset without a task is an error, not a task of its own.
- The committed table says how it was measured, and has every cell that LOG.md, entry 16, chose by, for two seeds.
"""

import io

import pandas as pd
import pytest

from experiments.training_size_table import table, write
from study import paths
from study.analysis import scale

CELL = {"variant": "em", "supervision": "pairs", "seed": 100, "batch_size": 64, "learning_rate": 1e-4, "pairs": 1024}
MANIFEST = {
    "datasets": [
        {"name": name, "part": "validation", "task": task, "format": "pairs"}
        for name, task in (("a", "retrieval"), ("b", "retrieval"), ("c", "clustering"))
    ]
}


def line(**changes):
    return CELL | {"steps": 16, "seconds": 1.0, "scores": {"a": 10.0, "b": 30.0, "c": 60.0}} | changes


def test_a_score_is_the_mean_over_tasks_of_the_mean_over_datasets():
    rows = table([line(), line(seed=101, scores={"a": 0.0, "b": 0.0, "c": 1.0})], MANIFEST)
    assert rows.retrieval.tolist() == [20.0, 0.0]
    assert rows["mean"].tolist() == [40.0, 0.5]


def test_a_repeated_training_counts_once_and_the_last_one_does():
    rows = table([line(scores={"a": 0.0, "b": 0.0, "c": 0.0}), line()], MANIFEST)
    assert rows["mean"].tolist() == [40.0]


def test_a_dataset_without_a_task_is_an_error():
    with pytest.raises(ValueError, match="no held-out pairs of d"):
        table([line(scores={"d": 1.0})], MANIFEST)


def test_the_table_is_read_as_it_was_written():
    file = io.StringIO()
    write(table([line()], MANIFEST), file)
    file.seek(0)
    assert file.readline().startswith("# Recall@1")
    file.seek(0)
    read = pd.read_csv(file, comment="#")
    assert read.learning_rate.tolist() == [1e-4]
    assert read["mean"].tolist() == [40.0]


def test_the_committed_table_has_the_cells_of_the_choice():
    heading = (paths.REFERENCES / "training_size.csv").read_text().splitlines()[:4]
    assert all(text.startswith("#") for text in heading)
    assert "experiments.training_size" in heading[1]
    points = scale.curve(scale.load_curve(), batch_size=64)
    means = points.groupby(["method", "learning_rate", "pairs"]).score.agg(["mean", "size"])
    assert (means["size"] == 2).all()
    assert means.loc[("em", 3e-5, 15360), "mean"] == pytest.approx(72.08, abs=0.005)
    assert means.loc[("ic", 1e-4, 15360), "mean"] == pytest.approx(71.82, abs=0.005)
    differences = scale.mean_and_range(
        scale.curve_differences(points), "difference", ["contrast", "pairs", "learning_rate"]
    )
    chosen = differences[(differences.pairs == 15360) & (differences.contrast == "IC − EM")].set_index("learning_rate")
    assert chosen["mean"].to_dict() == pytest.approx({3e-5: 0.16, 1e-4: 0.40}, abs=0.01)
    assert (chosen.lowest <= chosen["mean"]).all()
