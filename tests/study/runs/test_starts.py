"""Models that others start from, which an equal training of another preset has made.

- The key changes with whatever decides a weight, and with nothing else.
- What is taken is the kept model, with the history of its training; the kept files outlive the run's folder.
- Only a model that was trained is kept, and only of a variant that others start from.
"""

import json
import shutil

import pytest

from study import paths
from study.presets import RunSettings
from study.runs import starts

MANIFEST = {"datasets": [{"name": "a", "part": "train", "sha256": "1"}, {"name": "a", "part": "eval", "sha256": "2"}]}


def settings(**changes):
    backbone = {"name": "random:qwen2-vl", "pooling": "last"}
    variant = {"label": "Base", "tasks": ["captioning"]} | changes.pop("variant", {})
    content = {"preset": "a", "variant_name": "vl_base", "seed": 0, "backbone": backbone, "data": {"source": "digits"}}
    return RunSettings(**(content | {"training": {}, "evaluation": {}, "variant": variant} | changes))


def key(processes=1, manifest=MANIFEST, **changes):
    return starts.key(settings(**changes), manifest, processes)


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A run's folder with a model and its history, in a root of its own."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    folder = tmp_path / "runs/a/vl_base/seed0"
    (folder / "model").mkdir(parents=True)
    (folder / "model/weights").write_text("w")
    (folder / "metrics.jsonl").write_text('{"step": 0}\n')
    return folder


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"training": {"steps": 3}},
        {"backbone": {"name": "random:qwen2-vl", "pooling": "last", "patch_size": 4}},
        {"variant": {"tasks": ["image_retrieval"]}},
        {"processes": 2},
        {"training": {"precision": "fp32"}},
        {"manifest": {"datasets": [MANIFEST["datasets"][0] | {"sha256": "3"}]}},
    ],
)
def test_what_decides_a_weight_is_in_the_key(changes):
    assert key(**changes) != key()


def test_names_scores_and_probes_are_not_in_the_key():
    evaluated = {"datasets": [MANIFEST["datasets"][0]]}
    same = key(manifest=evaluated, preset="b", evaluation={"max_tokens": 9}, variant={"label": "B", "probe": True})
    assert same == key()


def test_the_code_is_in_the_key(tmp_path, monkeypatch):
    import tsembed

    before = key()
    (tmp_path / "tsembed").mkdir()
    (tmp_path / "tsembed/a.py").write_text("a = 1\n")
    monkeypatch.setattr(tsembed, "__file__", str(tmp_path / "tsembed/__init__.py"))
    other = key()
    (tmp_path / "tsembed/a.py").write_text("a = 2\n")
    assert len({before, other, key()}) == 3


def test_a_kept_model_is_taken_with_its_history_and_outlives_its_run(trained, capsys):
    other = trained.parents[2] / "b/vl_base/seed0"
    other.mkdir(parents=True)
    assert not starts.take("k", other)
    starts.keep("k", trained)
    shutil.rmtree(trained)
    assert starts.take("k", other)
    assert (other / "model/weights").read_text() == "w"
    assert (other / "metrics.jsonl").read_text() == '{"step": 0}\n'
    assert json.loads((other / "start.json").read_text()) == {"run": "runs/a/vl_base/seed0"}
    assert "the model is that of runs/a/vl_base/seed0" in capsys.readouterr().out


def test_a_model_without_a_training_is_not_kept(trained):
    (trained / "metrics.jsonl").unlink()
    starts.keep("k", trained)
    assert not (trained.parents[3] / ".cache").exists()


def test_starts_are_what_others_start_from():
    assert [name for name in ("vl_base", "vl_lora", "mote", "base") if starts.is_start(name)] == ["vl_base"]
