"""Invariants of a backbone that is a folder of sentence-transformers, or has a tokenizer of its own.

- Pooling, length and prompts are those of the folder, whatever version wrote it; what is set in the settings wins.
- An encoder of such a folder equals SentenceTransformer.encode, with each pooling; so does its export.
- A module or a pooling that is not known is refused before the weights are read, with its name.
- A tokenizer that is not the model's is refused; one without padding token pads with its end-of-text token.
- More tokens than the backbone has positions are an error before anything is encoded.
"""

import json
import shutil

import numpy as np
import pytest
from transformers import AutoTokenizer

from tests.tiny import tiny
from tsembed.encoder.backbones import embedded_folder
from tsembed.encoder.build import build, load_backbone
from tsembed.encoder.sentence_transformers_folder import folder_settings
from tsembed.export.folder import export_encoder
from tsembed.settings import Backbone, Variant

TEXTS = ["one", "a few words here", "the same word " * 30, "What is it?"]
DENSE = Variant(label="EM", instruction=False)
MINILM = "embedded:all-MiniLM-L6-v2"


@pytest.fixture
def folder(tmp_path):
    """A tiny BERT with the tokenizer of MiniLM, without anything of sentence-transformers."""
    target = tmp_path / "backbone"
    tiny("bert").save_pretrained(target)
    AutoTokenizer.from_pretrained(embedded_folder(MINILM)).save_pretrained(target)
    return target


def with_modules(folder, pooling, *others, length=24):
    """The folder with the files that sentence-transformers writes."""
    kinds = ["Transformer", "Pooling", *others]
    modules = [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": length, "do_lower_case": False}))
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "ask: "}}))
    for module in modules[1:]:
        (folder / module["path"]).mkdir(exist_ok=True)
        content = pooling if "Pooling" in module["path"] else {}
        (folder / module["path"] / "config.json").write_text(json.dumps(content))
    return folder


OLD = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": False}


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        (OLD | {"pooling_mode_cls_token": True}, "cls"),
        (OLD | {"pooling_mode_lasttoken": True}, "last"),
        (OLD | {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"embedding_dimension": 32, "pooling_mode": "cls", "include_prompt": True}, "cls"),
        ({"embedding_dimension": 32, "pooling_mode": "lasttoken"}, "last"),
    ],
)
def test_an_encoder_of_the_folder_is_that_of_sentence_transformers(folder, pooling, expected, tmp_path):
    from sentence_transformers import SentenceTransformer

    with_modules(folder, pooling, "Normalize")
    assert folder_settings(str(folder)) == (expected, 24, {"query": "ask: "})
    encoder = build(Backbone(name=str(folder)), DENSE)
    assert (encoder.pooling, encoder.max_tokens) == (expected, 24)
    theirs = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(encoder.encode(TEXTS, "clustering"), theirs, atol=1e-5)
    export_encoder(encoder, tmp_path / "out")
    again = SentenceTransformer(str(tmp_path / "out"), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(again, theirs, atol=1e-5)
    chosen = build(Backbone(name=str(folder), pooling="mean"), DENSE)
    assert chosen.pooling == "mean"
    assert load_backbone(Backbone(name=str(folder))).prompts == {"query": "ask: "}


def test_a_folder_of_another_kind_is_pooled_by_the_mean(folder):
    assert folder_settings(str(folder)) is None
    assert build(Backbone(name=str(folder)), DENSE).pooling == "mean"
    assert folder_settings(embedded_folder(MINILM)).pooling == "mean"
    assert folder_settings(embedded_folder(MINILM)).max_tokens == 256


@pytest.mark.parametrize(
    ("pooling", "others", "message"),
    [
        (
            {"pooling_mode": "mean"},
            ("Dense",),
            "its module 2_Dense is a Dense, which changes the embedding",
        ),
        ({"pooling_mode": "weightedmean"}, (), "it pools by weightedmean; known: one of cls, mean, lasttoken"),
        ({"pooling_mode": ["cls", "mean"]}, (), "it pools by cls and mean; known: one of"),
        (OLD | {"pooling_mode_max_tokens": True}, (), "it pools by max_tokens"),
        (OLD, (), "it pools by nothing"),
        ({"pooling_mode": "mean", "include_prompt": False}, (), "it pools without the prompt's tokens"),
    ],
)
def test_what_is_not_known_is_refused_before_the_weights_are_read(folder, pooling, others, message):
    with_modules(folder, pooling, *others)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=message):
        build(Backbone(name=str(folder)), DENSE)


def test_a_tokenizer_that_is_not_the_models_is_refused(folder, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"word{i}" for i in range(3)])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ValueError, match="its tokenizer has 30525 tokens, the model's table of words 30522 rows"):
        build(Backbone(name=str(folder)), DENSE)
    bare = tmp_path / "bare"
    shutil.copytree(folder, bare, ignore=shutil.ignore_patterns("tokenizer*", "vocab*", "special*"))
    with pytest.raises(ValueError, match="its tokenizer has 5 tokens, all of them special; it lacks tokenizer.json"):
        build(Backbone(name=str(bare)), DENSE)


def test_a_tokenizer_without_padding_token_pads_with_the_end_of_text(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected = build(Backbone(name=str(folder)), DENSE).encode(TEXTS, "clustering")
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    with pytest.raises(ValueError, match="its tokenizer has no pad_token, and no eos_token to pad with"):
        build(Backbone(name=str(folder)), DENSE)
    tokenizer.eos_token = "[SEP]"
    tokenizer.save_pretrained(folder)
    encoder = build(Backbone(name=str(folder)), DENSE)
    assert encoder.tokenizer.pad_token == "[SEP]"
    np.testing.assert_allclose(encoder.encode(TEXTS, "clustering"), expected, atol=1e-6)


@pytest.mark.parametrize(("model_type", "positions"), [("bert", 512), ("xlm-roberta", 511), ("distilbert", 512)])
def test_more_tokens_than_positions_are_an_error(model_type, positions, tokenizer):
    from tsembed.encoder.text import Encoder

    encoder = Encoder(tiny(model_type), tokenizer)
    encoder.encode(["word " * 600], "clustering", max_tokens=positions)
    with pytest.raises(ValueError, match=f"max_tokens {positions + 1} must be <= {positions}, the positions that the"):
        encoder.encode(["one"], "clustering", max_tokens=positions + 1)
    Encoder(tiny("nomic_bert"), tokenizer).encode(["word " * 600], "clustering", max_tokens=1024)
