"""What docs/security.md promises of files that come from elsewhere.

- No code of ours reads a pickle of a file that it has not written itself in the same process, asks for remote code,
  evaluates text, or starts a shell.
- Code or a pickle in the folder of a backbone or of a saved encoder is not run, also where somebody would answer
  transformers' question with "yes"; nor is a pickle that was put into a checkpoint.
- The page names tests that exist.
"""

import ast
import json
import pickle
import re
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from tests.tiny import tiny
from tsembed.encoder.build import load, load_backbone
from tsembed.encoder.text import Encoder
from tsembed.settings import Backbone

ROOT = Path(__file__).resolve().parents[2]
OWN_PICKLES = {
    "tsembed/training/workers.py",  # batches between the processes of one training, in memory
    "tsembed/data/folder/files.py",  # rows in a nameless temporary file, of the process that reads them
}
CODE = "from pathlib import Path\nPath({mark!r}).touch()\nclass Own:\n    pass\n"


def sources():
    for house in ("tsembed", "study", "workflow"):
        yield from ((path, ast.parse(path.read_text())) for path in (ROOT / house).rglob("*.py"))


def called(call):
    """The name of the function that is called, with its module."""
    function = call.func
    if isinstance(function, ast.Attribute):
        return f"{getattr(function.value, 'id', '')}.{function.attr}"
    return getattr(function, "id", "")


def test_no_code_reads_foreign_pickles_or_runs_text():
    found = []
    for path, tree in sources():
        place = str(path.relative_to(ROOT))
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name, words = called(call), {word.arg: word.value for word in call.keywords}
            banned = name in ("torch.load", "eval", "exec", "os.system", "joblib.load", "dill.load", "marshal.loads")
            banned |= name in ("pickle.load", "pickle.loads", "pickle.Unpickler") and place not in OWN_PICKLES
            banned |= name == "yaml.load" and getattr(words.get("Loader"), "id", "") != "_UniqueKeys"  # a SafeLoader
            for word in ("trust_remote_code", "allow_pickle", "shell"):
                banned |= word in words and getattr(words[word], "value", None) is not False
            if banned:
                found.append(f"{place}:{call.lineno} {name}")
    assert found == []


@pytest.fixture
def mark(tmp_path):
    """A file that is there when foreign code has run."""
    return tmp_path / "taken"


class Touch:
    """Pickled, it makes a file where it is read."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


@pytest.fixture
def folder(tokenizer, tmp_path):
    place = tmp_path / "model"
    Encoder(tiny("bert"), tokenizer, instructions=None).save(place)
    return place


def test_the_pickle_of_this_test_would_run(mark):
    pickle.loads(pickle.dumps(Touch(mark))).close()
    assert mark.exists()


def test_a_pickle_in_place_of_weights_is_not_run(folder, mark):
    (folder / "tsembed.json").unlink()  # a backbone from elsewhere
    (folder / "model.safetensors").unlink()
    torch.save({"embeddings.word_embeddings.weight": Touch(mark)}, folder / "pytorch_model.bin")
    with pytest.raises((ValueError, pickle.UnpicklingError, OSError)):
        load_backbone(Backbone(name=str(folder), pooling="mean"))
    assert not mark.exists()


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("read", [load, lambda folder: load_backbone(Backbone(name=str(folder), pooling="mean"))])
def test_code_in_a_models_folder_is_not_run(file, read, folder, mark, monkeypatch, code_cache):
    path = folder / file
    content = json.loads(path.read_text())
    parts = {"config.json": ("AutoConfig", "AutoModel"), "tokenizer_config.json": ("AutoTokenizer",)}[file]
    content["auto_map"] = {part: ["own.Own", None] if part == "AutoTokenizer" else "own.Own" for part in parts}
    content |= {"model_type": "own"} if file == "config.json" else {"tokenizer_class": "OwnTokenizer"}
    path.write_text(json.dumps(content))
    (folder / "own.py").write_text(CODE.format(mark=str(mark)))
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # transformers asks, and a person may not read
    with suppress(ValueError):  # a tokenizer is read without its code
        read(folder)
    assert not mark.exists()


@pytest.mark.parametrize("file", ["random_states_0.pkl", "optimizer.bin"])
def test_a_pickle_in_place_of_a_checkpoints_state_is_not_run(file, tmp_path, mark):
    accelerator = Accelerator(cpu=True)
    model = torch.nn.Linear(2, 2)
    accelerator.prepare(model, torch.optim.AdamW(model.parameters()))
    accelerator.save_state(str(tmp_path / "checkpoint"))
    (tmp_path / "checkpoint" / file).write_bytes(b"")
    torch.save({"step": Touch(mark)}, tmp_path / "checkpoint" / file)
    with suppress(pickle.UnpicklingError):  # Accelerate leaves out random states that it cannot read
        accelerator.load_state(str(tmp_path / "checkpoint"))
    assert not mark.exists()


def test_the_page_about_security_names_tests_that_exist():
    page = (ROOT / "docs" / "security.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page)
    assert len(named) >= 8
    for file, test in named:
        assert f"def {test}" in (ROOT / file).read_text(), f"{file}::{test}"
