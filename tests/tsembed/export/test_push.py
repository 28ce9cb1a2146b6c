"""Invariants of the upload to the hub, against a server that speaks the hub's API:

- the folder's files arrive as they are, in a repository that is made, private if asked for; a second one is not made;
- what Weights & Biases keeps of the machine is not uploaded;
- no token, a wrong one, one for reading, another's repository, no server and offline mode are one line each;
- `fit` finds that before anything is trained, and uploads what it wrote, also of a finished folder.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from tests.tiny import tiny
from tests.upload_server import hub_server
from tsembed.cli import main
from tsembed.encoder.backbones import embedded_folder

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def hub():
    with hub_server() as server:
        yield server


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "model"
    (place / "1_Pooling").mkdir(parents=True)
    (place / "README.md").write_text("---\nlibrary_name: sentence-transformers\n---\n\n# model\n")
    (place / "1_Pooling/config.json").write_text("{}")
    (place / "model.safetensors").write_bytes(bytes(range(256)) * 40)
    return place


def push(tmp_path, endpoint, *words, token="writes", **environment):
    """The command in a process of its own, as users start it: status, stdout, stderr."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    kept |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    kept |= {"HF_TOKEN": token} if token else {}
    command = [sys.executable, "-m", "tsembed.cli", "push", *map(str, words)]
    done = subprocess.run(command, env=kept | environment, cwd=ROOT, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_the_files_arrive_in_a_repository_that_is_made(tmp_path, hub, folder):
    status, said, error = push(tmp_path, hub.url, folder, "club/mine", "--private")
    assert (status, said.strip()) == (0, f"{hub.url}/club/mine"), error
    assert hub.repositories == {"club/mine": True}
    expected = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert hub.files["club/mine"] == expected
    (folder / "logs/wandb/run-1").mkdir(parents=True)
    (folder / "logs/wandb/run-1/metadata.json").write_text('{"host": "mine"}')
    (folder / "README.md").write_text("# changed\n")
    assert push(tmp_path, hub.url, folder, "club/mine")[0] == 0
    assert hub.repositories == {"club/mine": True}
    assert hub.files["club/mine"] == expected | {"README.md": b"# changed\n"}
    assert push(tmp_path, hub.url, folder, "short")[0] == 0
    assert hub.repositories["ada/short"] is False


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ada/m", {"token": None}, "there is no token; `hf auth login`, or set HF_TOKEN"),
        ("ada/m", {"token": "wrong"}, "does not take the token"),
        ("ada/m", {"token": "reads"}, "the token is for reading; one that may write is needed"),
        ("bob/m", {}, "'bob' is none of the token's user and organisations (ada, club)"),
        ("a/b/c", {}, "push to hub: Repo id must be in the form"),
        ("ada/m", {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set, so nothing can be uploaded"),
        ("ada/m", {"HF_ENDPOINT": "http://127.0.0.1:9"}, "http://127.0.0.1:9 does not take the token"),
    ],
)
def test_what_cannot_be_uploaded_is_one_line(tmp_path, hub, folder, name, options, message):
    status, _, error = push(tmp_path, hub.url, folder, name, **options)
    assert status == 1
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert hub.repositories == {}


def test_a_folder_that_is_no_export_is_an_error(tmp_path, hub):
    (tmp_path / "empty").mkdir()
    status, _, error = push(tmp_path, hub.url, tmp_path / "empty", "ada/m")
    assert (status, "no README.md, so this is no finished export" in error) == (1, True)


def test_fit_asks_before_it_trains_and_uploads_what_it_wrote(tmp_path, hub, capsys, monkeypatch):
    from huggingface_hub import constants

    backbone = tmp_path / "bert"
    tiny("bert").save_pretrained(backbone)
    AutoTokenizer.from_pretrained(embedded_folder("embedded:all-MiniLM-L6-v2")).save_pretrained(backbone)
    rows = "".join(f"question {i},answer {i}\n" for i in range(40))
    (tmp_path / "faq.csv").write_text("query,answer\n" + rows)
    words = ["fit", tmp_path / "faq.csv", "--backbone", backbone, "--variant", "em", "--out", tmp_path / "out"]
    words += ["--steps", 2, "--batch-size", 8, "--max-tokens", 16, "--no-eval", "--push-to-hub"]
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "reads")
    assert main([str(word) for word in [*words, "ada/m"]]) == 1
    assert "the token is for reading" in capsys.readouterr().err
    assert not (tmp_path / "out.work").exists()
    monkeypatch.setenv("HF_TOKEN", "writes")
    assert main([str(word) for word in [*words, "ada/m"]]) == 0
    assert f"{hub.url}/ada/m" in capsys.readouterr().out
    out = tmp_path / "out"
    expected = {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert hub.files["ada/m"] == expected
    assert "modules.json" in expected
    assert main([str(word) for word in [*words, "club/again", "--private"]]) == 0  # nothing is trained
    assert "is done" in capsys.readouterr().out
    assert hub.files["club/again"] == expected
    assert hub.repositories == {"ada/m": False, "club/again": True}
