"""Invariants of the files of a model's folder:

- settings that are no JSON, weights that are cut off or a pointer of Git LFS, and settings of another version are
  errors that name the file, for a saved encoder, read whole or expert by expert, and for a backbone;
- a saved encoder that has lost its tokenizer is refused, and so is a backbone that is neither a folder nor on the hub.
"""

import json
import shutil

import pytest

from tests.tiny import tiny
from tsembed.encoder.build import load, load_backbone
from tsembed.encoder.text import Encoder
from tsembed.mote.experts import upcycle
from tsembed.mote.token_routing import route_tokens
from tsembed.settings import Backbone
from tsembed.tasks import ROUTES

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


@pytest.fixture(scope="module")
def saved_once(tmp_path_factory):
    from transformers import AutoTokenizer

    from tsembed.encoder.backbones import embedded_folder

    tokenizer = AutoTokenizer.from_pretrained(embedded_folder("embedded:all-MiniLM-L6-v2"))
    place = tmp_path_factory.mktemp("saved")
    models = {"mote": upcycle(tiny("bert"), ROUTES), "tokens": route_tokens(tiny("bert")), "dense": tiny("bert")}
    for name, model in models.items():
        Encoder(model, tokenizer, instructions=None).save(place / name)
    return place


@pytest.fixture(params=["mote", "tokens", "dense"])
def saved(saved_once, tmp_path, request):
    return shutil.copytree(saved_once / request.param, tmp_path / "model")


def cut(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


@pytest.mark.parametrize(
    ("file", "change", "rule"),
    [
        ("model.safetensors", lambda path: cut(path, -1), r"cut off: it has [\d,]+ of [\d,]+ bytes"),
        ("model.safetensors", lambda path: cut(path, 500), r"no readable safetensors file \(500 bytes\)"),
        ("model.safetensors", lambda path: cut(path, 0), r"no readable safetensors file \(0 bytes\)"),
        ("model.safetensors", lambda path: path.write_bytes(POINTER), "a pointer of Git LFS"),
        ("tokenizer.json", lambda path: path.write_bytes(POINTER), "a pointer of Git LFS"),
        ("tokenizer.json", lambda path: cut(path, 1000), "not valid JSON"),
        ("config.json", lambda path: cut(path, 30), "not valid JSON"),
        ("config.json", lambda path: path.write_bytes(b"\xff{}"), "not valid JSON"),
        ("tsembed.json", lambda path: path.write_text("{'pooling': 'mean'}"), "not valid JSON"),
        ("tsembed.json", lambda path: path.write_text("[1]"), r"must hold settings by name, not \[1\]"),
        ("tsembed.json", lambda path: path.write_text('{"routes": "a"}'), "routes must be a list, not 'a'"),
        ("tsembed.json", lambda path: path.write_text('{"heads": 2}'), "unknown settings heads; a later version of ts"),
    ],
)
def test_a_damaged_file_is_named(saved, file, change, rule):
    change(saved / file)
    with pytest.raises(ValueError, match=rf"model/{file}: {rule}"):
        load(saved)
    if (saved / "mote.json").is_file():
        with pytest.raises(ValueError, match=rf"model/{file}: {rule}"):
            load(saved, offloaded=ROUTES[0])
    if file != "tsembed.json":
        with pytest.raises(ValueError, match=rf"model/{file}: {rule}"):
            load_backbone(Backbone(name=str(saved)))


def test_routing_settings_of_another_version_are_named(saved_once, tmp_path):
    folder = shutil.copytree(saved_once / "tokens", tmp_path / "model")
    settings = json.loads((folder / "token_routing.json").read_text())
    (folder / "token_routing.json").write_text(json.dumps(settings | {"capacity": 2}))
    with pytest.raises(
        ValueError, match=r"token_routing\.json: other settings than those of token-level routing: .*cap"
    ):
        load(folder)


def test_a_saved_encoder_without_its_tokenizer_is_refused(saved):
    for path in saved.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ValueError, match="model: its tokenizer has 5 tokens, all of them special; it lacks tokenizer"):
        load(saved)


def test_a_damaged_list_of_modules_is_named(saved_once, tmp_path):
    folder = shutil.copytree(saved_once / "dense", tmp_path / "model")
    (folder / "modules.json").write_text('[{"type": ')
    with pytest.raises(ValueError, match=r"modules\.json: not valid JSON"):
        load_backbone(Backbone(name=str(folder)))


@pytest.mark.parametrize("name", ["/no/such/folder", "./model", "a/b/c", "~/model"])
def test_a_backbone_that_is_no_folder_and_no_name_of_the_hub_is_one_line(name):
    with pytest.raises(ValueError, match=f"backbone {name}: no such folder, and no name of the hub"):
        load_backbone(Backbone(name=name))
