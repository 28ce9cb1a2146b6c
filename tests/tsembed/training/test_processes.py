"""Invariants of the ways in which a training is spread over processes: every file of configs/accelerate.

- Two launched processes train, save and load what one process does: losses, norms and weights, micro-batches in pieces.
- Interrupted and resumed in new processes they end with bitwise the same weights.
- FSDP2 is FSDP2, also without a GPU: its units are the encoder's blocks, of PEFT's and of image encoders too.
- What would hang or silently be something else is refused before the start.
- ZeRO moves experts that a step does not use, DDP and FSDP2 do not.
"""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
import torch
import yaml

from study import paths
from tests import launched, tiny_images
from tests.tiny import tiny
from tsembed.encoder.adapters import adapt
from tsembed.mote.experts import TaskRouted
from tsembed.settings import Adapter, Variant
from tsembed.training import processes

FILES = sorted(path.stem for path in (paths.CONFIGS / "accelerate").glob("*.yaml"))
KINDS = {"ddp": "DistributedDataParallel", "fsdp2": "FSDPPairEncoder", "deepspeed_zero2": "DeepSpeedEngine"}


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """Folder with every row, trained in this process."""
    folder = tmp_path_factory.mktemp("one")
    for row in launched.ROWS:
        launched.run(folder, "whole", row).save(folder / row / "model")
    return folder


def launch(file, folder, parts, rows):
    """What two processes printed that trained parts of the rows, one after the other."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ACCELERATE_", "FSDP_", "PYTEST_"))}
    command = ["-m", "accelerate.commands.launch", "--config_file", str(paths.CONFIGS / "accelerate" / f"{file}.yaml")]
    command += ["--num_processes", "2", "-m", "tests.launched", str(folder), parts, *rows]
    done = subprocess.run(
        [sys.executable, *command],
        env=kept | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
        cwd=paths.ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def saved(folder, row):
    """Name -> weight of a saved encoder, adapters or all."""
    from safetensors.torch import load_file

    (file,) = (folder / row / "model").glob("*.safetensors")
    return load_file(file)


def metrics(folder, row, name):
    return [json.loads(line)[name] for line in (folder / row / "run" / "metrics.jsonl").read_text().splitlines()]


def apart(found, expected):
    assert found.keys() == expected.keys()
    return max((found[name].float() - expected[name].float()).abs().max().item() for name in expected)


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_two_launched_processes_are_one_and_resume(file, one, tmp_path):
    if file.startswith("deepspeed") and importlib.util.find_spec("deepspeed") is None:
        reason = "the package deepspeed is not installed"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    rows = [row for row, variant in launched.ROWS.items() if file == "ddp" or not variant.ranks_may_differ]
    output = launch(file, tmp_path, "whole,cut", rows)
    assert output.count(KINDS[file]) == 2 * 2 * len(rows), output
    for row in rows:
        close = {"rel": 2e-2} if row.endswith("bf16") else {"rel": 1e-4}
        zero = file.startswith("deepspeed") and row == "mote"  # experts that a step does not use decay there
        for name in ("loss", "grad_norm"):
            found, expected = (metrics(folder, row, name) for folder in (tmp_path / "whole", one))
            assert found[: 1 if zero else None] == pytest.approx(expected[: 1 if zero else None], **close), (row, name)
        assert max(metrics(one, row, "grad_norm")) > launched.settings(row).max_grad_norm, "clipping is felt"
        start = launched.encoder_of(row)
        start.save(tmp_path / "start" / row / "model")
        moved = apart(saved(one, row), saved(tmp_path / "start", row))
        assert moved > 1e-3
        if not zero and not row.endswith("bf16"):
            assert apart(saved(tmp_path / "whole", row), saved(one, row)) < moved / 50, row
    launch(file, tmp_path, "resumed", rows)  # new processes
    for row in rows:
        assert apart(saved(tmp_path / "cut", row), saved(tmp_path / "whole", row)) == 0, row
        assert metrics(tmp_path / "cut", row, "loss") == metrics(tmp_path / "whole", row, "loss"), row
    unused = [name for name in saved(one, "mote") if ".experts.clustering." in name]
    start, found = saved(tmp_path / "start", "mote"), saved(tmp_path / "whole", "mote")
    still = all(torch.equal(start[name], found[name]) for name in unused)
    assert unused
    assert still != file.startswith("deepspeed"), "docs/deviations.md says which"


def test_bf16_is_felt(one):
    assert metrics(one, "ic", "grad_norm") != pytest.approx(metrics(one, "ic_bf16", "grad_norm"), rel=1e-5)


def test_the_units_of_fsdp_are_the_blocks():
    assert processes.block_classes(tiny("nomic_bert")) == ["NomicBertLayer"]
    assert processes.block_classes(launched.encoder_of("mote").backbone) == ["BertLayer"]
    assert processes.block_classes(launched.encoder_of("moe_lora").backbone) == ["BertLayer"]
    assert isinstance(launched.encoder_of("mote").backbone, TaskRouted)
    backbone = adapt(tiny_images.parts().model, Adapter(kind="lora"), seed=0)
    assert processes.block_classes(backbone) == ["Qwen2VLDecoderLayer", "Qwen2VLVisionBlock"]
    model = tiny("bert")
    model.config.model_type = "another"
    with pytest.raises(ValueError, match="FSDP2 shards by block, and those of model_type 'another' are not known"):
        processes.block_classes(model)


@pytest.mark.parametrize(
    ("row", "environment", "message"),
    [
        ("tlr", {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}, "^TLR: each process may use other experts"),
        ("tlr", {"ACCELERATE_USE_DEEPSPEED": "true"}, "^TLR: each process may use other experts.*use ddp"),
        ("ic", {"ACCELERATE_USE_FSDP": "true"}, "FSDP must be of version 2"),
        ("ic", {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_USE_CPU": "true"}, "makes plain DDP of DeepSpeed"),
        ("ic", {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}, "must be 1 or 2, got 3"),
    ],
)
def test_what_would_hang_or_be_something_else_is_refused(row, environment, message, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        processes.make_accelerator(launched.settings(row), launched.ROWS[row])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, False),
        ({"experts": launched.ROWS["mote"].experts}, False),
        ({"experts": launched.ROWS["mote"].experts, "batching": "mixed", "temperature": 0.03}, True),
        ({"token_routing": launched.ROWS["tlr"].token_routing}, True),
        ({"adapter": Adapter(kind="moe_lora")}, False),
    ],
)
def test_ranks_differ_where_pairs_choose_the_experts(settings, expected):
    assert Variant(label="V", **settings).ranks_may_differ == expected


@pytest.mark.parametrize("file", FILES)
def test_every_file_is_of_one_machine_and_of_a_known_kind(file):
    content = yaml.safe_load((paths.CONFIGS / "accelerate" / f"{file}.yaml").read_text())
    assert file in KINDS
    assert content["num_machines"] == 1
    fixed = content.get("deepspeed_config", {}).get("gradient_accumulation_steps", 1)
    assert isinstance(fixed, int), "accelerate launch hands a word on that Accelerator() takes for a number"
