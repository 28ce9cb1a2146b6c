"""What a preset's jobs would download is downloaded before, from a small hub of this test that speaks HTTP.

- Weights at their revision, each once, not in formats that nobody reads; then the jobs look for nothing on the hub.
- A preset that asks for something else, or a fetch that failed, leaves the jobs online.
"""

import os
import subprocess
import sys

import pytest
import yaml

from study import fetch, paths
from study.presets import load_preset
from tests.hub_server import HubServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {"config.json": b"{}", "model.safetensors": b"weights", "pytorch_model.bin": b"again", "onnx/model.onnx": b"a"}


@pytest.fixture
def hub(tmp_path):
    for name, content in FILES.items():
        place = tmp_path / "hub" / "models" / "team" / "model" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    with HubServer(tmp_path / "hub") as server:
        server.commits["models/team/model"] = COMMIT
        yield server


@pytest.fixture
def root(tmp_path, monkeypatch):
    preset = {
        "about": "weights of a hub",
        "backbone": {"name": "team/model", "revision": COMMIT},
        "data": {"source": "embedded"},
        "evaluation": {"benchmark": None},
        "variants": {"base": 1},
        "experiments": {"again": {"variants": {"ic": 1}}, "small": {"variants": {"em": 1}}},
    }
    preset["experiments"]["small"]["backbone"] = {"name": "embedded:all-MiniLM-L6-v2"}
    (tmp_path / "configs" / "presets").mkdir(parents=True)
    (tmp_path / "configs" / "variants").symlink_to(paths.CONFIGS / "variants")
    (tmp_path / "configs" / "presets" / "hub.yaml").write_text(yaml.safe_dump(preset))
    monkeypatch.setattr(paths, "CONFIGS", tmp_path / "configs")
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    return tmp_path


def call(root, url):
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
    variables |= {"HF_ENDPOINT": url, "HF_HOME": str(root / "hf"), "TSEMBED_ROOT": str(root)}
    variables |= {"HF_HUB_DISABLE_XET": "1", "PYTHONPATH": str(paths.ROOT)}
    command = [sys.executable, "-m", "study", "fetch", "hub"]
    return subprocess.run(command, env=variables, capture_output=True, text=True)


def test_weights_are_fetched_once_and_the_jobs_then_ask_nobody(hub, root):
    assert not fetch.is_fetched(load_preset("hub"))
    answer = call(root, hub.url)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.splitlines()[-1] == "hub: its jobs need no network now"
    folder = root / "hf" / "hub" / "models--team--model" / "snapshots" / COMMIT
    assert {p.name for p in folder.rglob("*")} == {"config.json", "model.safetensors"}
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert fetch.is_fetched(load_preset("hub"))
    bodies = [line for line in hub.requests if line.startswith("GET") and "/resolve/" in line]
    assert len(bodies) == 2, "a body of each file, for two experiments"
    file = root / "configs" / "presets" / "hub.yaml"
    file.write_text(file.read_text().replace(COMMIT, COMMIT[::-1]))
    assert not fetch.is_fetched(load_preset("hub")), "another revision was not fetched"
    answer = call(root, hub.url)
    assert answer.returncode == 1
    assert answer.stderr.splitlines()[-1].startswith(f"error: team/model@{COMMIT[::-1]}: ")
    assert not fetch.is_fetched(load_preset("hub"))


def test_a_preset_of_embedded_data_needs_no_network(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    smoke, gpu = fetch.needed(load_preset("smoke")), fetch.needed(load_preset("gpu"))
    assert not any(smoke.values())
    assert [name for name, _ in gpu["weights"]] == ["nomic-ai/nomic-bert-2048", "Qwen/Qwen2-VL-2B-Instruct"]
    assert len(gpu["data"]) == 2
    fetch.fetch(load_preset("smoke"))
    assert not fetch.is_fetched(load_preset("smoke"))
