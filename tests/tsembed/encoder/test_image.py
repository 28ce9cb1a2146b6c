"""Invariants of the encoder of images.

- Its embedding is that of transformers' own forward pass on the same tokens and pixels.
- Texts, pictures and texts with a picture share a batch, and none depends on its batch-mates.
- Pictures are read by several threads, those of the next inputs while some are embedded; nothing changes by that.
- `<image>` says where the picture stands; the text is cut at max_tokens, the picture never.
- A frozen tower is computed once per chunk, a trained one in every pass, with gradient.
- Saving and loading change nothing, with and without adapters. Faults are named.
"""

import threading
import time

import numpy as np
import pytest
import torch

from study.probes.parameters import locate_parameter
from tests.tiny_images import BACKBONE, COLOURS, TEXTS, image_encoder, item, parts
from tsembed.encoder import image, image_processing
from tsembed.encoder.adapters import adapt
from tsembed.encoder.backbones import LoadedBackbone
from tsembed.encoder.build import build, make
from tsembed.encoder.image import ImageEncoder
from tsembed.encoder.image_processing import IMAGE_FAMILIES, Pictures, pixels_of, read_pictures
from tsembed.encoder.text import Encoder
from tsembed.encoder.tiny_qwen import random_parts
from tsembed.inputs import LONGEST_SIDE, PLACEHOLDERS, Input, decode, open_image
from tsembed.settings import Adapter, Backbone, Variant
from tsembed.tasks import IMAGE_ROUTES

pytestmark = pytest.mark.processor

ROUTE = "image_retrieval"
MIXED = [
    item("which colour is it", "red"),
    item("blue"),
    item("", "green", size=(16, 32)),
    item("a <image> picture", "blue"),
    item("red red red red red red red red"),
]
IMAGES = {"starts_from": "base", "tasks": IMAGE_ROUTES, "label": "x"}


def test_equals_the_models_own_forward_pass():
    encoder = image_encoder()
    one = item("which colour is it", "red")
    processor, tokenizer, model = encoder.image_processor, encoder.tokenizer, encoder.backbone
    inputs = processor(images=[open_image(one)], return_tensors="pt")
    assert inputs["image_grid_thw"].tolist() == [[1, 4, 4]]
    ids = tokenizer("<|vision_start|>" + "<|image_pad|>" * 4 + "<|vision_end|>")["input_ids"]
    ids = torch.tensor([[*ids, *tokenizer("which colour is it")["input_ids"], tokenizer.eos_token_id]])
    kinds = (ids == tokenizer.convert_tokens_to_ids("<|image_pad|>")).int()
    assert kinds.sum() == 4
    with torch.no_grad():
        hidden = model(input_ids=ids, mm_token_type_ids=kinds, **inputs).last_hidden_state[0, -1]
    expected = torch.nn.functional.normalize(hidden, dim=0).numpy()
    np.testing.assert_allclose(encoder.encode([one], ROUTE)[0], expected, atol=1e-5)


def test_an_embedding_does_not_depend_on_its_batch_mates():
    encoder = image_encoder()
    together = encoder.encode(MIXED, ROUTE)
    alone = np.concatenate([encoder.encode([one], ROUTE) for one in MIXED])
    np.testing.assert_allclose(together, alone, atol=2e-5)
    np.testing.assert_allclose(encoder.encode(MIXED[::-1], ROUTE, token_budget=8)[::-1], alone, atol=2e-5)
    assert np.abs(alone @ alone.T - np.eye(5)).max() < 0.9999, "embeddings must differ"


@pytest.fixture
def threads():
    """Torch, and so the reading of pictures, with three threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_pictures_are_read_by_several_threads_and_are_those_of_one(threads, monkeypatch):
    processor, readers = image_encoder().image_processor, []
    items = [item("", colour, size=(64 + 8 * (i % 3), 64), seed=i) for i, colour in enumerate([*COLOURS] * 4)]
    one = pixels_of(processor, [open_image(each) for each in items])
    plain = image_processing.open_image

    def noted(each):
        readers.append(threading.get_ident())
        time.sleep(0.01)
        return plain(each)

    monkeypatch.setattr(image_processing, "open_image", noted)
    several = read_pictures(processor, items)
    assert len(set(readers)) == 3
    assert len(several) == len(one) == 16
    for found, expected in zip(several, one, strict=True):
        assert torch.equal(found.pixels, expected.pixels)
        assert torch.equal(found.grid, expected.grid)
        assert found.tokens == expected.tokens
    assert read_pictures(processor, []) == []
    torch.set_num_threads(1)
    readers.clear()
    read_pictures(processor, items)
    assert len(set(readers)) == 1, "a loader's worker has one thread"
    with pytest.raises(ValueError, match="not a readable image"):
        read_pictures(processor, [*items, Input("", b"torn")])
    torch.set_num_threads(3)
    readers.clear()
    read_pictures(processor, [item("", "red")] * 16)
    assert set(readers) == {threading.get_ident()}, "small pictures are read at once"


def test_the_next_inputs_are_prepared_while_some_are_embedded(monkeypatch):
    monkeypatch.setattr(image, "BLOCK", 2)
    encoder, events = image_encoder(), []
    prepare, embed_chunk, ahead = encoder.prepare, encoder.embed_chunk, threading.Event()
    expected = np.concatenate([encoder.encode(MIXED[start : start + 2], ROUTE) for start in (0, 2, 4)])

    def prepared(inputs, *arguments, **settings):
        events.append(("prepare", threading.current_thread() is threading.main_thread()))
        if len(events) > 1:
            ahead.set()
        return prepare(inputs, *arguments, **settings)

    def embedded(chunk):
        assert ahead.wait(60), "the second block is prepared before the first is embedded"
        events.append(("embed", threading.current_thread() is threading.main_thread()))
        return embed_chunk(chunk)

    monkeypatch.setattr(encoder, "prepare", prepared)
    monkeypatch.setattr(encoder, "embed_chunk", embedded)
    assert np.array_equal(encoder.encode(MIXED, ROUTE), expected)
    assert events.count(("prepare", False)) == 3
    assert ("embed", True) in events
    assert {("prepare", False), ("embed", True)} == set(events)
    with pytest.raises(ValueError, match="not a readable image"):
        encoder.encode([*MIXED, Input("red", b"torn")], ROUTE)


def test_texts_may_be_given_as_they_are():
    encoder = image_encoder()
    assert np.array_equal(encoder.encode(["blue"], ROUTE), encoder.encode([Input("blue")], ROUTE))
    assert encoder.encode([], ROUTE).shape == (0, 192)
    assert encoder.dim == 192


def test_the_mark_says_where_the_picture_stands_and_text_alone_is_cut():
    encoder = image_encoder()
    first, pad, last = encoder._marks
    end = encoder.tokenizer.eos_token_id
    chunks, tokens = encoder.prepare([MIXED[3]], ROUTE, max_tokens=64)
    ids = chunks[0].input_ids[0].tolist()
    a, picture = encoder.tokenizer("a")["input_ids"], encoder.tokenizer("picture")["input_ids"]
    assert ids == [*a, first, pad, pad, pad, pad, last, *picture, end]
    assert tokens == len(ids)
    (cut,), _ = encoder.prepare([item("red " * 40, "red")], ROUTE, max_tokens=10)
    assert cut.input_ids.shape == (1, 10)
    assert (cut.input_ids == pad).sum() == 4
    assert cut.input_ids[0, -1] == end
    with pytest.raises(ValueError, match="a picture of 4 tokens does not fit into max_tokens 6; lower backbone.max_p"):
        encoder.prepare([item("red", "red")], ROUTE, max_tokens=6)


def test_a_frozen_tower_is_computed_once(monkeypatch):
    encoder = image_encoder()
    calls = []
    plain = type(encoder.backbone).get_image_features
    monkeypatch.setattr(
        type(encoder.backbone), "get_image_features", lambda *a, **k: (calls.append(1), plain(*a, **k))[1]
    )
    chunks, _ = encoder.prepare(MIXED, ROUTE, max_tokens=64)
    with_pictures = sum(chunk.pictures is not None for chunk in chunks)
    encoder.embed(chunks).sum().backward()
    tower = dict(encoder.backbone.visual.named_parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in tower.values() if p.requires_grad)
    assert len(calls) == with_pictures > 0
    encoder.embed(chunks)
    assert len(calls) == 2 * with_pictures, "a trained tower is computed anew"
    encoder.backbone.visual.requires_grad_(False)
    first = encoder.embed(chunks)
    second = encoder.embed(chunks)
    assert len(calls) == 3 * with_pictures
    assert torch.equal(first, second)
    assert not chunks[-1].pictures or not chunks[-1].pictures._features[0].requires_grad


@pytest.mark.parametrize("adapter", [None, Adapter(kind="lora", r=2), Adapter(r=2), Adapter(r=2, router="task")])
def test_saving_and_loading_change_nothing(tmp_path, adapter):
    image_encoder().save(tmp_path / "base")
    experts = {route: route[:7] for route in IMAGE_ROUTES} if adapter and adapter.router == "task" else None
    variant = Variant(**IMAGES, adapter=adapter, experts=experts)
    encoder = build(BACKBONE, variant, seed=3, start=tmp_path / "base")
    base = Encoder.load(tmp_path / "base").encode(MIXED, ROUTE)
    np.testing.assert_allclose(encoder.encode(MIXED, ROUTE), base, atol=1e-6, err_msg="starts as its base")
    for name, p in encoder.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.3, generator=torch.Generator().manual_seed(len(name)))
    encoder.save(tmp_path / "run" / "model")
    loaded = Encoder.load(tmp_path / "run" / "model")
    assert isinstance(loaded, ImageEncoder)
    assert loaded.routes == IMAGE_ROUTES
    found = encoder.encode(MIXED, ROUTE)
    np.testing.assert_allclose(loaded.encode(MIXED, ROUTE), found, atol=1e-6)
    if adapter is not None:
        assert np.abs(found - base).max() > 1e-3
        trained = {name for name, p in loaded.named_parameters() if p.requires_grad}
        assert trained
        assert all("lora_" in name and "visual" not in name for name in trained)
    if experts:
        assert np.abs(found - encoder.encode(MIXED, "visual_grounding")).max() > 1e-3, "the route decides"
        mixed = encoder.embed(encoder.prepare(MIXED[:2], [ROUTE, "visual_grounding"], max_tokens=64)[0])
        one = encoder.encode(MIXED[1:2], "visual_grounding")
        np.testing.assert_allclose(mixed[1].detach().numpy(), one[0], atol=2e-5)


def test_a_backbone_that_is_gone_is_named(tmp_path):
    image_encoder().save(tmp_path / "base")
    build(BACKBONE, Variant(**IMAGES, adapter=Adapter(r=2)), start=tmp_path / "base").save(tmp_path / "m" / "model")
    (tmp_path / "base").rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="its backbone, .*base, is not there"):
        Encoder.load(tmp_path / "m" / "model")


def test_a_random_backbone_is_a_function_of_its_seed_and_texts():
    one, same, other = parts(), parts(), parts(seed=1)
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), same.model.parameters(), strict=True))
    assert not torch.equal(next(one.model.parameters()), next(other.model.parameters()))
    assert one.tokenizer("which colour")["input_ids"] == same.tokenizer("which colour")["input_ids"]
    assert one.tokenizer.decode(one.tokenizer("which colour")["input_ids"]).strip() == "which colour"
    millions = sum(p.numel() for p in random_parts(Backbone(name="random:qwen2-vl"), TEXTS, 0).model.parameters()) / 1e6
    assert 2 <= millions <= 5


def test_faults_are_named(tmp_path):
    encoder = image_encoder()
    with pytest.raises(ValueError, match=r"routes \['search_query'\] are unknown; routes: image_classification"):
        encoder.encode(MIXED, "search_query")
    with pytest.raises(ValueError, match="not a readable image"):
        encoder.encode([Input("red", b"no picture")], ROUTE)
    (chunk,), _ = encoder.prepare([item("red", "red")], ROUTE, max_tokens=64)
    two = Pictures(pixels_of(encoder.image_processor, [open_image(item("", "red"))] * 2))
    with pytest.raises(ValueError, match="[Ii]mage features and image tokens do not match"):
        encoder(chunk.input_ids, chunk.attention_mask, ROUTE, two)
    with pytest.raises(ValueError, match="the random backbones are random:qwen2-vl"):
        build(Backbone(name="random:bert"), Variant(label="x"), texts=TEXTS)
    with pytest.raises(ValueError, match="needs the training texts"):
        build(BACKBONE, Variant(label="x", tasks=IMAGE_ROUTES))
    with pytest.raises(ValueError, match="is random: an adapter on it needs `starts_from`"):
        build(BACKBONE, Variant(label="x", tasks=IMAGE_ROUTES, adapter=Adapter()), texts=TEXTS)


def test_what_the_data_refuse_is_what_the_backbone_cannot_take():
    encoder = image_encoder()
    assert {token for family in IMAGE_FAMILIES.values() for token in family.tokens} <= set(PLACEHOLDERS)
    for token in encoder.family.tokens:
        assert token in encoder.tokenizer.tokenize(f"a {token} b"), "read as a token in the middle of a text"
    with pytest.raises(ValueError, match="[Ii]mage features and image tokens do not match"):
        encoder.embed(encoder.prepare([item("red <|image_pad|>", "red")], ROUTE, max_tokens=64)[0])
    pixels_of(encoder.image_processor, [open_image(item("", "red", size=(1, LONGEST_SIDE)))])
    with pytest.raises(ValueError, match="absolute aspect ratio must be smaller than 200"):
        pixels_of(encoder.image_processor, [decode(item("", "red", size=(1, LONGEST_SIDE + 1)).image)])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (item("one <image>, two <image>", "red"), "input 1: 2 marks <image> for 1 pictures: 'one <image>, two"),
        (item("a <image> without a picture"), "input 1: 1 marks <image> for 0 pictures"),
        ("<image>", "input 1: 1 marks <image> for 0 pictures"),
        (item("end <|vision_end|>", "red"), r"input 1: <\|vision_end\|> is a token of pictures to a backbone"),
        (item("", "red", size=(2, 2 * LONGEST_SIDE + 1)), "401 x 2 pixels: no side may be over 200 times the other"),
    ],
)
def test_an_input_that_would_be_read_otherwise_is_refused_when_it_is_encoded(bad, message):
    with pytest.raises(ValueError, match=message):
        image_encoder().encode([item("fine", "red"), bad], ROUTE)


def test_qwen2_5_vl_is_a_row_of_the_tables_alone():
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel

    small, tokenizer, processor, *_ = parts()
    known = small.config
    text = known.text_config.to_dict()
    ids = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    kept = (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "pad_token_id",
        "num_key_value_heads",
        "rope_parameters",
    )
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "num_heads": 2,
        "intermediate_size": 48,
        "patch_size": 4,
        "window_size": 32,
        "out_hidden_size": text["hidden_size"],
        "fullatt_block_indexes": [1],
    }
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    config = Qwen2_5_VLConfig(
        text_config={key: text[key] for key in kept} | ids,
        vision_config=vision,
        **{n: getattr(known, n) for n in names},
    )
    torch.manual_seed(0)
    for adapter in (Adapter(r=2), Adapter(kind="lora", r=2)):
        model = adapt(Qwen2_5_VLModel(config).eval(), adapter, None, seed=0)
        encoder = make(LoadedBackbone(model, tokenizer, processor), pooling="last", routes=IMAGE_ROUTES)
        mixed = encoder.encode([item("", "red"), "a text", item("which colour", "blue")], ROUTE)
        alone = encoder.encode([item("which colour", "blue")], ROUTE)
        np.testing.assert_allclose(mixed[2], alone[0], atol=1e-5)
        trained = [name for name, p in model.named_parameters() if p.requires_grad]
        assert trained, "the tower has layers of the same names"
        assert not [name for name in trained if "visual" in name], "the tower has layers of the same names"
        where = {locate_parameter(name.removeprefix("base_model.model."), "qwen2_5_vl")[1] for name in trained}
        assert where == {"attention", "feed_forward"}
