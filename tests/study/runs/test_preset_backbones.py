"""Invariants of every backbone that a preset names, on small copies with the true files and the true names of weights.

- Built, trained a step, saved, loaded and exported, a row gives the same embeddings all the way, to the last.
- A saved encoder has transformers' own names, whatever the checkpoint's were; a row of pictures starts from one.
- Weights get there: copies that differ in one tensor give other embeddings, and no code of a checkpoint is run.
"""

import re

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors import safe_open

from study import paths
from study.presets import load_preset
from study.runs.export import export
from tests.tiny_images import item
from tests.true_backbones import MAKERS
from tsembed.encoder.build import build, load
from tsembed.settings import Adapter, Backbone, TokenRouting, Training, Variant
from tsembed.tasks import IMAGE_TASKS, ROUTES
from tsembed.training.loop import train

TEXTS = ["the left bank", "an unrelated, somewhat longer text about rivers", "a", "a picture is worth some words"]
TRAINING = Training(
    steps=1, batch_size=4, learning_rate=1e-3, warmup_steps=0, precision="fp32", max_query_tokens=32,
    max_document_tokens=32, task_sampling="balanced", gradient_checkpointing=True,
)  # fmt: skip
DENSE = {
    "em": Variant(label="EM", instruction=False, tasks=("retrieval",)),
    "ic": Variant(label="IC", tasks=("retrieval",)),
}
ROUTED = {
    "mote": Variant(label="MoTE", experts={route: route for route in ROUTES}, tasks=("retrieval",)),
    "tlr": Variant(label="TLR", token_routing=TokenRouting(), tasks=("retrieval",)),
    "moe_lora": Variant(label="MoE-LoRA", adapter=Adapter(kind="moe_lora"), tasks=("retrieval",)),
    "lora": Variant(label="LoRA", instruction=False, adapter=Adapter(kind="lora"), tasks=("retrieval",)),
}
OF_TEXT = [name for name in MAKERS if "VL" not in name]
QWEN = "Qwen/Qwen2-VL-2B-Instruct"


def named_in_presets():
    """Every backbone of every preset: the settings of all experiments."""
    found = {}
    for path in sorted((paths.CONFIGS / "presets").glob("*.yaml")):
        for experiment in load_preset(path.stem).all_experiments.values():
            found.setdefault(experiment.backbone.name, experiment.backbone)
    return found


def backbone_of(name, folder):
    """A small copy, and the settings under which a preset reads the true one."""
    MAKERS[name](folder / "hub")
    settings = named_in_presets().get(name, Backbone(name=name, revision="0"))
    return settings.model_copy(update={"name": str(folder / "hub"), "revision": None})


def pairs(texts):
    return {"r": Dataset.from_dict({"query": texts, "document": texts[::-1], "group": range(len(texts))})}


def names(folder):
    with safe_open(folder / "model.safetensors", "pt") as file:
        return {re.sub(r"\.\d+\.", ".0.", name) for name in file.keys()}


def test_every_backbone_of_a_preset_has_a_small_copy():
    own = {name for name in named_in_presets() if not name.startswith("random:")}
    assert own <= set(MAKERS)
    in_comments = {
        name
        for path in (paths.CONFIGS / "presets").glob("*.yaml")
        for name in re.findall(r"^# *backbone: \{name: ([\w/.-]+)", path.read_text(), re.M)
    }
    assert in_comments == set(MAKERS) - own, "the start that a comment offers is one, too"


@pytest.mark.parametrize("name", OF_TEXT)
@pytest.mark.parametrize("variant", [*DENSE, *ROUTED])
def test_a_text_row_is_the_same_when_saved_loaded_and_exported(name, variant, tmp_path):
    chosen = (DENSE | ROUTED)[variant]
    encoder = build(backbone_of(name, tmp_path), chosen, seed=1)
    before = encoder.encode(TEXTS, "search_query")
    assert train(encoder, pairs(TEXTS), {"r": "retrieval"}, tmp_path / "run", training=TRAINING, variant=chosen)
    trained = encoder.encode(TEXTS, "search_query")
    assert np.abs(trained - before).max() > 1e-4, "the step is felt"
    encoder.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").encode(TEXTS, "search_query"), trained)
    if variant in DENSE:
        plain = set(type(encoder.backbone)(encoder.backbone.config).state_dict())
        assert names(tmp_path / "model") <= {re.sub(r"\.\d+\.", ".0.", name) for name in plain}
    if variant in ("tlr", "moe_lora"):
        return  # no dense model equals them
    route = "search_query" if variant == "mote" else None
    export(tmp_path / "model", tmp_path / "out", route=route)
    from sentence_transformers import SentenceTransformer

    exported = SentenceTransformer(str(tmp_path / "out"), device="cpu", local_files_only=True)
    found = exported.encode(TEXTS, prompt_name="query") if variant == "ic" else exported.encode(TEXTS)
    np.testing.assert_allclose(found, trained, atol=2e-6)


def test_rows_of_pictures_start_from_a_saved_base(tmp_path):
    settings = backbone_of(QWEN, tmp_path).model_copy(update={"max_pixels": 3136 * 2})
    inputs = [item("a red one", "red", size=(56, 56)), "words alone", item("", "blue", size=(56, 56))]
    base = build(settings, Variant(label="Base", tasks=("captioning",)))
    base.save(tmp_path / "base")
    expected = base.encode(inputs, "image_retrieval")
    np.testing.assert_array_equal(load(tmp_path / "base").encode(inputs, "image_retrieval"), expected)
    assert not any(name.startswith("model.") for name in names(tmp_path / "base"))
    variant = Variant(label="LoRA", tasks=IMAGE_TASKS[:1], adapter=Adapter(kind="lora"), temperature=0.02)
    encoder = build(settings, variant, start=tmp_path / "base")
    np.testing.assert_array_equal(encoder.encode(inputs, "image_retrieval"), expected)
    table = {side: ["what is it"] * 4 for side in ("query", "document")} | {"group": range(4)}
    table |= {
        f"{side}_image": [item("", colour, size=(56, 56)).image for colour in colours]
        for side, colours in {
            "query": ("red", "green", "blue", "white"),
            "document": ("red", "blue", "green", "white"),
        }.items()
    }
    tables = {"r": Dataset.from_dict(table)}
    assert train(encoder, tables, {"r": IMAGE_TASKS[0]}, tmp_path / "run", training=TRAINING, variant=variant)
    trained = encoder.encode(inputs, "image_retrieval")
    assert np.abs(trained - expected).max() > 1e-4, "the step is felt"
    encoder.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").encode(inputs, "image_retrieval"), trained)
    export(tmp_path / "model", tmp_path / "out")
    np.testing.assert_allclose(load(tmp_path / "out").encode(inputs, "image_retrieval"), trained, atol=2e-6)


@pytest.mark.parametrize("name", MAKERS)
def test_the_weights_of_the_checkpoint_are_read(name, tmp_path):
    from safetensors.torch import load_file, save_file

    settings = backbone_of(name, tmp_path)
    variant = Variant(label="EM", instruction=False)
    before = build(settings, variant).encode(TEXTS, "search_query")
    folder = tmp_path / "hub"
    pickled = folder / "pytorch_model.bin"
    for file in sorted(folder.glob("*.safetensors")) or [pickled]:
        weights = torch.load(file) if file == pickled else load_file(file)
        last = [key for key in weights if re.search(r"layers?\.3\.", key) and weights[key].ndim == 2]
        weights |= {key: weights[key] * 2 for key in last}
        torch.save(weights, file) if file == pickled else save_file(weights, file, metadata={"format": "pt"})
    assert np.abs(build(settings, variant).encode(TEXTS, "search_query") - before).max() > 1e-4
