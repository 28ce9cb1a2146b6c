"""Invariants of a part of a preset:

- the chosen variants come with those whose weights they take and with the untrained backbone; experiments of which
  nothing is chosen are left out;
- seeds are cut and never grow; without a choice nothing changes, and a run without one removes the former choice;
- notebooks whose runs are not chosen are no part of the study;
- an unknown variant is an error that lists the preset's; a plan writes nothing.
"""

import subprocess

import pytest

from study import notebooks, paths, presets, selection
from study.selection import Selection


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    return tmp_path


def variants(preset):
    return {name: seeds for each in preset.all_experiments.values() for name, seeds in each.variants.items()}


def test_variants_come_with_those_whose_weights_they_take(runs):
    selection.choose("cpu", Selection(only=("ea", "tsembed")))
    preset = presets.load_preset("cpu")
    assert set(variants(preset)) == {"base", "ea", "mote", "tsembed", "vl_base"}
    assert set(preset.experiments) == {"captions", "images"}


def test_seeds_are_cut_and_never_grow(runs):
    whole = variants(presets.load_preset("cpu"))
    selection.choose("cpu", Selection(seeds=2))
    assert variants(presets.load_preset("cpu")) == {name: min(seeds, 2) for name, seeds in whole.items()}
    assert max(seed for _, seed in presets.load_preset("cpu").runs()) == 1
    selection.choose("cpu", Selection())
    assert not (runs / "cpu/selection.json").exists()
    assert variants(presets.load_preset("cpu")) == whole


def test_notebooks_of_other_variants_are_no_part_of_it(runs):
    selection.choose("smoke", Selection(only=("em", "ic", "mote")))
    names = notebooks.analyses_of(presets.load_preset("smoke"))
    assert {"20_specialization", "25_inter_task_similarity", "90_claims"} <= set(names)
    assert not {"22_routing", "24_expert_averaging", "30_tsembed"} & set(names)


def test_an_unknown_variant_is_named(runs):
    selection.choose("cpu", Selection(only=("em", "moet")))
    with pytest.raises(ValueError, match=r"--only: moet is no variant of the preset; it has: base, em"):
        presets.load_preset("cpu")


def test_the_plan_of_a_part_writes_nothing_and_names_its_nodes_alone():
    command = [paths.ROOT / "run_all.sh", "plan", "paper", "--only", "em,ic", "--seeds", "1"]
    before = (paths.RUNS / "paper/selection.json").exists()
    done = subprocess.run(command, capture_output=True, text=True)
    assert (paths.RUNS / "paper/selection.json").exists() == before
    runs = {line.split()[2] for line in done.stdout.splitlines() if "/seed" in line}
    assert runs == {"base/seed0", "em/seed0", "ic/seed0"}, done.stderr
    wrong = subprocess.run([*command[:-3], "moet"], capture_output=True, text=True)
    assert wrong.returncode == 1
    assert "--only: moet is no variant" in wrong.stderr
    assert len(wrong.stderr.splitlines()) == 1


@pytest.mark.parametrize("content", ["{", "[]", '{"only": []}'])
def test_a_damaged_choice_names_its_file(runs, content):
    (runs / "cpu").mkdir()
    (runs / "cpu/selection.json").write_text(content)
    with pytest.raises(ValueError, match=r"cpu/selection\.json is no choice that was saved here: .*; delete it"):
        presets.load_preset("cpu")
