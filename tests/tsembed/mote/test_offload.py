"""Invariants of offloaded experts.

- Under every route the embedding equals that of the whole model exactly, also through `Encoder.encode`, in any order.
- In memory are a dense encoder's weights and no more; the file form never allocates more, while loading or switching.
- A batch of one expert switches by itself; a batch of several, saving, averaging and a changed file are errors.
- Threads that use different routes at once never see each other's expert. The model it was made from stays as it is.
"""

import gc
import json
import threading

import numpy as np
import pytest
import torch

from tests.tiny import tiny
from tests.tsembed.mote.test_experts import batch, disturbed, pool
from tsembed.encoder.text import Encoder
from tsembed.mote.average import average_experts
from tsembed.mote.experts import TaskRouted, upcycle
from tsembed.mote.offload import load_offloaded, offload
from tsembed.mote.per_expert import PerExpert
from tsembed.tasks import INSTRUCTIONS, ROUTES

FORMS = ("cpu", "file")


def made(form, routed, folder, route="search_query"):
    if form == "cpu":
        return offload(routed, route)
    routed.save_pretrained(folder)
    return load_offloaded(folder, route)


def bytes_of(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("model_type", ["nomic_bert", "bert", "mpnet", "distilbert", "modernbert", "qwen3"])
def test_every_route_equals_the_whole_model_exactly_with_a_dense_models_bytes(form, model_type, tmp_path):
    routed = disturbed(model_type, [1])
    offloaded = made(form, routed, tmp_path)
    assert isinstance(offloaded, TaskRouted)
    assert not any(isinstance(m, PerExpert) for m in offloaded.modules())
    vectors = []
    for route in (*ROUTES, *reversed(ROUTES), "clustering"):
        vectors.append(offloaded(route, pool=pool, **batch()))
        assert torch.equal(vectors[-1], routed(route, pool=pool, **batch()))
        assert offloaded.active == route
    assert (vectors[0] - vectors[1]).abs().max() > 1e-3
    dense = bytes_of(tiny(model_type))
    assert bytes_of(offloaded) <= 1.01 * dense
    assert bytes_of(routed) > dense


@pytest.mark.parametrize("form", FORMS)
def test_texts_through_the_encoder_equal_the_whole_model_exactly(form, tokenizer, tmp_path):
    whole = Encoder(disturbed(), tokenizer, instructions=dict(INSTRUCTIONS)).eval()
    one = Encoder(made(form, whole.backbone, tmp_path), tokenizer, instructions=dict(INSTRUCTIONS)).eval()
    texts = ["one", "a few words here", "the same word " * 20]
    for route in ROUTES:
        assert np.array_equal(one.encode(texts, route), whole.encode(texts, route))
    assert one.specialised
    assert one.device == torch.device("cpu")
    with pytest.raises(ValueError, match="save the model that it was made from"):
        one.save(tmp_path / "again")


def test_a_saved_encoder_loads_offloaded(tokenizer, tmp_path):
    whole = Encoder(disturbed(), tokenizer, instructions=dict(INSTRUCTIONS)).eval()
    whole.save(tmp_path)
    loaded = Encoder.load(tmp_path, offloaded="clustering")
    assert bytes_of(loaded.backbone) < bytes_of(whole.backbone)
    for route in ROUTES:
        assert (loaded.encode(["one", "two words"], route) == whole.encode(["one", "two words"], route)).all()


def test_loading_and_switching_keep_no_tensor_but_a_dense_models(tmp_path):
    upcycle(tiny("bert"), ROUTES).save_pretrained(tmp_path)

    def live():
        gc.collect()
        kinds = (torch.Tensor, torch.nn.Parameter)  # not the fake tensors that an earlier compiled test left
        tensors = [x for x in gc.get_objects() if type(x) in kinds and x.device.type == "cpu"]
        return sum({x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in tensors}.values())

    before = live()
    offloaded = load_offloaded(tmp_path, "search_query")
    dense = bytes_of(offloaded)
    assert dense <= live() - before <= 1.01 * dense
    places = [p.data_ptr() for p in offloaded.parameters()]
    offloaded.switch("clustering")
    assert dense <= live() - before <= 1.01 * dense
    assert [p.data_ptr() for p in offloaded.parameters()] == places  # overwritten in place


@pytest.mark.parametrize("form", FORMS)
def test_a_mixed_batch_is_an_error_and_a_shared_expert_is_none(form, tmp_path):
    routes = {"clustering": "documents", "search_document": "documents", "search_query": "query"}
    routed = upcycle(tiny("bert"), routes)
    offloaded = made(form, routed, tmp_path)
    assert offloaded.active == "query"
    inputs = batch(2)
    assert torch.equal(offloaded(torch.tensor([1, 0]), pool=pool, **inputs), routed("clustering", pool=pool, **inputs))
    assert offloaded.active == "documents"
    with pytest.raises(ValueError, match=r"needs \['documents', 'query'\]: split it"):
        offloaded(torch.tensor([1, 2]), pool=pool, **inputs)
    with pytest.raises(ValueError, match="'sts' has no expert; routes: clustering"):
        offloaded.switch("sts")


@pytest.mark.parametrize("form", FORMS)
def test_another_precision_is_that_of_the_whole_model(form, tmp_path):
    routed = disturbed()
    offloaded = made(form, routed, tmp_path).to(torch.bfloat16)
    routed = routed.to(torch.bfloat16)
    for route in ROUTES:
        found = offloaded(route, **batch()).last_hidden_state
        assert found.dtype == torch.bfloat16
        assert torch.equal(found, routed(route, **batch()).last_hidden_state)


@pytest.mark.parametrize("form", FORMS)
def test_the_model_it_was_made_from_stays_as_it_is(form, tmp_path):
    routed = disturbed()
    before = {name: tensor.clone() for name, tensor in routed.state_dict().items()}
    offloaded = made(form, routed, tmp_path)
    for route in ROUTES:
        offloaded.switch(route)
    offloaded.to(torch.float64)
    assert all(torch.equal(tensor, before[name]) for name, tensor in routed.state_dict().items())
    assert all(p.requires_grad for p in routed.parameters())
    assert not any(p.requires_grad for p in offloaded.parameters())


@pytest.mark.parametrize("form", FORMS)
def test_extracting_works_and_averaging_is_an_error(form, tmp_path):
    routed = disturbed()
    offloaded = made(form, routed, tmp_path)
    dense = offloaded.extract_expert("clustering")
    offloaded.switch("search_query")
    assert torch.equal(dense(**batch()).last_hidden_state, routed("clustering", **batch()).last_hidden_state)
    with pytest.raises(ValueError, match="before they are offloaded"):
        average_experts(offloaded)
    with pytest.raises(ValueError, match="offloaded already"):
        offload(offloaded, "clustering")
    with pytest.raises(ValueError, match="'sts' has no expert"):
        made(form, routed, tmp_path, "sts")


@pytest.mark.parametrize("form", FORMS)
def test_threads_with_different_routes_do_not_mix(form, tmp_path):
    routed = disturbed()
    offloaded = made(form, routed, tmp_path)
    expected = {route: routed(route, pool=pool, **batch()) for route in ROUTES}
    wrong = []

    def use(route):
        for _ in range(20):
            if not torch.equal(offloaded(route, pool=pool, **batch()), expected[route]):
                wrong.append(route)

    threads = [threading.Thread(target=use, args=(route,)) for route in ROUTES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_file_that_changes_or_does_not_fit_is_named(tmp_path):
    routed = disturbed()
    offloaded = made("file", routed, tmp_path)
    routed.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="model.safetensors has changed since it was loaded"):
        offloaded.switch("clustering")
    assert offloaded.active is None  # what a failed switch leaves is nobody's expert
    with pytest.raises(ValueError, match="has changed"):
        offloaded("search_query", **batch())
    upcycle(tiny("bert"), ROUTES, [0]).save_pretrained(tmp_path / "other")
    (tmp_path / "other" / "mote.json").write_text((tmp_path / "mote.json").read_text())
    with pytest.raises(ValueError, match=r"experts in blocks \[0\], mote.json says \[0, 1\]"):
        load_offloaded(tmp_path / "other", "clustering")
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ValueError, match="no readable safetensors file"):
        load_offloaded(tmp_path, "clustering")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_an_offloaded_checkpoint_keeps_its_dtype_whatever_its_config_says(dtype, tmp_path):
    routed = upcycle(tiny("bert"), ROUTES).to(dtype)
    routed.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    loaded = load_offloaded(tmp_path, "clustering")
    assert {p.dtype for p in loaded.parameters()} == {dtype}
    expected = routed.dense_state_dict("search_query")
    for name, tensor in loaded.dense_state_dict("search_query").items():
        assert torch.equal(tensor, expected[name]), name
