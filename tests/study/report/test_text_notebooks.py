"""Notebooks 20 and 27 to 29 on runs that nobody trained.

Invariants: they find the effects that the runs have, over seen, unseen and all types, and name the design behind them;
what a figure shows is what its table says.
"""

import functools

import pytest

from study import paths, selection
from study.analysis import claims, judgement
from study.selection import Selection
from tests.study.report.samples import executed, use_folder
from tests.study.report.text_runs import EFFECTS, write_text_study

NOTEBOOKS, CONFIGS, REFERENCES = paths.NOTEBOOKS, paths.CONFIGS, paths.REFERENCES
CLOSE = 0.25  # several standard errors of a mean difference of 9 datasets and 3 seeds


@pytest.fixture(scope="module")
def execute(tmp_path_factory):
    """Run a notebook's cells here, once; returns what it displayed, and by name the tables and figures it saved."""

    @functools.cache
    def run(name: str, seeds: int = 3, mote: float = EFFECTS["mote"]):
        with pytest.MonkeyPatch.context() as patch:
            folder = tmp_path_factory.mktemp(name)
            use_folder(patch, folder)
            patch.setattr(paths, "REFERENCES", REFERENCES)
            write_text_study(folder, configs=CONFIGS, seeds=seeds, effects={"mote": mote})
            return executed(patch, NOTEBOOKS / f"{name}.ipynb", "tiny")

    return run


def test_notebook_20_shows_the_chosen_part_of_a_preset(tmp_path, monkeypatch):
    use_folder(monkeypatch, tmp_path)
    monkeypatch.setattr(paths, "REFERENCES", REFERENCES)
    write_text_study(tmp_path, configs=CONFIGS)
    selection.choose("tiny", Selection(only=("em", "ic", "mote"), seeds=3))
    displayed, saved = executed(monkeypatch, NOTEBOOKS / "20_specialization.ipynb", "tiny")
    assert set(saved["table2"][1].method) == {"ic", "mote"}
    assert "The mean gain over the untrained backbone" in " ".join(map(str, displayed))
    assert "unseen_routes" not in saved


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
    assert curve.loc[("3e-5", "15,360"), "EM"] == "72.1", "as LOG.md, entry 16"
    assert curve.loc[("1e-4", "4,096"), "IC − EM"].startswith("0.0 (")
    assert "MoTE − IC over all datasets is +" in displayed[-1]
    assert displayed[-1].count("**Yes.** MoTE − IC grows") == 1


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


@pytest.mark.parametrize(
    ("name", "table", "expected"),
    [
        (
            "28_instruction_and_experts",
            "claims_instruction_and_experts",
            {"plain": "supported", "interaction": "refuted"},
        ),
        ("28_wording", "claims_wording", {"prefix-ic": "supported", "prefix-mote": "supported"}),
        (
            "29_recipes",
            "claims_recipes",
            {
                "fast-ic": "supported",
                "fast-mote": "supported",
                "natural-unseen": "supported",
                "last-block": "supported",
            },
        ),
    ],
)
def test_our_own_questions_are_judged(execute, name, table, expected):
    displayed, saved = execute(name)
    judged = saved[table][1].set_index("id")
    assert list(judged.index) == [claim.id for claim in claims.claims(name)]
    assert judged.verdict[list(expected)].to_dict() == expected
    assert judgement.counts_text(saved[table][1]) in displayed[-1]


def test_notebook_28_compares_wordings_of_the_same_weights(execute):
    _, saved = execute("28_wording")
    rows = saved["wording"][1]
    of_mote = gain_of(rows[rows.method == "mote"], "seen types")
    expected = {"no prefix": -3, "swapped prefixes": -2, "paraphrase 1": -1, "paraphrase 2": 0.5}
    assert of_mote == pytest.approx(expected, abs=CLOSE)
    spread = saved["wording_spread"][0].set_index("Over")
    assert float(spread.loc["all (21)", "spread of IC"]) == pytest.approx(1.5, abs=CLOSE)
    assert spread.loc["all (21)", "MoTE − IC, own words"].startswith(("+2.", "+3.", "+3 "))
    words = saved["wordings"][0].set_index("Wording")
    assert words.loc["own words", "clustering"] == "clustering:"
    assert words.loc["no prefix", "clustering"] == "(nothing)"


def test_notebook_28_shows_the_routes_without_a_prefix(execute):
    _, saved = execute("28_wording")
    shown = saved["similarity_without_prefix"][0].set_index("Of").Similarity
    assert [float(shown[name][:5]) for name in ("IC", "MoTE", "MoTE, no prefix", "Experts alone")] == pytest.approx(
        [0.71, 0.51, 0.93, 0.91], abs=0.01
    )
    assert shown["MoTE, no prefix − MoTE"].startswith("+0.4")


def test_notebook_29_shows_both_gains_under_each_recipe(execute):
    displayed, saved = execute("29_recipes")
    rows = saved["gains_by_recipe"][1]
    gains = rows[rows.group == "all"].pivot(index="section", columns="contrast", values="gain")
    recipes = ["pairs", "labels", "pairs and labels", "3 × learning rate"]
    assert gains.loc["IC − EM", recipes].tolist() == pytest.approx([1, 0, 0.5, 2], abs=CLOSE)
    assert gains.loc["MoTE − IC", recipes].tolist() == pytest.approx([3, 1, 1, 6], abs=CLOSE)
    changes = saved["changes_by_recipe"][1]
    of_rate = gain_of(changes[changes.section == "3 × learning rate less pairs"])
    assert of_rate["MoTE − IC"] == pytest.approx(3, abs=2 * CLOSE)
    assert of_rate["EM"] == pytest.approx(-1, abs=CLOSE)
    assert "MoTE − IC is +" in displayed[-1]


def test_notebook_29_compares_merges_with_what_they_were_made_of(execute):
    _, saved = execute("29_recipes")
    rows = saved["merges"][1]
    half = gain_of(rows[rows.section == "MoTE, half-way to the backbone"])
    assert half == pytest.approx({"less EM": 3, "less IC": 2, "less untrained": 13, "less MoTE": -1}, abs=CLOSE)
    assert list(gain_of(rows[rows.section == "mean of the SEMs"])) == ["less EM", "less IC", "less untrained"]


def test_notebook_29_takes_the_share_of_a_gain_that_has_a_size(execute):
    _, saved = execute("29_recipes")
    shown = saved["averaging_share"][0].set_index("Over")
    assert shown.share["all (21)"].startswith(("48 %", "49 %", "50 %", "51 %", "52 %"))


def test_notebook_29_says_that_a_share_of_nothing_has_no_size(execute):
    displayed, saved = execute("29_recipes", mote=EFFECTS["ic"])
    shown = saved["averaging_share"][0].set_index("Over")
    assert shown.share["all (21)"] == "undefined (MoTE − IC may be zero)"
    assert "gain over IC is undefined (MoTE − IC may be zero)" in displayed[-1]


def test_notebook_29_puts_gains_beside_the_size_of_the_saved_models(execute):
    _, saved = execute("29_recipes")
    rows = saved["gains_by_memory"][1]
    shared = rows[(rows.group == "all") & (rows.series == "experts shared by tasks")]
    assert shared.label.tolist() == ["1", "2", "3", "4"]
    assert shared.megabytes.tolist() == [24, 32, 40, 48]
    assert shared.parameters.tolist() == [6_000_000, 8_000_000, 10_000_000, 12_000_000]
    assert shared.gain.tolist() == pytest.approx([0, 1, 2, 3], abs=CLOSE)
    assert saved["gains_by_memory"][0]["MB"].tolist()[:2] == ["24.0", "32.0"]


@pytest.mark.parametrize("name", ["27_scale", "28_instruction_and_experts", "28_wording", "29_recipes"])
def test_one_seed_has_values_and_no_interval(execute, name):
    _, saved = execute(name, seeds=1)
    for table in ("gains_by_blocks", "instruction_and_experts", "gains_by_recipe"):
        if table in saved:
            assert saved[table][1][["low", "low_beyond"]].isna().all(axis=None)
            assert saved[table][1].gain.notna().all()


def test_a_figure_names_its_intervals_or_says_that_there_are_none(execute):
    import matplotlib.text

    def small_print(**study):
        figure = execute("29_recipes", **study)[1]["merges (figure)"][0]
        return " | ".join(text.get_text() for text in figure.findobj(matplotlib.text.Text)).replace("\n", " ")

    assert "thick: another training on these datasets" in small_print()
    assert "1 seed; one seed has no interval" in small_print(seeds=1)
