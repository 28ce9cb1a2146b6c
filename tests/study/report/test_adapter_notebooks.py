"""Notebooks 30 to 33 on runs that nobody trained, and 90 on a preset that lacks some of them.

Invariants: they judge every claim that names them, and find the effects that the runs have; notebook 32 needs no runs
on images; notebook 90 tells a notebook that the preset does not have from one that has not been executed.
"""

import functools
import re

import pytest

from study import paths
from study.analysis import claims, judgement
from tests.study.report.adapter_runs import STUDIES, write_study
from tests.study.report.samples import executed, use_folder

NOTEBOOKS, CONFIGS, REFERENCES = paths.NOTEBOOKS, paths.CONFIGS, paths.REFERENCES


@pytest.fixture(scope="module")
def execute(tmp_path_factory):
    """Run a notebook's cells, once; returns what it displayed, and by name the tables and figures that it saved."""

    @functools.cache
    def run(name: str, experiments: tuple[str, ...], **more: int):
        return run_in(tmp_path_factory.mktemp(name), name, experiments, **more)

    return run


def run_in(folder, name, experiments, seeds=3, first_seed=0):
    with pytest.MonkeyPatch.context() as patch:
        use_folder(patch, folder)
        patch.setattr(paths, "REFERENCES", REFERENCES)
        write_study(folder, configs=CONFIGS, experiments=experiments, seeds=seeds, first_seed=first_seed)
        return executed(patch, NOTEBOOKS / f"{name}.ipynb", "tiny")


def names(saved):
    return {name.removesuffix(" (figure)") for name in saved}


def verdicts(saved, name):
    return judgement.without_lines(saved[name][1]).set_index("id").verdict.to_dict()


def test_notebook_30_judges_its_claims(execute):
    shown, saved = execute("30_tsembed", tuple(STUDIES))
    found = verdicts(saved, "claims_tsembed")
    assert list(found) == [claim.id for claim in claims.claims("30_tsembed")]
    assert {found[name] for name in ("ts-moe", "ts-eans", "ts-stages", "ts-lora")} == {"reproduced"}
    assert found["ts-task"] == "refuted", "a method without an effect, against one of a point"
    reasons = saved["claims_tsembed"][1].set_index("id").reason
    one_seed = ["ts-permuted", "ts-hardness", "ts-deviation", "ts-centered"]
    assert reasons[reasons != ""].to_dict() == dict.fromkeys(one_seed, "1 seed")
    assert {"tsembed_scores", "tsembed_gains", "tsembed_tests", "tsembed_ablations", "mmeb_published"} <= names(saved)
    assert "3 seeds of the main methods" in shown[0]
    assert "**4** reproduced" in shown[-1]
    assert "**1** refuted" in shown[-1]


def test_notebook_31_judges_its_claims(execute):
    shown, saved = execute("31_expert_routing", ("captions", "images"), first_seed=10)
    found = verdicts(saved, "claims_expert_routing")
    assert list(found) == [claim.id for claim in claims.claims("31_expert_routing")]
    assert found.pop("ts-specialise") == "open", "no stage has an effect there"
    ours = {claim.id for claim in claims.claims("31_expert_routing") if claim.source == "ours"}
    assert found == {name: "supported" if name in ours else "reproduced" for name in found}
    assert {
        "expert_use_tsembed",
        "specialisation",
        "specialisation_by_layer",
        "stages",
        "routing_proxy",
        "adapter_conflict",
    } <= names(saved)
    assert "**3** reproduced" in shown[-1]
    assert "**2** supported" in shown[-1]


def test_notebook_32_judges_its_claims_on_a_preset_without_images(execute):
    shown, saved = execute("32_text_adapters", ("text_adapters",))
    verdicts_by_claim = verdicts(saved, "claims_text_adapters")
    assert list(verdicts_by_claim) == [claim.id for claim in claims.claims("32_text_adapters")]
    assert {"tsembed_text_scores", "tsembed_text_gains", "tsembed_cost_text"} <= names(saved)
    assert "3 seeds of the adapters" in shown[0]
    assert judgement.counts_text(saved["claims_text_adapters"][1]) in shown[-1]


def test_notebook_32_takes_the_untrained_encoder_where_it_is_scored_on_the_same_sets(execute):
    _, saved = execute("32_text_adapters", ("text_adapters",))
    assert list(saved["tsembed_text_scores"][1].method.unique())[:2] == ["base", "lora"]


def test_notebook_33_judges_its_claims(execute):
    shown, saved = execute("33_specialised_experts", ("captions", "images", "images_mixed"))
    found = verdicts(saved, "claims_specialised_experts")
    absent = {"ts-router-rate", "ts-oracle", "ts-question"}
    assert set(found) == {claim.id for claim in claims.claims("33_specialised_experts")} - absent
    assert found.pop("ts-informed-experts") == "open", "no adapter has an effect on routing there"
    assert found.pop("ts-mixed-positive") == "refuted"
    assert set(found.values()) == {"supported"}
    assert {
        "specialised_scores",
        "specialised_tests",
        "eans_mixed",
        "specialised_gains_vl_lora_wide",
        "seeds_needed",
    } <= names(saved)
    assert "8 on mixed batches of the same pairs" in shown[0]
    assert "No training of this preset was repeated." in shown
    assert len(saved["seeds_needed"][0]) == len(found) + 1, "a row per claim about scores"
    assert "**6** supported" in shown[-1]


def test_notebook_90_says_which_notebooks_a_preset_does_not_have(execute, tmp_path):
    _, saved = execute("32_text_adapters", ("text_adapters",))
    table = tmp_path / "reports/tiny/tables/claims_text_adapters.csv"
    table.parent.mkdir(parents=True)
    saved["claims_text_adapters"][1].to_csv(table, index=False)
    shown, _ = run_in(tmp_path, "90_claims", ("text_adapters",))
    counts = next(text for text in shown if text.startswith("Number of claims"))
    assert "measured in [32_text_adapters](32_text_adapters.html): 5" in counts
    assert "not measured, of 31_expert_routing, which this preset does not have (images): 6" in counts
    assert re.search(r"not measured, of 20_specialization, which .* does not have \(em, ic, mote\): \d+", counts)
