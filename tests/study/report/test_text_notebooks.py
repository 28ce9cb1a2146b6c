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


def test_notebook_28_takes_instruction_and_experts_apart(execute):
    displayed, saved = execute("28_instruction_and_experts")
    effects = gain_of(saved["instruction_and_experts"][1])
    assert effects["instruction, mean of both"] == pytest.approx(1.5, abs=CLOSE)
    assert effects["experts, mean of both"] == pytest.approx(2.5, abs=CLOSE)
    assert effects["interaction"] == pytest.approx(1.0, abs=2 * CLOSE)
    assert effects["both (MoTE − EM)"] == pytest.approx(4.0, abs=CLOSE)
    both = effects["instruction, mean of both"] + effects["experts, mean of both"]
    assert both == pytest.approx(effects["both (MoTE − EM)"]), "the two main effects add up to it"
    assert "interaction +" in displayed[-1]


def test_notebook_28_compares_wordings_of_the_same_weights(execute):
    _, saved = execute("28_instruction_and_experts")
    rows = saved["wording"][1]
    of_mote = gain_of(rows[rows.method == "mote"], "seen types")
    expected = {"no prefix": -3, "swapped prefixes": -2, "paraphrase 1": -1, "paraphrase 2": 0.5}
    assert of_mote == pytest.approx(expected, abs=CLOSE)
    spread = saved["wording_spread"][0].set_index("Over")
    assert float(spread.loc["all (21)", "spread of IC"]) == pytest.approx(1.5, abs=CLOSE)
    assert spread.loc["all (21)", "MoTE − IC, own words"].startswith(("+2.", "+3."))
    words = saved["wordings"][0].set_index("Wording")
    assert words.loc["own words", "clustering"] == "clustering:"
    assert words.loc["no prefix", "clustering"] == "(nothing)"


def test_notebook_28_shows_the_routes_without_a_prefix(execute):
    _, saved = execute("28_instruction_and_experts")
    shown = saved["similarity_without_prefix"][0].set_index("Of").Similarity
    assert [float(shown[name][:5]) for name in ("IC", "MoTE", "MoTE, no prefix", "Experts")] == pytest.approx(
        [0.71, 0.51, 0.93, 0.91], abs=0.01
    )
    assert shown["MoTE, no prefix − MoTE"].startswith("+0.4")
