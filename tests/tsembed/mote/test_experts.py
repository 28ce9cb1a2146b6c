"""Invariants of MoTE's task experts.

- Up-cycled, the model equals the dense one exactly, for every family and every route, also in mixed batches.
- An expert is {norm, MLP, norm} (post-norm) or {norm, MLP} (pre-norm): exactly these are copied.
- A sequence sees its own expert only; a mixed batch equals its sequences alone, in value and in gradient.
- Inactive experts get no gradient at all. Gradient checkpointing changes no gradient, with two passes per backward too.
- Saving, loading and extracting change nothing. Averaging takes the mean over experts, each once; of equal experts it
  is exactly the dense model.
- A pooling head, as AutoModel gives BERT one, is taken out: the model then extracts, averages, saves and loads.
- What from_pretrained returns is in evaluation mode: dropout does not move an embedding.
- bf16 stays bf16 through saving, loading, extracting and averaging. A model with a task head is an error that names
  the encoder inside.
- A batch of one route compiles without a graph break, to the same value and gradients, for one route after another.
- A checkpoint of another family, task map, choice of blocks or size is one line that names folder, value and rule.
"""

import copy
import json
import pathlib
import re
import subprocess
import sys

import pytest
import torch

from study.paths import ROOT
from tests.tiny import FAMILIES, tiny
from tsembed.mote.average import average_experts, average_models
from tsembed.mote.experts import TaskRouted, upcycle
from tsembed.mote.per_expert import PerExpert
from tsembed.tasks import ROUTES


def batch(n=5, seq=7, vocabulary=30522):
    ids = torch.randint(5, min(vocabulary, 30000), (n, seq), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[0, 4:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def pool(hidden, mask):
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def disturbed(model_type="bert", blocks="every", vocabulary=30522):
    """A routed model of which the experts differ."""
    routed = upcycle(tiny(model_type, vocabulary=vocabulary), ROUTES, blocks)
    generator = torch.Generator().manual_seed(2)
    for name, p in routed.named_parameters():
        if ".experts." in name:
            p.data += 0.05 * torch.randn(p.shape, generator=generator)
    return routed


@pytest.mark.parametrize("model_type", FAMILIES)
def test_upcycled_equals_dense_exactly(model_type):
    dense = tiny(model_type)
    expected = dense(**batch()).last_hidden_state
    routed = upcycle(copy.deepcopy(dense), ROUTES)
    assert any(isinstance(m, PerExpert) for m in routed.modules())
    for route in ROUTES:
        assert (routed(route, **batch()).last_hidden_state - expected).abs().max() == 0
    mixed = routed(torch.tensor([3, 0, 2, 0, 1]), **batch()).last_hidden_state
    torch.testing.assert_close(mixed, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("model_type", "copied"),
    [
        ("nomic_bert", {"post_attention_layernorm", "mlp", "post_mlp_layernorm"}),
        ("bert", {"attention.output.LayerNorm", "intermediate", "output"}),
        ("modernbert", {"mlp_norm", "mlp"}),
    ],
)
def test_an_expert_is_norm_mlp_norm(model_type, copied):
    routed = upcycle(tiny(model_type), ROUTES)
    names = {n for n, m in routed.named_modules() if isinstance(m, PerExpert) and ".1." in n}
    assert {n.partition(".1.")[2] for n in names} == copied


@pytest.mark.parametrize("model_type", FAMILIES)
def test_mixed_batch_equals_each_sequence_alone_in_value_and_gradient(model_type):
    routed, inputs = disturbed(model_type), batch()
    routes = torch.tensor([3, 0, 2, 0, 1])
    together = routed(routes, pool=pool, **inputs)
    together.square().sum().backward()
    gradients = {n: p.grad.clone() for n, p in routed.named_parameters() if p.grad is not None}
    routed.zero_grad()
    alone = []
    for i, route in enumerate(routes.tolist()):
        alone.append(routed(ROUTES[route], pool=pool, **{k: v[i : i + 1] for k, v in inputs.items()}))
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-4)
    assert (alone[0] - routed("search_query", pool=pool, **{k: v[:1] for k, v in inputs.items()})).abs().max() > 1e-3
    torch.cat(alone).square().sum().backward()
    for name, p in routed.named_parameters():
        if p.grad is not None:
            torch.testing.assert_close(gradients[name], p.grad, atol=1e-4, rtol=1e-3)


def test_unpooled_mixed_output_keeps_the_order_of_the_inputs():
    routed, inputs = disturbed(), batch()
    hidden = routed(torch.tensor([3, 0, 2, 0, 1]), **inputs).last_hidden_state
    torch.testing.assert_close(hidden[3], routed("classification", **inputs).last_hidden_state[3], atol=1e-6, rtol=0)


def test_inactive_experts_get_no_gradient():
    routed = disturbed()
    routed("clustering", pool=pool, **batch()).sum().backward()
    for name, p in routed.named_parameters():
        expert = name.partition(".experts.")[2].partition(".")[0]
        assert (p.grad is None) == (expert not in ("", "clustering")), name


def test_gradient_checkpointing_with_two_passes_before_backward_changes_no_gradient():
    found = []
    for checkpointing in (False, True):
        routed = disturbed().train()
        calls = []
        if checkpointing:
            routed.gradient_checkpointing_enable()
        layer = routed.model.encoder.layer[0].intermediate
        layer.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        query = routed("search_query", pool=pool, **batch())
        document = routed("search_document", pool=pool, **batch(4))
        (query[:4] * document).sum().backward()
        found.append({n: p.grad for n, p in routed.named_parameters()})
        assert len(calls) == (4 if checkpointing else 2)  # the recomputation took place
    for name, expected in found[0].items():
        assert (expected is None) == (found[1][name] is None), name
        if expected is not None:
            torch.testing.assert_close(found[1][name], expected)


def test_checkpointing_enabled_past_us_is_an_error_not_a_wrong_gradient():
    routed = disturbed().train()
    routed.model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    output = routed("search_query", pool=pool, **batch())
    with pytest.raises(RuntimeError, match="gradient checkpointing"):
        output.sum().backward()


COMPILED = """
import torch
from tests.tsembed.mote.test_experts import batch, disturbed, pool

for model_type in ("bert", "nomic_bert"):  # experts with biases and without
    model = disturbed(model_type)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    outputs = []
    for route in ("search_query", "clustering"):
        found = []
        for called in (compiled, model):
            model.zero_grad()
            output = called(route, **batch()).last_hidden_state
            pool(output, batch()["attention_mask"]).square().sum().backward()
            gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
            found.append((output.detach(), gradients))
        torch.testing.assert_close(*found)
        assert any(f".experts.{route}." in name for name in gradients)
        outputs.append(output.detach())
    assert not torch.allclose(*outputs)
"""


@pytest.mark.slow
def test_a_batch_of_one_route_compiles_without_a_graph_break():
    """In a process of its own: the type checks that these tests put round every function cannot be traced."""
    done = subprocess.run([sys.executable, "-c", COMPILED], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_shared_experts_are_one_module():
    routed = upcycle(tiny("bert"), {"clustering": "documents", "search_document": "documents", "search_query": "query"})
    assert routed.expert_names == ("documents", "query")
    a, b = (routed(r, **batch()).last_hidden_state for r in ("clustering", "search_document"))
    assert torch.equal(a, b)


def test_every_other_block_has_experts():
    assert upcycle(tiny("bert", layers=4), ROUTES, "every_other").blocks == (1, 3)


def test_the_last_half_of_the_blocks_or_the_last_one_has_experts():
    assert upcycle(tiny("bert", layers=5), ROUTES, "last_half").blocks == (2, 3, 4)
    assert upcycle(tiny("bert", layers=4), ROUTES, "last").blocks == (3,)


def test_models_are_averaged_by_their_shares():
    models = [torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)]
    for model, value in zip(models, (1.0, 5.0), strict=True):
        torch.nn.init.constant_(model.weight, value)
        torch.nn.init.constant_(model.bias, -value)
    mean = average_models(models, [0.25, 0.75])
    assert mean["weight"].tolist() == [[4.0, 4.0]]
    assert mean["bias"].tolist() == [-4.0]
    assert models[0].weight.tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize(
    ("other", "shares", "message"),
    [
        (torch.nn.Linear(3, 1), [0.5, 0.5], "one architecture .* different: weight"),
        (torch.nn.Linear(2, 1, bias=False), [0.5, 0.5], "one architecture .* different: bias"),
        (torch.nn.Linear(2, 1), [0.5, 0.6], r"with the sum 1, got \[0.5, 0.6\]"),
        (torch.nn.Linear(2, 1), [1.0], r"one per model \(2\)"),
    ],
)
def test_models_that_cannot_be_averaged_are_refused(other, shares, message):
    with pytest.raises(ValueError, match=message):
        average_models([torch.nn.Linear(2, 1), other], shares)


@pytest.mark.parametrize("model_type", ["bert", "nomic_bert", "modernbert", "mpnet", "distilbert"])
def test_saving_and_loading_changes_nothing(model_type, tmp_path):
    routed = disturbed(model_type, "every_other")
    routed.save_pretrained(tmp_path)
    again = TaskRouted.from_pretrained(tmp_path).eval()
    assert again.routes == routed.routes
    assert again.blocks == routed.blocks
    for route in ROUTES:
        assert torch.equal(again(route, pool=pool, **batch()), routed(route, pool=pool, **batch()))


@pytest.mark.parametrize("model_type", FAMILIES)
def test_extracted_expert_is_a_plain_dense_model_of_the_route(model_type, tmp_path):
    from transformers import AutoModel

    routed = disturbed(model_type)
    dense = routed.extract_expert("search_query")
    assert not any(isinstance(m, PerExpert) for m in dense.modules())
    expected = routed("search_query", **batch()).last_hidden_state
    assert torch.equal(dense(**batch()).last_hidden_state, expected)
    dense.save_pretrained(tmp_path)
    torch.testing.assert_close(
        AutoModel.from_pretrained(tmp_path).eval()(**batch()).last_hidden_state, expected, atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("model_type", ["bert", "xlm-roberta", "roberta", "mpnet"])
def test_a_pooling_head_is_taken_out(model_type, tmp_path):
    from transformers import AutoModel

    from tsembed.mote.offload import load_offloaded

    whole = tiny(model_type, head=True)
    assert whole.pooler is not None
    before = whole(**batch()).last_hidden_state
    routed = upcycle(whole, ROUTES)
    for dense in (routed.extract_expert("search_query"), average_experts(routed)):
        assert torch.equal(dense(**batch()).last_hidden_state, before)
    routed.save_pretrained(tmp_path / "experts")
    for again in (TaskRouted.from_pretrained(tmp_path / "experts"), load_offloaded(tmp_path / "experts", ROUTES[0])):
        assert torch.equal(again(ROUTES[0], **batch()).last_hidden_state, before)
    dense.save_pretrained(tmp_path / "dense")
    loaded = AutoModel.from_pretrained(tmp_path / "dense", add_pooling_layer=False)
    torch.testing.assert_close(loaded(**batch()).last_hidden_state, before, atol=1e-6, rtol=0)


def test_a_loaded_model_does_not_drop_out(tmp_path):
    upcycle(tiny("bert", dropout=0.1), ROUTES).save_pretrained(tmp_path)
    loaded = TaskRouted.from_pretrained(tmp_path)
    assert torch.equal(*(loaded(ROUTES[0], **batch()).last_hidden_state for _ in range(2)))
    active = loaded.train()
    assert not torch.equal(*(active(ROUTES[0], **batch()).last_hidden_state for _ in range(2)))


def test_routes_may_be_a_list_of_names():
    routed, inputs = disturbed(), batch()
    by_index = routed(torch.tensor([3, 0, 2, 0, 1]), pool=pool, **inputs)
    names = ["search_document", "classification", "search_query", "classification", "clustering"]
    assert torch.equal(routed(names, pool=pool, **inputs), by_index)
    assert torch.equal(routed(tuple(names), pool=pool, **inputs), by_index)
    with pytest.raises(ValueError, match="route 'sts' of sequence 1 has no expert; routes: classification"):
        routed(["clustering", "sts", "clustering", "clustering", "clustering"], **inputs)
    with pytest.raises(ValueError, match=r"shape \(2,\) for a batch of 5"):
        routed(["clustering"] * 2, **inputs)


def test_device_dtype_and_size_are_those_of_the_weights():
    dense = tiny("bert")
    size = sum(p.numel() for p in dense.parameters())
    expert = (32 * 64 + 64) + (64 * 32 + 32) + 2 * (32 + 32)  # of one block: two linear maps and two norms
    routed = upcycle(dense, ROUTES, [1])
    assert routed.num_parameters() == size + 3 * expert
    routed.model.embeddings.requires_grad_(False)
    embeddings = sum(p.numel() for p in routed.model.embeddings.parameters())
    assert routed.num_parameters(only_trainable=True) == size + 3 * expert - embeddings
    assert routed.device.type == "cpu"
    assert routed.dtype == torch.float32
    assert routed.to("meta").device.type == "meta"
    assert routed.to(torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize("model_type", FAMILIES)
def test_bf16_stays_bf16(model_type, tmp_path):
    from transformers import AutoModel

    routed = disturbed(model_type).to(torch.bfloat16)
    routed.save_pretrained(tmp_path / "experts")
    loaded = TaskRouted.from_pretrained(tmp_path / "experts")
    extracted, averaged = loaded.extract_expert("search_query"), average_experts(loaded)
    extracted.save_pretrained(tmp_path / "dense")
    assert json.loads((tmp_path / "dense" / "config.json").read_text())["dtype"] == "bfloat16"
    for model in (loaded, extracted, averaged, AutoModel.from_pretrained(tmp_path / "dense", dtype="auto")):
        assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    for name, tensor in routed.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor), name
    name = next(name for name in routed.dense_state_dict("search_query") if "norm" in name.lower())
    assert torch.equal(extracted.state_dict()[name], routed.dense_state_dict("search_query")[name])
    assert loaded.config.dtype == torch.bfloat16


def test_weights_of_several_dtypes_keep_them(tmp_path):
    routed = disturbed().to(torch.bfloat16)
    routed.model.embeddings.float()
    routed.save_pretrained(tmp_path)
    for model in (TaskRouted.from_pretrained(tmp_path).model, routed.extract_expert("clustering")):
        assert {p.dtype for p in model.embeddings.parameters()} == {torch.float32}
        assert {p.dtype for p in model.encoder.parameters()} == {torch.bfloat16}


def test_gradient_checkpointing_takes_the_settings_of_transformers():
    routed = disturbed().train()
    calls = []
    for layer in routed.model.encoder.layer:
        layer.intermediate.register_forward_hook(lambda *_: calls.append(1))
    routed.gradient_checkpointing_enable({"use_reentrant": False, "determinism_check": "none"}, every_n_layers=2)
    layers = [layer for layer in routed.model.encoder.layer if layer.gradient_checkpointing]
    assert layers[0]._gradient_checkpointing_func.keywords["determinism_check"] == "none"
    routed("clustering", pool=pool, **batch()).sum().backward()
    assert len(layers) == 1
    assert len(calls) == 3  # one of the two layers was computed again
    for wrong in ({"use_reentrant": True}, {"context_fn": lambda: None}):
        with pytest.raises(ValueError, match="use_reentrant=False and their own context_fn, got"):
            routed.gradient_checkpointing_enable(wrong)


@pytest.mark.parametrize(
    ("kind", "inside"),
    [
        ("BertForSequenceClassification", "model.bert"),
        ("BertForMaskedLM", "model.bert"),
        ("XLMRobertaForMaskedLM", "model.roberta"),
        ("DistilBertForSequenceClassification", "model.distilbert"),
        ("ModernBertForSequenceClassification", "model.model"),
        ("Qwen3ForCausalLM", "model.model"),
    ],
)
def test_a_model_with_a_task_head_names_the_encoder_inside(kind, inside):
    import transformers

    family = {"X": "xlm-roberta", "D": "distilbert", "M": "modernbert", "Q": "qwen3"}.get(kind[0], "bert")
    model = getattr(transformers, kind)(tiny(family).config)
    message = f"a {kind} is no plain encoder: pass the encoder inside, {inside}$"
    with pytest.raises(ValueError, match=message):
        upcycle(model, ROUTES)
    assert isinstance(upcycle(model.get_submodule(inside.removeprefix("model.")), ROUTES), TaskRouted)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(routes=ROUTES, blocks=[0, 5]), r"0\.\.1, got \[0, 5\]"),
        (dict(routes=ROUTES, blocks="odd"), "'last' or different indices"),
        (dict(routes=[]), "at least one route"),
        (dict(routes="clustering"), r"not one text: \['clustering'\]"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        upcycle(tiny("bert"), **arguments)


def test_a_refused_model_keeps_its_pooling_head():
    model = tiny("bert", head=True)
    with pytest.raises(ValueError, match="last_half"):
        upcycle(model, ROUTES, blocks="first_half")
    assert model.pooler is not None


def test_what_is_no_model_is_named():
    with pytest.raises(ValueError, match="takes a Hugging Face encoder, not PosixPath"):
        upcycle(pathlib.Path("model"), ROUTES)


def test_a_flag_may_stand_before_the_tensors_and_is_refused_where_it_cannot_be_kept():
    routed = disturbed()
    hidden = routed(ROUTES[1], output_hidden_states=True, **batch()).hidden_states
    assert len(hidden) == 3
    torch.testing.assert_close(hidden[-1], routed(ROUTES[1], **batch()).last_hidden_state)
    with pytest.raises(ValueError, match="output_hidden_states: of sequences with several experts only"):
        routed(torch.tensor([3, 1, 0, 2, 0]), output_hidden_states=True, **batch())
    mixed = routed(torch.tensor([3, 1, 0, 2, 0]), return_dict=True, **batch())
    assert mixed.last_hidden_state.shape[0] == 5
    with pytest.raises(ValueError, match=r"no tensor among the inputs \(none\); input_ids is one"):
        routed(ROUTES[1])


def test_bad_routes_and_families_are_named():
    from transformers import AlbertConfig, AlbertModel

    with pytest.raises(ValueError, match="'albert'; known: nomic_bert"):
        upcycle(AlbertModel(AlbertConfig(hidden_size=32, num_attention_heads=2, intermediate_size=32)), ROUTES)
    routed = upcycle(tiny("bert"), ROUTES)
    with pytest.raises(ValueError, match="'sts' has no expert"):
        routed("sts", **batch())
    with pytest.raises(ValueError, match=r"must be in 0\.\.3"):
        routed(torch.tensor([0, 1, 2, 3, 4]), **batch())
    with pytest.raises(ValueError, match="experts already"):
        upcycle(routed.model, ROUTES)


@pytest.mark.parametrize("model_type", FAMILIES)
@pytest.mark.parametrize("experts", [2, 3])
def test_the_average_of_upcycled_experts_is_the_dense_model_exactly(model_type, experts):
    dense = tiny(model_type)
    averaged = average_experts(upcycle(copy.deepcopy(dense), ROUTES[:experts]))
    assert type(averaged) is type(dense)
    assert averaged.state_dict().keys() == dense.state_dict().keys()
    assert torch.equal(averaged(**batch()).last_hidden_state, dense(**batch()).last_hidden_state)


def test_the_average_is_the_mean_over_experts_each_once():
    routes = {"clustering": "documents", "search_document": "documents", "search_query": "query"}
    routed = upcycle(tiny("bert"), routes, [1])
    shared = routed.model.encoder.layer[0].output.dense.weight.detach().clone()
    experts = routed.model.encoder.layer[1].output.experts
    experts["documents"].dense.weight.data.fill_(1.0)
    experts["query"].dense.weight.data.fill_(4.0)
    averaged = average_experts(routed)
    assert averaged.encoder.layer[1].output.dense.weight.unique().tolist() == [2.5]  # by route it would be 2
    assert torch.equal(averaged.encoder.layer[0].output.dense.weight, shared)
    averaged.encoder.layer[0].output.dense.weight.data.zero_()
    assert torch.equal(routed.model.encoder.layer[0].output.dense.weight, shared)  # weights of its own


def saved(folder, **changes):
    """A checkpoint of two experts in block 1, with changes to its mote.json."""
    upcycle(tiny("bert"), {"clustering": "a", "search_query": "b"}, [1]).save_pretrained(folder)
    mote = json.loads((folder / "mote.json").read_text()) | changes
    (folder / "mote.json").write_text(json.dumps(mote))
    return folder


def error_of(folder):
    with pytest.raises(ValueError, match=re.escape(str(folder))) as error:
        TaskRouted.from_pretrained(folder)
    message = str(error.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"routes": {"clustering": "a", "sts": "c"}}, "has no experts ['c'], which mote.json names; it has ['a', 'b']"),
        ({"routes": {"clustering": "a"}}, "has experts ['b'], which no route of mote.json names; it names ['a']"),
        ({"blocks": [0]}, "has experts in blocks [1], mote.json says [0]"),
        ({"blocks": [0, 1]}, "has experts in blocks [1], mote.json says [0, 1]"),
        ({"blocks": [2]}, "different indices in 0..1, got [2]"),
        ({"blocks": "every"}, '"blocks": [index]}, got {"routes"'),
        ({"routes": ["clustering"]}, 'must be {"routes": {route: expert}'),
        ({"routes": {}}, "at least one route"),
        ({"routes": {"clustering": "a.b"}}, "got ['a.b']"),
        ({"top_k": 1}, '"top_k": 1}'),
    ],
)
def test_a_checkpoint_with_another_task_map_or_other_blocks_is_named(changes, message, tmp_path):
    assert message in error_of(saved(tmp_path, **changes))


def test_a_checkpoint_of_another_family_or_size_is_named(tmp_path):
    assert "no mote.json and no config.json and no model.safetensors" in error_of(tmp_path)
    saved(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"intermediate_size": 48}))
    assert "has shape (64, 32), by config.json it must be (48, 32)" in error_of(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    assert "has no encoder.layer.2" in error_of(tmp_path)
    tiny("nomic_bert").config.save_pretrained(tmp_path)
    assert "no weights of model_type 'nomic_bert'" in error_of(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "albert"}))
    assert "no MoTE for model_type 'albert'; known: nomic_bert" in error_of(tmp_path)
    (tmp_path / "mote.json").write_text("{")
    assert "not valid JSON" in error_of(tmp_path)
