"""The notebooks in notebooks/, and which of them a preset has.

- A notebook about runs that a preset lacks is not part of that preset: the graph has no node for it.
- Every notebook is kept without outputs, takes its parameters from one tagged cell, and has lines that fit a screen.
"""

import importlib
import json
import shutil
import subprocess
import sys

import pytest

from study import paths
from study.analysis import claims
from study.notebooks import NEEDS, absent_from, analyses_of
from study.presets import load_preset
from study.report.notebook import parameters_of

NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
WIDTH = 100
GRAPH = (
    "import json, nodes; study = nodes.RunGraph('smoke'); "
    "print(json.dumps([study.analyses, list(study.outputs), study.inputs_of('90_claims')]))"
)


def test_a_preset_with_all_experiments_has_all_analyses():
    names = [path.stem for path in NOTEBOOKS if not path.stem.startswith(("00", "10"))]
    assert analyses_of(load_preset("smoke")) == names
    assert absent_from(load_preset("smoke")) == {}


def test_a_notebook_about_runs_that_a_preset_lacks_is_not_part_of_it():
    preset = load_preset("smoke")
    text = preset.model_copy(update={"experiments": {"text_adapters": preset.experiments["text_adapters"]}})
    assert [name for name in analyses_of(text) if name.startswith("3")] == ["32_text_adapters"]
    lacking = {"27_scale": "two_blocks, three_blocks", "30_tsembed": "images", "31_expert_routing": "images"}
    lacking["33_specialised_experts"] = "images_mixed"
    assert absent_from(text) == lacking
    assert not any(name.startswith("3") for name in analyses_of(load_preset("local-gpu")))


def test_a_notebook_about_variants_that_a_preset_lacks_is_not_part_of_it():
    preset = load_preset("smoke")
    few = preset.model_copy(update={"variants": {v: n for v, n in preset.variants.items() if v != "ic_swapped"}})
    assert absent_from(few) == {"28_wording": "ic_swapped"}
    assert "28_wording" not in analyses_of(few)


def test_a_study_of_images_alone_measures_no_backbone_of_text():
    preset = load_preset("tsembed")
    assert analyses_of(preset) == ["30_tsembed", "31_expert_routing", "33_specialised_experts", "90_claims"]
    assert absent_from(preset)["40_efficiency"] == "a backbone of text"


def test_a_part_without_the_baseline_of_a_notebook_about_images_lacks_the_notebook():
    preset = load_preset("tsembed")
    images = preset.experiments["images"]
    few = images.model_copy(update={"variants": {v: n for v, n in images.variants.items() if v != "vl_lora_wide"}})
    part = preset.model_copy(update={"experiments": preset.experiments | {"images": few}})
    assert absent_from(part)["30_tsembed"] == "vl_lora_wide"
    assert analyses_of(part) == ["31_expert_routing", "90_claims"]


def test_a_part_that_compares_nothing_has_no_page_of_claims():
    preset = load_preset("smoke")
    alone = preset.model_copy(update={"variants": {"base": 1, "mote": 1}, "experiments": {}})
    assert "90_claims" in absent_from(alone)
    assert analyses_of(alone) == ["40_efficiency"]
    pair = preset.model_copy(update={"variants": {"ic": 1, "mote": 1}, "experiments": {}})
    assert "90_claims" in analyses_of(pair)


def test_the_presets_of_the_committed_references_have_what_they_had():
    new = {"27_scale", "28_instruction_and_experts", "28_wording", "29_recipes"}
    assert new <= set(analyses_of(load_preset("local")))
    assert not new & set(analyses_of(load_preset("cpu")))


def test_every_notebook_that_needs_an_experiment_is_there():
    assert NEEDS.keys() <= {path.stem for path in NOTEBOOKS}


def test_every_claim_about_scores_has_the_choice_of_queries_in_its_interval():
    about_scores = {claim.notebook for claim in claims.claims() if claim.quantity == "score"}
    assert len(about_scores) > 8
    for name in about_scores:
        source = (paths.NOTEBOOKS / f"{name}.ipynb").read_text()
        assert "score_claims.measure(scores, query_variance)" in source, name


def test_the_graph_has_no_node_for_a_notebook_that_the_preset_lacks(tmp_path):
    for name in ("study", "tsembed", "workflow", "configs", "notebooks"):
        shutil.copytree(paths.ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "configs/presets/smoke.yaml"
    file.write_text(file.read_text().partition("\nexperiments:")[0])
    environment = {"TSEMBED_ROOT": str(tmp_path), "PYTHONPATH": f"{tmp_path}:{tmp_path / 'workflow'}"}
    answer = subprocess.run(
        [sys.executable, "-c", GRAPH], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    analyses, outputs, inputs_of_claims = json.loads(answer.stdout)
    assert "20_specialization" in analyses
    assert "90_claims" in outputs
    experiments = set(load_preset("smoke").experiments)
    about_experiments = {name for name, needs in NEEDS.items() if experiments & {*needs}}
    assert len(about_experiments) >= 4
    assert not about_experiments & {*analyses, *outputs, *inputs_of_claims}
    assert NEEDS.keys() - about_experiments <= {*analyses}, "the variants are there"


def test_a_notebook_waits_for_the_runs_of_the_experiments_that_it_needs(monkeypatch):
    monkeypatch.syspath_prepend(str(paths.ROOT / "workflow"))
    graph = importlib.import_module("nodes").RunGraph("smoke")
    assert {"all/seed0", "two_blocks/seed0", "three_blocks/seed0"} == set(graph.inputs_of("27_scale"))
    assert graph.inputs_of("20_specialization") == ["all/seed0"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs_and_fits_a_screen(path):
    cells = json.loads(path.read_text())["cells"]
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)
    assert parameters_of(path)
    long = [line for cell in cells for line in "".join(cell["source"]).splitlines() if len(line) > WIDTH]
    assert long == []
