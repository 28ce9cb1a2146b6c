"""Invariants of task experts and the hub.

- A hub's name is read as a folder is, here from the hub's cache without a network; a folder comes first.
- push_to_hub uploads what save_pretrained writes, byte for byte, to a server that speaks the hub's API.
- Without a network, or with a name that is none, the error is one line that names the model.
"""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch

from tests.tsembed.mote.test_experts import batch, disturbed, pool
from tsembed.encoder.text import Encoder
from tsembed.mote.experts import TaskRouted

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """The snapshot folder of org/experts, in a cache of the hub of the test's own."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    repository = tmp_path / "cache" / "models--org--experts"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return repository / "snapshots" / COMMIT


def test_a_name_of_the_hub_is_read_as_a_folder_is(hub_cache, tokenizer):
    routed = disturbed()
    Encoder(routed, tokenizer).save(hub_cache)
    again = TaskRouted.from_pretrained("org/experts", revision=COMMIT)
    assert torch.equal(again("clustering", pool=pool, **batch()), routed("clustering", pool=pool, **batch()))
    vector = Encoder.load("org/experts", "cpu").encode("a text", "clustering")
    assert np.array_equal(vector, Encoder.load(hub_cache, "cpu").encode("a text", "clustering"))


def test_a_folder_comes_before_the_hub(hub_cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    disturbed().save_pretrained("org/experts")
    assert TaskRouted.from_pretrained("org/experts").num_parameters() == disturbed().num_parameters()


def test_what_is_neither_folder_nor_on_the_hub_is_one_line(hub_cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a checkout may have such a run
    for load in (TaskRouted.from_pretrained, Encoder.load):
        with pytest.raises(ValueError, match="^runs/cpu/mote: no such folder, and no name of the hub"):
            load("runs/cpu/mote")
        with pytest.raises(ValueError, match="^org/other: no such folder, and not read from the hub: ") as error:
            load("org/other")
        assert "\n" not in str(error.value)


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's API as an upload of small files needs."""

    def log_message(self, *_):
        """Nothing on stderr."""

    def _answer(self, content):
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        """What is known of the repository: it is empty."""
        self._answer({"id": "org/experts", "sha": COMMIT, "siblings": [], "private": True})

    def do_POST(self):
        """Making a repository, asking how to upload, a commit."""
        sent = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.server.calls.append((self.path, self.headers.get("authorization")))
        url = f"http://127.0.0.1:{self.server.server_port}/org/experts"
        if self.path == "/api/repos/create":
            self._answer({"url": url, "name": "org/experts", "id": "1"})
        elif self.path.endswith("/preupload/main"):
            files = json.loads(sent)["files"]
            mode = {"uploadMode": "regular", "shouldIgnore": False}
            self._answer({"files": [{"path": file["path"], **mode} for file in files]})
        else:
            for line in map(json.loads, sent.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self._answer({"commitUrl": f"{url}/commit/{COMMIT}", "commitOid": COMMIT, "success": True})


@pytest.fixture
def hub(monkeypatch):
    """A server on this machine in the hub's place."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.files, server.calls = {}, []
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_push_uploads_what_saving_writes(hub, tmp_path):
    routed = disturbed(vocabulary=200)
    address = routed.push_to_hub("org/experts", private=True, token="hf_test")
    routed.save_pretrained(tmp_path)
    assert hub.files == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {"config.json", "model.safetensors", "mote.json"} == set(hub.files)
    assert address.endswith(f"/commit/{COMMIT}")
    assert hub.calls[0] == ("/api/repos/create", "Bearer hf_test")


def test_a_push_without_a_network_says_so():
    with pytest.raises(OSError, match="offline"):
        disturbed(vocabulary=200).push_to_hub("org/experts", token="hf_test")
