"""Invariants of files that come from the hub, against a server on this machine that speaks its API.

- Each fault is one line that names repository, revision and file, and what to do; no file is left half or damaged.
- A transfer that is cut goes on where it was; a damaged file is removed and fetched once more, and no third time.
- Without a network the cache is enough; without it too, the line says so.
- A model's folder has what it is loaded from, and nothing of the rest.
"""

import gzip
import io
import json
import re
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from tests.hub_server import HubServer, Repository, turn_client_to
from tsembed import hub

DATA, FILE = "org/pairs", "data/part.jsonl.gz"
CONTENT = gzip.compress(b"".join(b'["question %d", "answer %d"]\n' % (i, i * i) for i in range(20_000)))


NOWHERE = "http://127.0.0.1:9"  # nobody listens there


@pytest.fixture
def client(tmp_path, monkeypatch):
    """The constants of the hub's own client, which finds no network."""
    from huggingface_hub import constants

    turn_client_to(NOWHERE, tmp_path / "cache", monkeypatch)
    return constants


@pytest.fixture
def server(tmp_path, client, monkeypatch):
    place = tmp_path / "hub" / "datasets" / DATA / FILE
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    with HubServer(tmp_path / "hub") as started:
        turn_client_to(started.url, tmp_path / "cache", monkeypatch)
        yield started


def files_left(tmp_path):
    """Files with content in the cache; links, locks and notes of the client are none."""
    blobs = (tmp_path / "cache").glob("*/blobs/*")
    return {path.name: path.stat().st_size for path in blobs if path.is_file()}


class Fault(NamedTuple):
    """What the server does, and the line that follows from it."""

    asked: dict  # in place of repository, file and revision
    break_next: tuple[str, str, dict] | None  # pattern, kind, about
    line: str  # regular expression


GET = f"GET .*/resolve/.*/{FILE}"
FAULTS = {
    "401, gated": Fault(
        {},
        (
            "/resolve/",
            "status",
            {"status": 401, "code": "GatedRepo", "message": "Access to this dataset is restricted"},
        ),
        rf"^{DATA}@main/{FILE}: access is restricted; accept its terms at http.*/datasets/{DATA}, then `hf auth login`",
    ),
    "401, no such repository": Fault(
        {"repository": "org/other"},
        None,
        rf"^org/other@main/{FILE}: no such repository, or a private one; check the name, `hf auth login` or set HF_",
    ),
    "401, bad token": Fault(
        {},
        ("/resolve/", "status", {"status": 401, "message": "Invalid username or password."}),
        rf"^{DATA}@main/{FILE}: .*`hf auth login`",
    ),
    "404, file": Fault(
        {"file": "data/gone.gz"},
        None,
        rf"^{DATA}@main/data/gone.gz: there is no such file at this revision; check the pinned commit .*--data FOLDER",
    ),
    "404, revision": Fault(
        {"revision": "0" * 40},
        None,
        rf"^{DATA}@0{{40}}/{FILE}: the repository has no such revision; check the pinned commit in the preset",
    ),
    "429": Fault(
        {},
        ("/resolve/", "status", {"status": 429, "headers": {"Retry-After": "7"}}),
        rf"^{DATA}@main/{FILE}: the hub limits requests \(429\); wait 7 s and start again, log in .*--data FOLDER",
    ),
    "503": Fault(
        {},
        ("/resolve/", "status", {"status": 503}),
        rf"^{DATA}@main/{FILE}: the hub answers with status 503; try again later, or --data FOLDER takes a mirror",
    ),
    "cut at every attempt": Fault(
        {},
        (GET, "cut", {"bytes": 0}),
        rf"^{DATA}@main/{FILE}: http.* cannot be reached \(peer closed .*check the network",
    ),
    "damaged twice": Fault(
        {},
        (GET, "corrupt", {}),
        rf"^{DATA}@main/{FILE}: downloaded twice, both times with another hash .* it is removed",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_and_leaves_nothing(name, server, tmp_path):
    fault = FAULTS[name]
    if fault.break_next is not None:
        pattern, kind, about = fault.break_next
        server.break_next(pattern, kind, count=None, **about)
    asked = {"repository": DATA, "file": FILE, "revision": "main"} | fault.asked
    with pytest.raises(hub.HubError, match=fault.line) as error:
        hub.fetch(**asked)
    assert "\n" not in str(error.value)
    assert files_left(tmp_path) == {}
    if not fault.asked:  # and where the fault is mended, the next call gets the file
        server.repair()
        assert hub.fetch(**asked).read_bytes() == CONTENT


def test_without_a_network_the_line_says_so(client, tmp_path):
    for ask in (lambda: hub.fetch(DATA, FILE, "main"), lambda: hub.list_files(DATA, "main")):
        with pytest.raises(hub.HubError, match=rf"^{DATA}@main.*cannot be reached \(.*efused.*--data FOLDER") as error:
            ask()
        assert "\n" not in str(error.value)
    with pytest.raises(hub.HubError, match=r"^org/model@main: .*cannot be reached .* name a folder"):
        hub.fetch_model("org/model")
    assert files_left(tmp_path) == {}


def test_offline_the_cache_is_enough_and_an_empty_one_is_named(server, client, monkeypatch):
    path = hub.fetch(DATA, FILE, "main")
    hub.list_files(DATA, "main")
    monkeypatch.setattr(client, "HF_HUB_OFFLINE", True)
    assert hub.fetch(DATA, FILE, "main") == path
    assert hub.list_files(DATA, "main") == [FILE]
    with pytest.raises(hub.HubError, match=r"^org/pairs@main/other: it is not in the cache .*HF_HUB_OFFLINE"):
        hub.fetch(DATA, "other", "main")


def test_a_cut_transfer_goes_on_where_it_was(server, client, monkeypatch):
    monkeypatch.setattr(client, "DOWNLOAD_CHUNK_SIZE", 10_000)  # what of the last piece had come is lost
    server.break_next(GET, "cut", bytes=70_000)
    assert hub.fetch(DATA, FILE, "main").read_bytes() == CONTENT
    asked = [line for line in server.requests if line.startswith("GET") and "/resolve/" in line]
    assert len(asked) == 2
    first = int(re.search(r"bytes=(\d+)-", asked[1])[1])
    assert first == 70_000


def test_a_full_disk_is_one_line_and_leaves_nothing(server, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.file_download.uuid.uuid4", lambda: type("Drawn", (), {"hex": "0" * 32})())
    etag = re.search(r"[0-9a-f]{64}", json.dumps(server.content(*located(server)).entry["lfs"]))[0]
    blobs = tmp_path / "cache" / "datasets--org--pairs" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{etag}.00000000.incomplete").symlink_to("/dev/full")  # where the download is written
    with pytest.raises(
        hub.HubError, match=rf"^{DATA}@main/{FILE}: no space left for it in .* GB free.*HF_HOME"
    ) as error:
        hub.fetch(DATA, FILE, "main")
    assert "\n" not in str(error.value)
    assert list(blobs.iterdir()) == []
    assert hub.fetch(DATA, FILE, "main").read_bytes() == CONTENT


def located(server):
    folder = server.root / "datasets" / DATA
    return Repository("datasets", DATA, folder, server.commit_of("datasets", DATA)), folder / FILE


@pytest.mark.parametrize("kind", ["gz", "zip", "safetensors"])
def test_a_damaged_file_is_removed_and_fetched_once_more(kind, server):
    from safetensors.torch import save

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("image.png", bytes(5000))
    contents = {"gz": CONTENT, "zip": archive.getvalue(), "safetensors": save({"weight": torch.ones(50, 50)})}
    place = server.root / "datasets" / DATA / f"file.{kind}"
    place.write_bytes(contents[kind])
    server.break_next(f"GET .*/file.{kind}", "corrupt")
    assert hub.fetch(DATA, f"file.{kind}", "main").read_bytes() == contents[kind]
    server.repair()
    path = hub.fetch(DATA, f"file.{kind}", "main")
    path.resolve().write_bytes(bytes(len(contents[kind])))  # a disk that has lost it
    before = len(server.requests)
    assert hub.fetch(DATA, f"file.{kind}", "main").read_bytes() == contents[kind]
    assert len(server.requests) > before


def test_a_small_file_is_checked_too(server):
    place = server.root / "datasets" / DATA / "small.json"
    place.write_text("{}")
    path = hub.fetch(DATA, "small.json", "main")
    assert hub.is_whole(path)
    path.resolve().write_text("[]")
    assert not hub.is_whole(path)


@pytest.fixture
def model(server):
    """A repository of a model with more files than it is loaded from."""
    folder = server.root / "models" / "org" / "model"
    wanted = {"config.json": 20, "model.safetensors": 3000, "vocab.txt": 40, "1_Pooling/config.json": 10}
    others = {
        "pytorch_model.bin": 3000,
        "onnx/model.onnx": 3000,
        "onnx/config.json": 9,
        "2_Dense/model.safetensors": 2000,
    }
    others |= {"modeling.py": 30, "README.md": 30, ".gitattributes": 10}
    for name, size in (wanted | others).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode().ljust(size))
    return set(wanted)


def names(folder: Path):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_model_has_what_it_is_loaded_from(server, model):
    assert names(hub.fetch_model("org/model")) == model
    (server.root / "models/org/model/model.safetensors").unlink()
    server.commits["models/org/model"] = "1" * 40
    assert names(hub.fetch_model("org/model", "1" * 40)) == model - {"model.safetensors"} | {"pytorch_model.bin"}
    (server.root / "models/org/model/pytorch_model.bin").unlink()
    server.commits["models/org/model"] = "2" * 40
    with pytest.raises(hub.HubError, match=r"^org/model@2{40}: has no weights"):
        hub.fetch_model("org/model", "2" * 40)


def test_damaged_weights_are_fetched_once_more_also_without_asking_what_is_new(server, model):
    folder = hub.fetch_model("org/model")
    (folder / "model.safetensors").resolve().write_bytes(bytes(3000))
    assert names(hub.fetch_model("org/model")) == model
    assert (folder / "model.safetensors").read_bytes().startswith(b"model.safetensors")


def test_what_is_no_name_of_the_hub_is_one_line(client):
    with pytest.raises(hub.HubError, match=r"^runs/cpu/mote@main: no such folder, and no name of the hub"):
        hub.fetch_model("runs/cpu/mote")
