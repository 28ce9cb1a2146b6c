"""Invariants of the tuner.

- At initialisation the model equals its base exactly, for every family, router and task type.
- The default targets are the linear layers of the blocks; a vision tower is left alone unless named.
- An embedding depends on no batch-mate: not on other sequences, their routes, or padding.
- Saving, loading, several adapters, disabling, deleting and modules_to_save work as PEFT has them.
- Gradient checkpointing changes no gradient, two passes before one backward included, and records nothing twice; where
  it was enabled past us, routers that need the forward pass say so.
- The whole model compiles without a graph break.
- A forward pass that fails leaves no context behind.
"""

import copy
import threading

import pytest
import torch
from peft import PeftModel, TaskType
from torch import nn

from tests.tiny import tiny
from tests.tsembed.moe_lora.models import (
    FAMILIES,
    ROUTERS,
    ROUTES,
    adapted,
    batch,
    embed,
    peft_of_old_names,
    pictures,
    pool,
    qwen2_vl,
)
from tsembed.contrastive.losses import load_balancing_of
from tsembed.moe_lora.config import MoeLoraConfig
from tsembed.moe_lora.context import THREAD
from tsembed.moe_lora.layer import MoeLoraLinear
from tsembed.moe_lora.merge import to_lora
from tsembed.moe_lora.routing import balance, routing_record, signatures

pytestmark = peft_of_old_names

BY_ROUTER = [pytest.param({"router": router} | more, id=router) for router, more in ROUTERS.items()]
TOLERANCE = {"atol": 2e-5, "rtol": 1e-4}


def routes_for(settings, route="query"):
    return {"routes": route} if settings.get("router") == "task" else {}


def adapted_names(model):
    return {name for name, module in model.base_model.model.named_modules() if isinstance(module, MoeLoraLinear)}


@pytest.mark.parametrize("model_type", FAMILIES)
@pytest.mark.parametrize("settings", BY_ROUTER)
def test_at_initialisation_it_equals_the_base_model_exactly(model_type, settings):
    base = tiny(model_type, vocabulary=99)
    expected = base(**batch()).last_hidden_state
    kwargs = routes_for(settings)
    model = adapted(base=base, disturbed=False, **settings)
    assert torch.equal(model(**batch(), **kwargs).last_hidden_state, expected)
    for name, weight in model.named_parameters():
        assert weight.requires_grad == ("moe_lora_" in name), name
        if "moe_lora_B" in name:
            weight.data.normal_()
    assert (model(**batch(), **kwargs).last_hidden_state - expected).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("model_type", "block", "expected"),
    [
        (
            "bert",
            "encoder.layer.",
            "attention.self.query attention.self.key attention.self.value "
            "attention.output.dense intermediate.dense output.dense",
        ),
        (
            "nomic_bert",
            "layers.",
            "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.o_proj "
            "mlp.gate_proj mlp.up_proj mlp.down_proj",
        ),
        ("modernbert", "layers.", "attn.Wqkv attn.Wo mlp.Wi mlp.Wo"),
    ],
)
def test_default_targets_by_name(model_type, block, expected):
    assert adapted_names(adapted(model_type)) == {f"{block}{i}.{name}" for i in (0, 1) for name in expected.split()}


@pytest.mark.parametrize("model_type", FAMILIES)
def test_default_targets_are_all_linear_layers_of_the_blocks(model_type):
    base = tiny(model_type, vocabulary=99)
    linear = {name for name, module in base.named_modules() if isinstance(module, nn.Linear)}
    assert adapted_names(adapted(base=base)) == linear
    assert linear


@pytest.mark.parametrize("task_type", [None, TaskType.FEATURE_EXTRACTION])
@pytest.mark.parametrize("settings", BY_ROUTER)
def test_both_task_types_reach_mask_and_routes(task_type, settings):
    plain, model = adapted(**settings), adapted(task_type=task_type, **settings)
    kwargs = routes_for(settings, torch.tensor([3, 0, 2, 1]))
    expected = torch.cat(
        [
            embed(plain, {k: v[i : i + 1] for k, v in batch().items()}, **routes_for(settings, list(ROUTES)[r]))
            for i, r in enumerate([3, 0, 2, 1])
        ]
    )
    torch.testing.assert_close(embed(model, batch(), **kwargs), expected, **TOLERANCE)
    inputs = batch()
    by_position = model.base_model.model(inputs["input_ids"], inputs["attention_mask"], **kwargs).last_hidden_state
    torch.testing.assert_close(pool(by_position, inputs["attention_mask"]), expected, **TOLERANCE)


@pytest.mark.parametrize("model_type", ["bert", "nomic_bert", "qwen2"])
@pytest.mark.parametrize("settings", BY_ROUTER)
def test_an_embedding_does_not_depend_on_batch_mates(model_type, settings):
    model = adapted(model_type, **settings)
    kwargs = routes_for(settings)
    together = embed(model, batch(), **kwargs)
    torch.testing.assert_close(embed(model, batch(seq=13), **kwargs), together, **TOLERANCE)
    torch.testing.assert_close(embed(model, batch(n=2), **kwargs), together[:2], **TOLERANCE)
    torch.testing.assert_close(embed(model, batch(n=1, seq=5), **kwargs), together[:1], **TOLERANCE)
    if settings["router"] == "task":
        mixed = embed(model, batch(), routes=torch.tensor([0, 1, 3, 0]))
        torch.testing.assert_close(mixed[[0, 3]], together[[0, 3]], **TOLERANCE)
        assert (mixed[1:3] - together[1:3]).abs().max() > 1e-3


def test_without_a_mask_all_tokens_count():
    model, ids = adapted(router="sequence"), batch(n=1, seq=5)["input_ids"]
    expected = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    assert torch.equal(model(input_ids=ids).last_hidden_state, expected)
    embeddings = model.get_input_embeddings()(ids)
    assert torch.equal(model(inputs_embeds=embeddings).last_hidden_state, expected)


def test_routes_that_share_an_expert_are_one_and_others_differ():
    model = adapted(router="task", routes=ROUTES)
    query, document, passage = (embed(model, batch(), routes=route) for route in ("query", "document", "passage"))
    assert torch.equal(document, passage)
    assert (query - document).abs().max() > 1e-3


def test_a_route_without_expert_takes_the_shared_ones_alone():
    routes = {"query": "q", "other": None, "answer": "a"}
    model = adapted(router="task", routes=routes, shared_experts=1)
    found = {route: embed(model, batch(), routes=route) for route in routes}
    mixed = embed(model, batch(), routes=torch.tensor([0, 1, 2, 1]))
    for i, route in enumerate(["query", "other", "answer", "other"]):
        torch.testing.assert_close(mixed[i], found[route][i], **TOLERANCE)
    with routing_record() as record:
        model(**batch(), routes="other")
    assert signatures(record).abs().max() == 0
    lora = to_lora(model, route="other")
    assert lora.peft_config["default"].r == 2
    torch.testing.assert_close(embed(lora, batch()), found["other"], **TOLERANCE)
    for name, weight in model.named_parameters():
        if "moe_lora_B" in name:
            weight.data[:, :4] = 0  # of the two routed experts
    torch.testing.assert_close(embed(model, batch(), routes="query"), found["other"], **TOLERANCE)
    assert (found["other"] - embed(tiny("bert", vocabulary=99), batch())).abs().max() > 1e-3


def test_the_vision_tower_is_left_alone_unless_named():
    def names(**settings):
        return adapted_names(adapted(base=qwen2_vl(), **settings))

    text = names()
    assert len(text) == 14
    assert all(name.startswith("language_model.layers.") for name in text)
    assert names(target_modules="all-linear") == text == names(target_modules=r".*(_proj|fc\d)")
    assert names(target_modules=["q_proj", "visual.blocks.0.mlp.fc1"]) == {
        "language_model.layers.0.self_attn.q_proj",
        "language_model.layers.1.self_attn.q_proj",
        "visual.blocks.0.mlp.fc1",
    }
    assert names(target_modules=r"visual\..*qkv") == {"visual.blocks.0.attn.qkv"}


def test_pictures_go_through_and_the_vision_tower_is_not_recorded(tmp_path):
    base = qwen2_vl()
    expected = base(**pictures()).last_hidden_state
    model = adapted(base=base, target_modules=["q_proj", "visual.blocks.0.attn.qkv"], disturbed=False)
    assert torch.equal(model(**pictures()).last_hidden_state, expected)
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(qwen2_vl(), tmp_path)
    assert adapted_names(again) == adapted_names(model)
    with routing_record() as record:
        model(**pictures())
    assert signatures(record).shape == (2, 2, 3)
    assert record[0].tokens == 15
    one = adapted(base=qwen2_vl(), router="sequence")
    together = one(**pictures()).last_hidden_state
    torch.testing.assert_close(one(**pictures(1)).last_hidden_state, together[:1], **TOLERANCE)


@pytest.mark.parametrize("model_type", ["bert", "nomic_bert", "qwen3"])
@pytest.mark.parametrize("settings", BY_ROUTER)
def test_saving_and_loading_changes_nothing(model_type, settings, tmp_path):
    model = adapted(model_type, shared_experts=1, **settings)
    model.save_pretrained(tmp_path)
    from safetensors.torch import load_file

    saved = load_file(tmp_path / "adapter_model.safetensors")
    layers, router = len(adapted_names(model)), settings["router"]
    assert len(saved) == {"task": 2 * layers, "question": 2 * layers + 2}.get(router, 3 * layers)
    for low_memory in (False, True):
        again = PeftModel.from_pretrained(tiny(model_type, vocabulary=99), tmp_path, low_cpu_mem_usage=low_memory)
        for route in ROUTES:
            kwargs = routes_for(settings, route)
            assert torch.equal(embed(again, batch(), **kwargs), embed(model, batch(), **kwargs))


def test_a_question_router_reads_the_words_alone_and_serves_all_layers():
    model = adapted(base=qwen2_vl(), router="question", top_k=2)
    inputs = pictures()
    with routing_record() as record:
        model(**inputs)
    found = signatures(record)  # (2, 14, 3)
    assert found.shape == (2, 14, 3)
    assert torch.equal(found, found[:, :1].expand_as(found))
    assert ((found > 0).sum(-1) == 2).all()
    assert (found[0] - found[1]).abs().max() > 1e-3, "two questions"
    other = inputs | {"pixel_values": torch.randn_like(inputs["pixel_values"])}
    with routing_record() as record:
        hidden = model(**other).last_hidden_state
    assert torch.equal(signatures(record), found)
    assert (hidden - model(**inputs).last_hidden_state).abs().max() > 1e-3
    words = model.get_input_embeddings().weight[inputs["input_ids"][0]]
    ids, mask = inputs["input_ids"][0], inputs["attention_mask"][0].bool()
    text = words[mask & (ids != 2) & (ids != 3) & (ids != 4)].mean(0)
    keys = model.base_model.model.question_router.moe_lora_router["default"]
    temperature = model.base_model.model.question_router.moe_lora_router_temperature["default"].exp()
    logits = torch.cosine_similarity(text[None], keys) / temperature
    kept = logits.topk(2)
    expected = torch.zeros(3).scatter(0, kept.indices, kept.values.softmax(0))
    torch.testing.assert_close(found[0, 0], expected)


def test_a_question_router_without_words_says_so_and_without_text_is_even():
    model, ids = adapted(router="question"), batch()["input_ids"]
    embeddings = model.get_input_embeddings()(ids)
    with pytest.raises(ValueError, match="router='question' reads the words of a text: call the model with input_ids"):
        model(inputs_embeds=embeddings)
    with routing_record() as record:
        model(input_ids=ids, attention_mask=torch.zeros_like(ids))
    torch.testing.assert_close(record[0].gates, torch.full((4, 1, 3), 1 / 3))


def test_question_routed_adapters_come_and_go():
    model = adapted()
    first = embed(model, batch())
    model.add_adapter("second", MoeLoraConfig(r=3, router="question", num_experts=2, init_seed=3))
    assert torch.equal(embed(model, batch()), first)
    model.set_adapter("second")
    router = model.base_model.model.question_router
    assert all(p.requires_grad for p in router.parameters())
    for name, weight in model.named_parameters():
        if "moe_lora_B.second" in name:
            weight.data.normal_()
    assert (embed(model, batch()) - embed(tiny("bert", vocabulary=99), batch())).abs().max() > 1e-3
    model.set_adapter("default")
    assert not any(p.requires_grad for p in router.parameters())
    assert torch.equal(embed(model, batch()), first)
    model.delete_adapter("second")
    assert not any(".second" in n for n in model.state_dict())
    plain = model.unload()
    assert not hasattr(plain, "question_router")


def test_several_adapters_disabling_and_deleting():
    model = adapted()
    base, first = embed(tiny("bert", vocabulary=99), batch()), embed(model, batch())
    model.add_adapter("second", MoeLoraConfig(r=3, router="task", routes=["a", "b", "c"], init_seed=3))
    assert torch.equal(embed(model, batch()), first)
    second = [n for n, p in model.named_parameters() if ".second" in n]
    assert second
    assert not any(model.get_parameter(n).requires_grad for n in second)
    model.set_adapter("second")
    assert torch.equal(embed(model, batch(), routes="b"), base)
    for name in second:
        if "moe_lora_B" in name:
            model.get_parameter(name).data.normal_()
    assert (embed(model, batch(), routes="b") - embed(model, batch(), routes="c")).abs().max() > 1e-3
    model.set_adapter("default")
    assert torch.equal(embed(model, batch()), first)
    with model.disable_adapter():
        assert torch.equal(embed(model, batch()), base)
    assert model.get_model_status().available_adapters == ["default", "second"]
    model.delete_adapter("second")
    assert torch.equal(embed(model, batch()), first)
    assert not any(".second" in n for n in model.state_dict())


def test_a_disabled_task_router_needs_no_route():
    model = adapted(router="task", routes=ROUTES)
    with model.disable_adapter():
        assert torch.equal(embed(model, batch()), embed(tiny("bert", vocabulary=99), batch()))


def test_modules_to_save_are_trained_and_saved(tmp_path):
    model = adapted(modules_to_save=["embeddings.LayerNorm"])
    scale = model.base_model.model.embeddings.LayerNorm.modules_to_save["default"].weight
    assert scale.requires_grad
    scale.data.fill_(0.5)
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(tiny("bert", vocabulary=99), tmp_path)
    assert torch.equal(embed(again, batch()), embed(model, batch()))


def test_unloading_gives_the_base_model_back_without_hooks():
    model = adapted()
    plain = model.unload()
    assert not plain._forward_pre_hooks
    assert not plain._forward_hooks
    assert not any(isinstance(module, MoeLoraLinear) for module in plain.modules())
    assert torch.equal(embed(plain, batch()), embed(tiny("bert", vocabulary=99), batch()))


def test_a_copy_is_independent():
    model = adapted(router="task", routes=ROUTES)
    expected = embed(model, batch(), routes="answer")
    other = copy.deepcopy(model)
    other.base_model._context_hooks[0].remove()  # its own hook, not the original's
    for weight in other.parameters():
        weight.data.zero_()
    assert torch.equal(embed(model, batch(), routes="answer"), expected)


def test_only_some_blocks():
    names = adapted_names(adapted(layers_to_transform=[1], layers_pattern="layer"))
    assert len(names) == 6
    assert all(name.startswith("encoder.layer.1.") for name in names)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_low_precision_base_trains_in_fp32_and_keeps_its_dtype(dtype):
    model = adapted(base=tiny("bert", vocabulary=99).to(dtype))
    assert {w.dtype for n, w in model.named_parameters() if "moe_lora_" in n} == {torch.float32}
    hidden = model(**batch()).last_hidden_state
    assert hidden.dtype == dtype
    torch.testing.assert_close(hidden.float(), adapted()(**batch()).last_hidden_state, atol=0.2, rtol=0.1)


def test_autocast_changes_little():
    model = adapted()
    with torch.autocast("cpu", torch.bfloat16), routing_record() as record:
        hidden = model(**batch()).last_hidden_state
    assert {one.mean.dtype for one in record} == {torch.float32}
    torch.testing.assert_close(hidden.float(), model(**batch()).last_hidden_state, atol=0.1, rtol=0.1)


def step(model, settings, *, enable=None):
    """Loss over a query and a document pass, with load balancing where there are routers; gradients and record."""
    model.train()
    if enable is not None:
        enable(model)
    layer = model.base_model.model.encoder.layer[0].intermediate
    calls = []
    layer.register_forward_hook(lambda *_: calls.append(1))
    with routing_record() as first:
        query = embed(model, batch(), **routes_for(settings, "query"))
    with routing_record() as second:
        document = embed(model, batch(seq=9, lengths=(9, 3, 8, 6)), **routes_for(settings, "document"))
    statistics = torch.cat([balance(first), balance(second)])
    loss = (query * document).sum() + load_balancing_of(statistics) + signatures(first).square().sum()
    loss.backward()
    return {n: p.grad for n, p in model.named_parameters() if p.requires_grad}, len(calls), len(first) + len(second)


@pytest.mark.parametrize("settings", BY_ROUTER)
@pytest.mark.parametrize("name", ["gradient_checkpointing_enable", "activation_checkpointing_enable"])
def test_gradient_checkpointing_with_two_passes_before_backward_changes_no_gradient(settings, name):
    plain, calls, entries = step(adapted(**settings), settings)
    again, more_calls, more_entries = step(adapted(**settings), settings, enable=lambda m: getattr(m, name)())
    assert (calls, more_calls) == (2, 4)  # the recomputation took place
    assert entries == more_entries == 24  # and recorded nothing
    for key, gradient in plain.items():
        torch.testing.assert_close(again[key], gradient, **TOLERANCE)
        assert gradient.abs().max() > 0


@pytest.mark.parametrize("settings", BY_ROUTER)
def test_checkpointing_enabled_past_us_is_right_or_an_error(settings):
    def past_us(model):
        model.base_model.model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})

    def loss(model):
        return embed(model.train(), batch(), **routes_for(settings)).square().sum()

    plain, model = adapted(**settings), adapted(**settings)
    past_us(model)
    output = loss(model)
    if settings["router"] != "token":
        with pytest.raises(RuntimeError, match="enable gradient checkpointing with its gradient_checkpointing_enable"):
            output.backward()
        return
    output.backward()
    loss(plain).backward()
    for (name, weight), other in zip(plain.named_parameters(), model.parameters(), strict=True):
        if weight.requires_grad:
            torch.testing.assert_close(other.grad, weight.grad, msg=name)


def test_reentrant_checkpointing_is_refused():
    with pytest.raises(ValueError, match="needs use_reentrant=False, got True"):
        adapted().gradient_checkpointing_enable({"use_reentrant": True})


@pytest.mark.slow
@pytest.mark.parametrize("settings", BY_ROUTER)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own tracing
def test_the_whole_model_compiles_without_a_graph_break(settings):
    torch._dynamo.reset()
    model = adapted(base=tiny("bert", layers=1, vocabulary=99), target_modules=["query", "output.dense"], **settings)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    for route in ("query", "answer") if settings["router"] == "task" else ("query",):
        kwargs = routes_for(settings, route)
        fast, plain = compiled(**batch(), **kwargs), model(**batch(), **kwargs)
        torch.testing.assert_close(fast.last_hidden_state, plain.last_hidden_state, **TOLERANCE)
        found = []
        for output in (fast, plain):
            model.zero_grad()
            pool(output.last_hidden_state, batch()["attention_mask"]).square().sum().backward()
            found.append([p.grad for p in model.parameters() if p.requires_grad])
        for mine, theirs in zip(*found, strict=True):
            torch.testing.assert_close(mine, theirs, **TOLERANCE)
    assert THREAD.forward is None


def test_a_failing_forward_pass_leaves_no_context():
    model = adapted(router="task", routes=ROUTES)
    with pytest.raises(ValueError, match="'sts' has no expert"):
        model(**batch(), routes="sts")
    with pytest.raises(IndexError):
        model(input_ids=torch.tensor([[1000]]), routes="query")
    assert THREAD.forward is None
    with pytest.raises(RuntimeError, match="outside a forward pass"):
        model.base_model.model.encoder.layer[0].intermediate(torch.randn(1, 2, 32))


def test_threads_have_contexts_of_their_own():
    model = adapted(router="task", routes=ROUTES)
    expected = {route: embed(model, batch(), routes=route) for route in ("query", "answer")}
    inside, done = threading.Event(), threading.Event()
    model.base_model.model.encoder.register_forward_pre_hook(lambda *_: (inside.set(), done.wait(5)) and None)
    found = {}
    thread = threading.Thread(target=lambda: found.setdefault("query", embed(model, batch(), routes="query")))
    thread.start()
    assert inside.wait(5)
    assert THREAD.forward is None  # the other thread is in the middle of its forward pass
    done.set()
    found["answer"] = embed(model, batch(), routes="answer")
    thread.join()
    assert all(torch.equal(found[route], expected[route]) for route in expected)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({}, "call the model with routes=, one of query, document, passage, answer"),
        ({"routes": "sts"}, "route 'sts' has no expert; routes: query, document, passage, answer"),
        ({"routes": torch.tensor([0, 1])}, r"indices of shape \(4,\), got shape \(2,\)"),
        ({"routes": torch.tensor([0, 1, 4, 0])}, r"must be in 0\.\.3, got \[0, 1, 4, 0\]"),
    ],
)
def test_bad_routes_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        adapted(router="task", routes=ROUTES)(**batch(), **kwargs)


def test_routes_for_other_routers_are_named():
    with pytest.raises(ValueError, match="routes are for adapters with router='task'; the active ones have .*: token"):
        adapted()(**batch(), routes="query")


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["query", "querry"], r"target_modules \['querry'\] match no module of BertModel; .* dense, key, query, value"),
        (["encoder.layer.0"], "MoE-LoRA adapts linear layers, but target encoder.layer.0 is a BertLayer"),
        ("querry", "Target modules querry not found in the base model"),
    ],
)
def test_bad_target_modules_are_named(targets, message):
    with pytest.raises(ValueError, match=message):
        adapted(target_modules=targets)


def test_a_family_without_default_targets_is_named():
    from transformers import AlbertConfig, AlbertModel

    base = AlbertModel(AlbertConfig(hidden_size=32, num_attention_heads=2, intermediate_size=32, num_hidden_layers=1))
    with pytest.raises(ValueError, match="give target_modules: model_type 'albert' has no default; known: bert"):
        adapted(base=base)
