"""What a preset's jobs would download is downloaded before, from a small hub of this test that speaks HTTP.

- Weights at their revision, each once, not in formats that nobody reads; then the jobs look for nothing on the hub.
- A preset that asks for something else, or a fetch that failed, leaves the jobs online.
"""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from study import fetch, paths
from study.presets import load_preset

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b"{}",
    "model.safetensors": b"weights",
    "pytorch_model.bin": b"again",
    "onnx/model.onnx": b"again",
}


class Hub(BaseHTTPRequestHandler):
    """One model in one revision."""

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        path = self.path.partition("?")[0]
        listing = [{"type": "file", "path": n, "rfilename": n, "size": len(c), "oid": "0"} for n, c in FILES.items()]
        files = {f"/team/model/resolve/{COMMIT}/{name}": content for name, content in FILES.items()}
        files[f"/api/models/team/model/tree/{COMMIT}"] = json.dumps(listing).encode()
        about = {"id": "team/model", "sha": COMMIT, "siblings": listing}
        files[f"/api/models/team/model/revision/{COMMIT}"] = json.dumps(about).encode()
        content = files.get(path)
        self.server.asked.append(path)
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha1(content or b"").hexdigest()}"')
        self.end_headers()
        if body and content:
            self.wfile.write(content)


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


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


def call(root, port):
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
    variables |= {"HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HOME": str(root / "hf"), "TSEMBED_ROOT": str(root)}
    variables |= {"HF_HUB_DISABLE_XET": "1", "PYTHONPATH": str(paths.ROOT)}
    command = [sys.executable, "-m", "study", "fetch", "hub"]
    return subprocess.run(command, env=variables, capture_output=True, text=True)


def test_weights_are_fetched_once_and_the_jobs_then_ask_nobody(hub, root):
    assert not fetch.is_fetched(load_preset("hub"))
    answer = call(root, hub.server_port)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.splitlines()[-1] == "hub: its jobs need no network now"
    folder = root / "hf" / "hub" / "models--team--model" / "snapshots" / COMMIT
    assert {p.name for p in folder.rglob("*")} == {"config.json", "model.safetensors"}
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert fetch.is_fetched(load_preset("hub"))
    assert sum("model.safetensors" in path for path in hub.asked) <= 2, "one head and one body for two experiments"
    file = root / "configs" / "presets" / "hub.yaml"
    file.write_text(file.read_text().replace(COMMIT, COMMIT[::-1]))
    assert not fetch.is_fetched(load_preset("hub")), "another revision was not fetched"
    answer = call(root, hub.server_port)
    assert answer.returncode == 1
    assert answer.stderr.splitlines()[-1].startswith(f"error: weights of team/model at revision {COMMIT[::-1]}: ")
    assert not fetch.is_fetched(load_preset("hub"))


def test_a_preset_of_embedded_data_needs_no_network(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    smoke, gpu = fetch.needed(load_preset("smoke")), fetch.needed(load_preset("gpu"))
    assert not any(smoke.values())
    assert [name for name, _ in gpu["weights"]] == ["nomic-ai/nomic-bert-2048", "Qwen/Qwen2-VL-2B-Instruct"]
    assert len(gpu["data"]) == 2
    fetch.fetch(load_preset("smoke"))
    assert not fetch.is_fetched(load_preset("smoke"))
