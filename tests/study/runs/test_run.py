"""Invariants of one run, in real processes.

- kill -9 in the middle of the training, then the same command: it resumes from its checkpoint, and weights and scores
  equal those of an undisturbed run. A finished run is left alone.
- Where a probe fails, the scores are there, the run is not done, and the next call repeats the probes alone.
- A changed setting under an existing run's name is an error that names the setting; nothing is overwritten.
- A machine with several GPUs launches through Accelerate, any other plainly. A rank that fails shows its own error.
- Two processes share the sets that are scored, each its own, and scores and items are those of one.
- A training may stop at its model; scores are then the work of another call.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from safetensors.torch import load_file

from study import paths
from study.presets import OWN_EXPERIMENT, load_preset, resolve
from study.probes import gradients
from study.process import run_supervised
from study.runs import measure, run, weights
from study.runs.launch import launch_command
from study.variant_rows import load_variants
from tests.tiny import tiny
from tsembed.evaluation.items import read
from tsembed.tasks import ROUTES

pytestmark = pytest.mark.processor

WORDS = "amber birch cedar delta ember fjord grove heath inlet joint kelp lunar maple north ocean pearl".split()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, tokenizer):
    """A folder with a tiny backbone, a small text folder, a preset and its prepared data."""
    root = tmp_path_factory.mktemp("prepared")
    tiny("bert").save_pretrained(root / "backbone")
    tokenizer.save_pretrained(root / "backbone")
    text = [f"{a} {b} {c}" for a in WORDS[:8] for b in WORDS[4:12] for c in WORDS[8:10]]
    sets = {
        "classification/small/train": [{"text": t, "label": str(k % 2)} for k, t in enumerate(text[:64])],
        "classification/small/test": [{"text": f"{t} now", "label": str(k % 2)} for k, t in enumerate(text[:32])],
        "clustering/topics/train": [{"text": f"on {t}", "label": str(k % 4)} for k, t in enumerate(text[:64])],
        "pairs/faq/train": [{"anchor": f"what is {t}", "positive": f"{t} is it"} for t in text[:64]],
        "wikipedia/pages/passages": [{"id": str(k), "text": f"the {t}"} for k, t in enumerate(text[:8])],
    }
    for name, rows in sets.items():
        path = root / "text" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    preset = {
        "about": "a test",
        "backbone": {"name": str(root / "backbone"), "dropout": 0.1},
        "data": {"source": "local", "path": str(root / "text")},
        "training": {
            "steps": 60,
            "batch_size": 8,
            "learning_rate": 1e-3,
            "warmup_steps": 2,
            "precision": "fp32",
            "task_sampling": "balanced",
            "max_query_tokens": 32,
            "max_document_tokens": 32,
            "checkpoint_every": 10,
        },
        "evaluation": {"benchmark": None},
        "variants": {"mote": 1, "ic": 1},
    }
    (root / "configs" / "presets").mkdir(parents=True)
    for name in ("variants", "accelerate"):
        (root / "configs" / name).symlink_to(paths.CONFIGS / name)
    (root / "configs" / "presets" / "test.yaml").write_text(yaml.safe_dump(preset))
    start(root, "study", "data", "test").communicate()
    return root


@pytest.fixture
def checkout(prepared, tmp_path):
    """A copy of it; TSEMBED_ROOT of the processes."""
    return shutil.copytree(prepared, tmp_path / "checkout", symlinks=True)


def start(root, *module):
    return start_command(root, [sys.executable, "-m", *module])


def start_command(root, command, **variables):
    environment = (
        os.environ
        | variables
        | {
            "TSEMBED_ROOT": str(root),
            "PYTHONPATH": str(paths.ROOT),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }
    )
    return subprocess.Popen(
        command,
        env=environment,
        start_new_session=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(root):
    process = start(root, "study", "run", "test", "mote", "0", "--resume")
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights_and_scores(checkout, monkeypatch, capsys):
    monkeypatch.setattr(paths, "CONFIGS", checkout / "configs")
    folder = checkout / "runs" / "test" / "mote" / "seed0"
    code, output = finish(checkout)
    assert code == 0, output
    expected, scores = (
        load_file(folder / "model" / "model.safetensors"),
        json.loads((folder / "scores.json").read_text()),
    )
    assert {row["dataset"] for row in scores} == {"small"}
    items = (folder / "items.parquet").read_bytes()
    assert 100 * read(folder / "items.parquet").value.mean() == pytest.approx(scores[0]["score"], abs=2e-4)
    assert (folder / "similarity.csv").is_file()
    data = checkout / "runs" / "test" / "data"
    run.run(resolve(load_preset("test"), "mote", 0), folder, resume=True, data=data)
    assert capsys.readouterr().out == f"{folder} is done\n"

    folder.rename(folder.with_name("undisturbed"))
    process = start(checkout, "study", "run", "test", "mote", "0", "--resume")
    end = time.monotonic() + 120
    while not list((folder / "checkpoints").glob("step-*[0-9]")) and time.monotonic() < end:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert list((folder / "checkpoints").glob("step-*[0-9]"))
    assert not (folder / "model").exists()
    code, output = finish(checkout)
    assert code == 0, output
    steps = [json.loads(row)["step"] for row in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(60))
    assert "step 1/60" not in output
    found = load_file(folder / "model" / "model.safetensors")
    assert all((found[name] == tensor).all() for name, tensor in expected.items())
    assert json.loads((folder / "scores.json").read_text()) == scores
    assert (folder / "items.parquet").read_bytes() == items

    written = folder / "config.yaml"
    written.write_text(written.read_text().replace("  average: false\n", ""))  # of before this setting was made
    assert written.read_text().count("average") == 0
    preset = checkout / "configs" / "presets" / "test.yaml"
    preset.write_text(preset.read_text().replace("learning_rate: 0.001", "learning_rate: 0.002"))
    with pytest.raises(ValueError, match="training.learning_rate was 0.001, is 0.002.* or delete"):
        run.run(resolve(load_preset("test"), "mote", 0), folder, resume=True, data=data)
    assert (folder / "done.json").is_file()


@pytest.mark.slow
def test_a_probe_that_fails_costs_no_scores_and_is_repeated_alone(checkout, monkeypatch):
    monkeypatch.setattr(paths, "CONFIGS", checkout / "configs")
    preset = checkout / "configs" / "presets" / "test.yaml"
    preset.write_text(preset.read_text().replace("steps: 60", "steps: 6"))
    chosen, folder = resolve(load_preset("test"), "mote", 0), checkout / "runs" / "test" / "mote" / "seed0"
    assert chosen.variant.probe
    calls = []
    plain_score, plain_probe = measure.score, gradients.task_gradients_conflict

    def score(*arguments):
        calls.append("score")
        return plain_score(*arguments)

    def fail(*_, **__):
        calls.append("probe")
        raise torch.OutOfMemoryError("no memory for the gradients")

    monkeypatch.setattr(measure, "score", score)
    monkeypatch.setattr(gradients, "task_gradients_conflict", fail)
    data = checkout / "runs" / "test" / "data"
    with pytest.raises(torch.OutOfMemoryError, match="no memory for the gradients"):
        run.run(chosen, folder, data=data)
    scores, items = (folder / "scores.json").read_bytes(), (folder / "items.parquet").read_bytes()
    assert (folder / "env.json").is_file()
    assert not (folder / "done.json").exists()
    assert not (folder / "gradients.csv").exists()
    with pytest.raises(torch.OutOfMemoryError):
        run.run(chosen, folder, data=data)
    assert calls == ["score", "probe", "probe"]

    monkeypatch.setattr(gradients, "task_gradients_conflict", plain_probe)
    run.run(chosen, folder, data=data)
    assert calls == ["score", "probe", "probe"], "the scores are not made again"
    assert (folder / "scores.json").read_bytes() == scores
    assert (folder / "items.parquet").read_bytes() == items
    assert (folder / "gradients.csv").is_file()
    assert json.loads((folder / "done.json").read_text())["seconds"]["evaluation"] > 0
    assert not (folder / run.SCORED).exists()

    (folder / "done.json").unlink()  # trained anew: its scores are another model's
    run._write(folder / run.SCORED, {"model": 1, "seconds": 1.0})
    run.run(chosen, folder, data=data)
    assert calls.count("score") == 2


@pytest.mark.slow
def test_averaged_and_rerouted_models_take_the_trained_weights(checkout):
    preset = checkout / "configs" / "presets" / "test.yaml"
    content = yaml.safe_load(preset.read_text())
    content["training"]["steps"] = 9
    rows = ("mote", "ea", "mote_cluster_route", "mote_half", "mote_swapped", "mote_no_prefix")
    content |= {"variants": dict.fromkeys(rows, 1)}
    folders = {row: checkout / "runs" / "test" / row / "seed0" for row in rows}
    preset.write_text(yaml.safe_dump(content, sort_keys=False))
    output, _ = start(checkout, "study", "run", "test", "ea", "0", "--resume").communicate(timeout=300)
    assert "takes the weights of" in output
    assert "mote/seed0, which is not finished; run that first" in output
    preset.write_text(yaml.safe_dump(content | {"share_process": True}, sort_keys=False))
    output, _ = start(checkout, "study", "run", "test", OWN_EXPERIMENT, "0", "--resume").communicate(timeout=300)
    assert all((folder / "done.json").is_file() for folder in folders.values()), output
    experts, dense, halves = (
        load_file(folders[r] / "model" / "model.safetensors") for r in ("mote", "ea", "mote_half")
    )
    mean = sum(experts[f"encoder.layer.0.output.experts.{route}.dense.weight"] for route in ROUTES) / len(ROUTES)
    assert (dense["encoder.layer.0.output.dense.weight"] - mean).abs().max() < 1e-6
    assert json.loads((folders["mote_cluster_route"] / "scores.json").read_text()) == []
    assert not (folders["mote_cluster_route"] / "model").exists()
    start_of_training = load_file(checkout / "backbone" / "model.safetensors")["encoder.layer.0.output.dense.weight"]
    name = "encoder.layer.0.output.experts.clustering.dense.weight"
    assert (halves[name] - (experts[name] + start_of_training) / 2).abs().max() < 1e-6
    similarity = {(folders[r] / "similarity.csv").read_text() for r in ("mote", "mote_swapped", "mote_no_prefix")}
    assert len(similarity) == 3  # other prefixes, other embeddings
    sizes = {row: json.loads((folder / "done.json").read_text()) for row, folder in folders.items()}
    assert sizes["ea"]["parameters"] < sizes["mote"]["parameters"]
    assert "bytes" not in sizes["mote_swapped"], "it has no weights of its own"


@pytest.mark.slow
def test_the_gpu_preset_of_own_data_runs_at_tiny_size(checkout):
    preset = yaml.safe_load((paths.CONFIGS / "presets" / "local-gpu.yaml").read_text())
    small = yaml.safe_load((checkout / "configs" / "presets" / "test.yaml").read_text())
    preset |= {"backbone": small["backbone"], "data": small["data"] | {"eval_rows": 20, "validation_rows": 4}}
    preset["training"] |= {"steps": 4, "batch_size": 8, "warmup_steps": 1, "checkpoint_every": 2, "log_every": 1}
    of_text = {n for n, v in load_variants().items() if not v.of_images and v.adapter is None}
    experiments = [preset, *preset["experiments"].values()]
    assert {name for experiment in experiments for name in experiment["variants"]} == of_text
    rows = ("tlr", "mote_shared", "ic_t006")
    preset |= {"variants": {name: preset["variants"][name] for name in rows}, "share_process": True, "experiments": {}}
    (checkout / "configs" / "presets" / "local-gpu.yaml").write_text(yaml.safe_dump(preset))
    start(checkout, "study", "data", "local-gpu").communicate()
    output, _ = start(checkout, "study", "run", "local-gpu", OWN_EXPERIMENT, "4", "--resume").communicate(timeout=300)
    for variant in rows:
        assert (checkout / "runs" / "local-gpu" / variant / "seed4" / "done.json").is_file(), output


@pytest.mark.slow
def test_two_launched_processes_train_as_one(checkout, monkeypatch):
    preset = checkout / "configs" / "presets" / "test.yaml"
    preset.write_text(preset.read_text().replace("dropout: 0.1", "dropout: 0.0").replace("steps: 60", "steps: 9"))
    folder = checkout / "runs" / "test" / "mote" / "seed0"
    code, output = finish(checkout)
    assert code == 0, output
    folder.rename(folder.with_name("one"))
    monkeypatch.setenv("TSEMBED_PROCESSES", "2")
    monkeypatch.setattr(paths, "CONFIGS", checkout / "configs")
    process = start_command(checkout, launch_command("test", "mote", 0), ACCELERATE_USE_CPU="true")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    one, two = (load_file(folder.with_name(n) / "model" / "model.safetensors") for n in ("one", "seed0"))
    start = load_file(checkout / "backbone" / "model.safetensors")
    moved = max((one[n] - start[n]).abs().max() for n in start if n in one)
    assert moved > 1e-3
    assert max((one[n] - two[n]).abs().max() for n in one) < moved / 100
    rows = [
        [json.loads(r) for r in (folder.with_name(n) / "metrics.jsonl").read_text().splitlines()]
        for n in ("one", "seed0")
    ]
    assert [r["task"] for r in rows[0]] == [r["task"] for r in rows[1]]
    assert [r["loss"] for r in rows[0]] == pytest.approx([r["loss"] for r in rows[1]], abs=1e-4)


@pytest.mark.slow
def test_two_processes_share_the_sets_and_give_the_scores_of_one(checkout, monkeypatch):
    for number, count in enumerate((8, 16, 24)):  # three more sets
        for part in ("train", "test"):
            texts = [f"{part} {number} {a} {b}" for a in WORDS[:count] for b in WORDS[:4]]
            rows = [{"text": text, "label": str(k % 2)} for k, text in enumerate(texts)]
            path = checkout / "text" / "classification" / f"more{number}" / f"{part}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    preset = checkout / "configs" / "presets" / "test.yaml"
    content = yaml.safe_load(preset.read_text()) | {"variants": {"base": 1}}
    content["data"]["path"] = str(checkout / "text")
    preset.write_text(yaml.safe_dump(content))
    shutil.rmtree(checkout / "runs")
    output, _ = start(checkout, "study", "data", "test").communicate()
    assert "rror" not in output, output
    folder = checkout / "runs" / "test" / "base" / "seed0"
    output, _ = start(checkout, "study", "run", "test", "base", "0").communicate(timeout=300)
    assert (folder / "done.json").is_file(), output
    one = folder.rename(folder.with_name("one"))
    monkeypatch.setenv("TSEMBED_PROCESSES", "2")
    monkeypatch.setattr(paths, "CONFIGS", checkout / "configs")
    process = start_command(checkout, launch_command("test", "base", 0), ACCELERATE_USE_CPU="true")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    scores = (folder / "scores.json").read_text()
    names = [row["dataset"] for row in json.loads(scores)]
    assert len(names) >= 4
    assert scores == (one / "scores.json").read_text()
    assert (folder / "items.parquet").read_bytes() == (one / "items.parquet").read_bytes()
    assert not (folder / "shares").exists()
    shares = re.findall(r"^\d+/(\d+)  (\S+)  is being scored", output, re.MULTILINE)
    assert sorted(name for _, name in shares) == sorted(names), "each set once"
    assert all(int(count) < len(names) for count, _ in shares), "each process has a part of them"


@pytest.mark.slow
def test_a_failed_rank_is_shown_with_its_own_error(checkout, monkeypatch):
    folder = checkout / "runs" / "test" / "mote" / "seed0"
    folder.mkdir(parents=True)
    other = resolve(load_preset("smoke"), "mote", 0).model_dump(mode="json")
    (folder / "config.yaml").write_text(yaml.safe_dump(other))
    for name, value in {"TSEMBED_PROCESSES": "2", "TSEMBED_ROOT": str(checkout), "PYTHONPATH": str(paths.ROOT)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(paths, "CONFIGS", checkout / "configs")
    with pytest.raises(RuntimeError) as error:
        run_supervised(launch_command("test", "mote", 0), log=checkout / "run.log")
    last = str(error.value).splitlines()[-1]
    assert re.match(r"\[rank [01]\] ValueError: .*this run has other settings", last), str(error.value)
    assert "ChildFailedError" in (checkout / "run.log").read_text()
    assert "ChildFailedError" not in str(error.value)


@pytest.mark.slow
def test_a_training_stops_at_its_model_and_another_call_scores_it(checkout):
    preset = checkout / "configs" / "presets" / "test.yaml"
    preset.write_text(preset.read_text().replace("steps: 60", "steps: 3"))
    folder = checkout / "runs" / "test" / "mote" / "seed0"
    alone = start(checkout, "study", "train", "test", "mote", "0")
    output, _ = alone.communicate(timeout=300)
    assert alone.returncode == 0, output
    trained = json.loads((folder / "trained.json").read_text())
    assert (trained["nodes"], trained["processes"]) == (1, 1)
    assert not (folder / "scores.json").exists()
    before = (folder / "model").stat().st_mtime_ns
    code, output = finish(checkout)
    assert code == 0, output
    assert (folder / "done.json").is_file()
    assert (folder / "model").stat().st_mtime_ns == before


def progress(output):
    """The lines of datasets that are scored."""
    return re.findall(r"^\d+/\d+  \S+", output, re.MULTILINE)


@pytest.fixture(scope="module")
def three_rows(prepared, tmp_path_factory):
    """A checkout in which one process has run a trained row and two without a training, and what it printed."""
    root = shutil.copytree(prepared, tmp_path_factory.mktemp("rows") / "checkout", symlinks=True)
    path = root / "configs" / "presets" / "test.yaml"
    preset = yaml.safe_load(path.read_text())
    preset |= {"variants": {"mote": 1, "base": 1, "ea": 1}, "training": preset["training"] | {"steps": 3}}
    path.write_text(yaml.safe_dump(preset | {"share_process": True}, sort_keys=False))
    output, _ = start(root, "study", "run", "test", OWN_EXPERIMENT, "0").communicate(timeout=300)
    path.write_text(yaml.safe_dump(preset, sort_keys=False))
    return root, output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("device", "rows"),
    [({}, ("base", "ea")), ({"ACCELERATE_USE_CPU": "true"}, ("ea",))],
    ids=["no GPU", "CPU asked for"],
)
def test_rows_without_a_training_take_several_processes_too(device, rows, three_rows, tmp_path, monkeypatch):
    root, printed = three_rows
    checkout = shutil.copytree(root, tmp_path / "checkout", symlinks=True)
    monkeypatch.setenv("TSEMBED_PROCESSES", "2")
    monkeypatch.setattr(paths, "CONFIGS", checkout / "configs")
    for variant in rows:
        folder = checkout / "runs" / "test" / variant / "seed0"
        folder.rename(folder.with_name("one"))
        command = launch_command("test", variant, 0)
        assert "accelerate.commands.launch" in command
        output, _ = start_command(checkout, command, CUDA_VISIBLE_DEVICES="", **device).communicate(timeout=200)
        assert (folder / "done.json").is_file(), output
        found, expected = (load_file(f / "model" / "model.safetensors") for f in (folder, folder.with_name("one")))
        assert all(torch.equal(found[name], expected[name]) for name in expected), printed
        assert (folder / "scores.json").read_text() == folder.with_name("one").joinpath("scores.json").read_text()
        assert 3 * progress(output) == progress(printed) != [], "each dataset is scored once"


def test_a_launcher_that_is_not_there_or_would_wait_is_refused(monkeypatch):
    monkeypatch.setenv("TSEMBED_PROCESSES", "2")
    monkeypatch.setenv("TSEMBED_ACCELERATE", "fsdp3")
    with pytest.raises(ValueError, match="TSEMBED_ACCELERATE 'fsdp3': no such file .* ddp, deepspeed_zero2, fsdp2$"):
        launch_command("cpu", "em", 0)
    for name in ("fsdp2", "deepspeed_zero2"):
        monkeypatch.setenv("TSEMBED_ACCELERATE", name)
        assert launch_command("cpu", "mote", 0)[4].endswith(f"{name}.yaml")
        with pytest.raises(ValueError, match="each process of tlr may use other experts, for which .* use ddp"):
            launch_command("gpu", "tlr", 0)


def test_all_seeds_start_from_the_one_run_of_weights_that_nobody_trains(tmp_path):
    gpu = load_preset("gpu")
    assert [seed for variant, seed in gpu.runs() if variant == "vl_base"] == [0]
    assert [seed for variant, seed in gpu.runs() if variant == "vl_lora"] == [0, 1]
    for variant, seed in (("vl_base", 0), ("mote", 0), ("mote", 1)):
        folder = tmp_path / variant / f"seed{seed}"
        (folder / "model").mkdir(parents=True)
        (folder / "model" / "model.safetensors").touch()
        (folder / "done.json").touch()
    for variant, partner, expected in (("vl_lora", "vl_base", "seed0"), ("ea", "mote", "seed1")):
        found = weights.model_of(partner, resolve(gpu, variant, 1), tmp_path / variant / "seed1")
        assert found == tmp_path / partner / expected / "model"


def test_a_renamed_run_is_the_same_run_and_one_of_other_settings_is_not(tmp_path):
    chosen = resolve(load_preset("smoke"), "ic", 0)
    run._write_or_check_settings(chosen, "hash", tmp_path)
    renamed = chosen.model_copy(update={"variant": chosen.variant.model_copy(update={"label": "another name"})})
    run._write_or_check_settings(renamed, "hash", tmp_path)
    changed = chosen.model_copy(update={"variant": chosen.variant.model_copy(update={"temperature": 0.5})})
    with pytest.raises(ValueError, match=r"other settings: variant.temperature was 'task_aware', is 0.5"):
        run._write_or_check_settings(changed, "hash", tmp_path)
    with pytest.raises(ValueError, match="data_sha256 was 'hash', is 'other'"):
        run._write_or_check_settings(renamed, "other", tmp_path)


def test_only_several_gpus_need_a_launcher(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert launch_command("smoke", "em", 1)[1:] == ["-m", "study", "run", "smoke", "em", "1", "--resume"]
    plain = launch_command("smoke", "all", 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    command = launch_command("smoke", "em", 1)
    assert "accelerate.commands.launch" in command
    assert command[command.index("--num_processes") + 1] == "3"
    assert command[command.index("--config_file") + 1].endswith("configs/accelerate/ddp.yaml")
    assert launch_command("smoke", "all", 0) == plain, "ranks part after a run, and do not meet again for the next"
