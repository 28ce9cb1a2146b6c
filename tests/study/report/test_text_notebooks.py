"""Notebooks 27 to 29 on runs that nobody trained.

Invariants: they find the effects that the runs have, over seen, unseen and all types, and name the design behind them;
what a figure shows is what its table says.
"""

import pytest

from study import paths
from tests.study.report.samples import executed, use_folder
from tests.study.report.text_runs import write_text_study

NOTEBOOKS, CONFIGS, REFERENCES = paths.NOTEBOOKS, paths.CONFIGS, paths.REFERENCES
CLOSE = 0.25  # several standard errors of a mean difference of 9 datasets and 3 seeds


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Run a notebook's cells here; returns what it displayed, and the tables and figures that it saved by name."""
    use_folder(monkeypatch, tmp_path)
    monkeypatch.setattr(paths, "REFERENCES", REFERENCES)

    def run(name: str, **study):
        write_text_study(tmp_path, configs=CONFIGS, **study)
        return executed(monkeypatch, NOTEBOOKS / f"{name}.ipynb", "tiny")

    return run


def gain_of(raw, group="all"):
    """Contrast -> gain over a group of types."""
    return raw[raw.group == group].set_index("contrast").gain.to_dict()


def test_notebook_27_shows_effects_by_training_and_by_blocks(execute):
    displayed, saved = execute("27_scale")
    rows = saved["gains_by_blocks"][1]
    assert sorted(set(rows.blocks)) == [2, 3, 6], "the smaller ones from the settings, the whole one from a model"
    by_blocks = rows[rows.group == "all"].pivot(index="contrast", columns="blocks", values="gain")
    assert by_blocks.loc["IC − EM"].tolist() == pytest.approx([0, 0.5, 1], abs=CLOSE)
    assert by_blocks.loc["MoTE − IC"].tolist() == pytest.approx([1, 1, 3], abs=CLOSE)
    assert set(zip(rows.group, rows.datasets, strict=True)) == {("seen types", 9), ("unseen types", 12), ("all", 21)}
    growth = gain_of(saved["growth_with_blocks"][1])
    assert growth["MoTE − IC, 6 less 3 blocks"] == pytest.approx(2, abs=2 * CLOSE)
    assert "2, 3, 6 blocks, 3 seeds" in displayed[0]
    curve = saved["training_curve"][0].set_index(["Learning rate", "pairs"])
    assert curve.loc[("3e-5", "15,360"), "EM"] == "72.08", "as LOG.md, entry 16"
    assert curve.loc[("1e-4", "4,096"), "IC − EM"].startswith("+0.01 (")
    assert "MoTE − IC +" in displayed[-1]
