"""Invariants of TSEmbed's runs and their exports, in real processes.

- Two processes share the sets of images that are scored, each its own, and scores and items are those of one.
- A base that another preset has trained, by the same settings on the same data, is taken and not trained again.
- kill -9 of two processes in the second stage, then the same command: they go on in the second stage, to the weights
  and scores of an undisturbed run. While a rank is still at work, another process is refused.
- Exports: LoRA and a route of task-routed experts are plain models, equal to the trained one; a learned router's mean
  gates are exported with the measured loss of score; what cannot be exported is named.
"""

import json
import re
import shutil
import sys
import time

import numpy as np
import psutil
import pytest
import torch
import yaml
from safetensors.torch import load_file

from study import paths
from study.runs.export import export
from study.runs.launch import launch_command
from tests.study.runs.test_run import start, start_command
from tests.tiny_images import item
from tsembed.encoder.text import Encoder

pytestmark = pytest.mark.processor

PRESET = {
    "about": "a test",
    "backbone": {"name": "random:qwen2-vl", "pooling": "last", "patch_size": 4, "num_layers": 1},
    "data": {"source": "digits", "train_rows": 24, "eval_rows": 6, "validation_rows": 4},
    "training": {
        "steps": 4,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "warmup_steps": 1,
        "precision": "fp32",
        "task_sampling": "balanced",
        "max_query_tokens": 64,
        "max_document_tokens": 64,
        "checkpoint_every": 2,
    },
    "evaluation": {"benchmark": None, "max_tokens": 64, "sets_per_type": 1},
    "variants": {"vl_base": 1},
}
IMAGES = {
    "training": PRESET["training"] | {"steps": 100, "learning_rate": 3e-3},
    "variants": {"vl_lora": 1, "vl_moe_lora_task": 1, "tsembed": 1},
    "share_process": True,
}
ITEMS = ["a text", item("", "red"), item("what <image> is it", "blue")]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """TSEMBED_ROOT of the processes: prepared digits and a base that is trained on captions."""
    root = tmp_path_factory.mktemp("adapters")
    (root / "configs" / "presets").mkdir(parents=True)
    (root / "configs" / "variants").symlink_to(paths.CONFIGS / "variants")
    (root / "configs" / "accelerate").symlink_to(paths.CONFIGS / "accelerate")
    (root / "configs" / "presets" / "test.yaml").write_text(
        yaml.safe_dump(PRESET | {"experiments": {"images": IMAGES}})
    )
    for command in (("study", "data", "test"), ("study", "run", "test", "vl_base", "0")):
        process = start(root, *command)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    return root


def run_folder(root, variant):
    return root / "runs" / "test" / variant / "seed0"


def finish(root, variant, processes, preset="test"):
    """Run to the end; "1" or "2" processes, the latter through `accelerate launch` and gloo."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TSEMBED_PROCESSES", processes)
        patch.setattr(paths, "CONFIGS", root / "configs")
        command = launch_command(preset, variant, 0)
    return start_command(root, command, ACCELERATE_USE_CPU="true", CUDA_VISIBLE_DEVICES="")


def check(process):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


@pytest.mark.slow
def test_a_base_of_pictures_that_nobody_trains_takes_two_processes(checkout):
    preset = PRESET | {"training": {"steps": 0}}
    (checkout / "configs" / "presets" / "untrained.yaml").write_text(yaml.safe_dump(preset))
    shutil.copytree(checkout / "runs" / "test" / "data", checkout / "runs" / "untrained" / "data")
    folder = checkout / "runs" / "untrained" / "vl_base" / "seed0"
    check(start(checkout, "study", "run", "untrained", "vl_base", "0"))
    one = folder.rename(folder.with_name("one"))
    output = check(finish(checkout, "vl_base", "2", "untrained"))
    assert (folder / "done.json").is_file()
    found, expected = (load_file(path / "model" / "model.safetensors") for path in (folder, one))
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    scores = (folder / "scores.json").read_text()
    assert scores == (one / "scores.json").read_text()
    assert (folder / "items.parquet").read_bytes() == (one / "items.parquet").read_bytes()
    names = [row["dataset"] for row in json.loads(scores)]
    shares = re.findall(r"^\d+/(\d+)  (\S+)  is being scored", output, re.MULTILINE)
    assert sorted(name for _, name in shares) == sorted(names), "each set once"
    assert all(int(count) < len(names) for count, _ in shares), "each process has a part of them"


def test_another_preset_takes_the_base_that_an_equal_training_has_made(checkout):
    for name, training in (("copy", PRESET["training"]), ("longer", PRESET["training"] | {"steps": 5})):
        (checkout / "configs" / "presets" / f"{name}.yaml").write_text(yaml.safe_dump(PRESET | {"training": training}))
        shutil.copytree(checkout / "runs" / "test" / "data", checkout / "runs" / name / "data")
    output = check(start(checkout, "study", "run", "copy", "vl_base", "0"))
    assert "the model is that of runs/test/vl_base/seed0" in output
    assert "loss" not in output, "nothing is trained"
    own, taken = (checkout / "runs" / name / "vl_base" / "seed0" for name in ("test", "copy"))
    for name in ("model/model.safetensors", "metrics.jsonl", "scores.json", "items.parquet"):
        assert (taken / name).read_bytes() == (own / name).read_bytes()
    seconds = [json.loads((folder / "done.json").read_text())["seconds"]["training"] for folder in (own, taken)]
    assert seconds[0] == seconds[1] > 0
    output = check(start(checkout, "study", "run", "longer", "vl_base", "0"))
    assert "loss" in output
    assert not (checkout / "runs" / "longer" / "vl_base" / "seed0" / "start.json").exists()


@pytest.mark.slow
def test_two_processes_killed_in_the_second_stage_go_on_in_it(checkout):
    folder = run_folder(checkout, "tsembed")
    shutil.rmtree(folder, ignore_errors=True)  # another test's, of one process, would be taken as finished
    check(finish(checkout, "tsembed", "2"))
    undisturbed = folder.rename(folder.with_name("undisturbed"))
    stages = [json.loads(row)["stage"] for row in (undisturbed / "metrics.jsonl").read_text().splitlines()]
    switch = stages.index(2)
    assert 8 <= switch <= 60

    process = finish(checkout, "tsembed", "2")
    end = time.monotonic() + 200
    while (at := newest(folder)) <= switch + 1 and time.monotonic() < end:
        time.sleep(0.01)
    launcher = psutil.Process(process.pid)
    ranks = launcher.children(recursive=True)  # the launcher gives each rank a session of its own
    launcher.kill()
    for rank in ranks:
        rank.suspend()
    refused = start(checkout, "study", "run", "test", "tsembed", "0", "--resume").communicate(timeout=100)[0]
    for rank in ranks:
        rank.kill()
    process.communicate()
    assert "another process is at work" in refused
    assert len(ranks) >= 2
    assert switch + 1 < at < 100
    assert not (folder / "model").exists()
    output = check(finish(checkout, "tsembed", "2"))
    assert "step 1/100" not in output
    assert (folder / "done.json").is_file()
    found, expected = (load_file(f / "model" / "adapter_model.safetensors") for f in (folder, undisturbed))
    assert found.keys() == expected.keys()
    apart = {name: float((found[name] - expected[name]).abs().max()) for name in expected}
    assert not any(apart.values()), (switch, at, max(apart.values()), sum(v > 0 for v in apart.values()), len(apart))
    for name in ("scores.json", "routing.jsonl"):
        assert (folder / name).read_text() == (undisturbed / name).read_text()
    rows = [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["stage"] for row in rows] == stages
    assert [row["step"] for row in rows] == list(range(100))


def newest(folder):
    """Steps of the newest checkpoint."""
    return max((int(path.name[5:]) for path in folder.glob("checkpoints/step-*[0-9]")), default=0)


@pytest.mark.slow
def test_exports_are_plain_models(checkout, tmp_path):
    from transformers import AutoModel

    check(finish(checkout, "images", "1"))  # what the other tests have not run yet, in one process
    cases = {"vl_lora": {}, "vl_moe_lora_task": {"route": "visual_grounding"}}
    for variant, how in cases.items():
        source, out = run_folder(checkout, variant), tmp_path / variant
        export(source, out, **how)
        trained, plain = Encoder.load(source / "model"), Encoder.load(out)
        assert not hasattr(plain.backbone, "peft_config")
        assert "base" not in (out / "tsembed.json").read_text()
        route = how.get("route", "image_retrieval")
        expected = trained.encode(ITEMS, route, max_tokens=64)
        np.testing.assert_allclose(plain.encode(ITEMS, route, max_tokens=64), expected, atol=1e-5)
        base = Encoder.load(run_folder(checkout, "vl_base") / "model")
        assert np.abs(base.encode(ITEMS, route, max_tokens=64) - expected).max() > 1e-3
        weights = AutoModel.from_pretrained(out).state_dict()
        assert all(torch.equal(weights[name], p) for name, p in plain.backbone.state_dict().items())
        card = (out / "README.md").read_text()
        assert "merged into its backbone" in card
        assert "scikit-learn" in card
        assert str(checkout) not in card

    source, out = run_folder(checkout, "tsembed"), tmp_path / "average"
    export(source, out, average=True)
    card = (out / "README.md").read_text()
    scores = json.loads((source / "scores.json").read_text())
    mean = sum(row["score"] for row in scores) / len(scores)
    assert "mean gates of its routers" in card
    assert f"| {mean:.1f} | " in card
    assert "| exported | trained |" in card


@pytest.mark.slow
def test_what_cannot_be_exported_is_named(checkout, tmp_path):
    if not all((run_folder(checkout, variant) / "done.json").is_file() for variant in IMAGES["variants"]):
        check(finish(checkout, "images", "1"))
    task, lora = (run_folder(checkout, name) for name in ("vl_moe_lora_task", "vl_lora"))
    for source, how, message in (
        (task, {}, "got no route; its routes: image_classification"),
        (task, {"route": "clustering"}, "got route 'clustering'"),
        (task, {"average": True}, "name a route, not the average"),
        (lora, {"average": True}, "has no experts to average"),
    ):
        with pytest.raises(ValueError, match=message):
            export(source, tmp_path / "out", **how)
    assert not list(tmp_path.glob("out*"))


def test_of_text_adapters_a_sentence_transformer_is_made(tokenizer, tmp_path):
    from sentence_transformers import SentenceTransformer

    from tests.tiny import tiny
    from tsembed.encoder.adapters import adapt
    from tsembed.settings import Adapter
    from tsembed.tasks import INSTRUCTIONS, ROUTES

    experts = {route: route for route in ROUTES}
    for name, adapter, route in (
        ("lora", Adapter(kind="lora", r=4), None),
        ("task", Adapter(r=4, router="task"), "clustering"),
    ):
        tiny("bert").save_pretrained(tmp_path / "tiny")
        tokenizer.save_pretrained(tmp_path / "tiny")
        backbone = adapt(tiny("bert"), adapter, experts, seed=0)
        for key, p in backbone.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(p, std=0.1, generator=torch.Generator().manual_seed(len(key)))
        base = {"backbone": {"name": str(tmp_path / "tiny")}}
        encoder = Encoder(backbone, tokenizer, instructions=dict(INSTRUCTIONS), base=base).eval()
        encoder.save(tmp_path / name)
        export(tmp_path / name, tmp_path / f"{name}-out", route=route)
        model = SentenceTransformer(str(tmp_path / f"{name}-out"), device="cpu", local_files_only=True)
        found = model.encode(["a", "some words"], prompt_name="clustering")
        np.testing.assert_allclose(found, encoder.encode(["a", "some words"], "clustering"), atol=1e-5)
    backbone = adapt(tiny("bert"), Adapter(r=4), seed=0)
    Encoder(backbone, tokenizer, instructions=dict(INSTRUCTIONS), base=base).save(tmp_path / "token")
    for how, message in (
        ({}, "routes by token; no plain model equals it"),
        ({"average": True}, "on the data of a run"),
    ):
        with pytest.raises(ValueError, match=message):
            export(tmp_path / "token", tmp_path / "out", **how)


@pytest.mark.slow
def test_the_notebook_for_exploring_runs_with_and_without_a_trained_run(checkout, tmp_path):
    notebook, out = str(paths.NOTEBOOKS / "00_explore.ipynb"), tmp_path / "00_explore.ipynb"
    empty = tmp_path / "empty"
    (empty / "configs/presets").mkdir(parents=True)
    (empty / "configs/variants").symlink_to(paths.CONFIGS / "variants")
    for root in (empty, checkout):
        for preset in ("cpu", "smoke"):
            shutil.copy(paths.CONFIGS / f"presets/{preset}.yaml", root / "configs/presets")
        check(start_command(root, [sys.executable, "-m", "study", "notebook", notebook, str(out)]))
        text = out.read_text()
        assert "digits_digit" in text
        assert "✓ right answer" in text
        assert "Not trained" in text, "no text model is trained in either"
        assert ("runs/test/" in text) == (root == checkout), "a finished run is taken: the best of those that are there"
        assert ((root / "runs/explore").is_dir()) == (root == empty), "images are prepared where there are none"
        assert "Not possible" not in text
