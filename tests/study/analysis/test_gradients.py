"""Invariants of gradient conflict.

- Part and block of every parameter: feed-forward is what makes up an expert, in every family.
- The cosine is that of the gradients that `backward` gives; gradients of opposite losses have -1, of one batch 1.
- Tasks with experts of their own share attention and embeddings alone; a shared expert is compared, a norm and all.
- With gradient checkpointing, where the training had it, they are the same, dropout or not.
- All methods see the same batches, which no training seed draws; the encoder is left as it was.
"""

from functools import partial

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers.modeling_layers import GradientCheckpointingLayer

from study.analysis import experts
from study.analysis.results import read
from study.analysis.statistics import intervals
from study.probes import gradients
from study.probes.parameters import locate_parameter
from tests.tiny import FAMILIES, run_settings, tiny
from tsembed.encoder.adapters import adapt
from tsembed.encoder.text import Encoder
from tsembed.mote.experts import upcycle
from tsembed.mote.families import FAMILIES as NAMES
from tsembed.mote.per_expert import PerExpert
from tsembed.mote.token_routing import route_tokens
from tsembed.settings import Adapter, TokenRouting, Training, Variant
from tsembed.tasks import INSTRUCTIONS, ROUTES, TASKS, TEXT_TASKS
from tsembed.training.batches import StepBatches
from tsembed.training.objective import contrastive_loss
from tsembed.training.sampler import TaskSampler

TASK_OF = {"c": "classification", "k": "clustering", "r": "retrieval"}
PAIRS = {("classification", "clustering"), ("classification", "retrieval"), ("clustering", "retrieval")}
WORDS = "amber birch cedar delta ember fjord grove heath inlet joint kelp lunar maple north ocean pearl".split()
OWN = {route: route for route in ROUTES}
SHARED = OWN | {"clustering": "both", "search_document": "both"}


@pytest.fixture(scope="module")
def tables():
    rng = np.random.default_rng(0)
    pairs = {name: [[" ".join(rng.choice(WORDS, 4)) for _ in range(24)] for _ in "qd"] for name in TASK_OF}
    return {n: Dataset.from_dict({"query": q, "document": d, "group": range(24)}) for n, (q, d) in pairs.items()}


def settings(**variant):
    training = Training(steps=6, batch_size=6, precision="fp32", max_query_tokens=16, max_document_tokens=16)
    return run_settings(Variant(label="V", **variant), training)


def encoder_of(tokenizer, experts=None):
    model = tiny("bert")
    return Encoder(upcycle(model, experts) if experts else model, tokenizer, instructions=dict(INSTRUCTIONS)).eval()


@pytest.mark.parametrize("model_type", FAMILIES)
def test_feed_forward_is_what_makes_up_an_expert(model_type):
    routed = upcycle(tiny(model_type), ROUTES)
    experts = {id(p) for module in routed.modules() if isinstance(module, PerExpert) for p in module.parameters()}
    inside = {id(p) for p in routed.model.get_submodule(NAMES[model_type].blocks).parameters()}
    blocks = set()
    for name, p in routed.named_parameters():
        block, part = locate_parameter(name, model_type)
        assert (part == "feed_forward") == (id(p) in experts)
        assert (part == "embeddings") == (id(p) not in inside)
        blocks.add(block)
    assert blocks == {"0", "1", "embeddings"}


def test_cosines_are_those_of_backward(tokenizer, tables):
    encoder, chosen = encoder_of(tokenizer), settings()
    found = gradients.task_gradients_conflict(encoder, tables, TASK_OF, chosen, batches=2)
    sampler = TaskSampler(
        {n: (TASK_OF[n], 24) for n in tables}, batch_size=6, steps=6, sampling="balanced", seed=gradients.PROBE_SEED
    )
    steps = StepBatches(tables, TASK_OF, sampler, encoder, training=chosen.training, variant=chosen.variant)
    names = [n for n, _ in encoder.backbone.named_parameters() if locate_parameter(n, "bert") == ("1", "attention")]
    vectors = {}
    for step in range(6):
        (batch,) = steps[step]
        assert batch.temperature == TASKS[batch.task].temperature
        encoder.zero_grad()
        (piece,) = batch.chunks
        outputs = {"query": encoder.embed(piece.queries), "document": encoder.embed(piece.documents)}
        contrastive_loss(outputs, batch).backward()
        weights = dict(encoder.backbone.named_parameters())
        vectors.setdefault(batch.task, []).append(torch.cat([weights[n].grad.flatten() for n in names]))
    rows = found[(found.block == "1") & (found.part == "attention")].set_index(["first", "second", "batch"])
    for first, second in PAIRS:
        for number in range(2):
            a, b = vectors[first][number], vectors[second][number]
            expected = torch.nn.functional.cosine_similarity(a, b, dim=0).item()
            assert rows.cosine[first, second, number] == pytest.approx(expected, abs=1e-5)
            assert rows.norm_first[first, second, number] == pytest.approx(a.norm().item(), rel=1e-4)
    assert rows.cosine.abs().max() < 0.999
    assert len(rows) == 2 * len(PAIRS) + len(TEXT_TASKS)


def test_chunks_of_a_batch_give_the_gradient_of_the_whole(tokenizer, tables):
    encoder, chosen = encoder_of(tokenizer, OWN), settings(experts=OWN)
    small = chosen.model_copy(update={"training": chosen.training.model_copy(update={"grad_cache_chunk_size": 2})})
    whole, pieces = (gradients.task_gradients_conflict(encoder, tables, TASK_OF, s, batches=2) for s in (chosen, small))
    np.testing.assert_allclose(pieces.cosine, whole.cosine, atol=1e-4)
    np.testing.assert_allclose(pieces.norm_first, whole.norm_first, rtol=1e-4)
    assert all(p.grad is None for p in encoder.parameters())


def kinds_of_backbone(model_type="bert"):
    """What a run may have trained, with dropout in it: name -> backbone and the settings of its variant."""
    plain = partial(tiny, model_type, dropout=0.3)
    yield "dense", plain(), {}
    yield "MoTE", upcycle(plain(), OWN), {"experts": OWN}
    yield "TLR", route_tokens(plain(), num_experts=2), {"token_routing": TokenRouting(num_experts=2)}
    for adapter in (Adapter(kind="lora", r=2), Adapter(r=2)):
        yield adapter.kind, adapt(plain(), adapter, None, seed=0), {"adapter": adapter}


@pytest.mark.parametrize("model_type", ["bert", "nomic_bert", "qwen2"])
def test_checkpointing_recomputes_and_changes_nothing(tokenizer, tables, model_type):
    for name, backbone, variant in kinds_of_backbone(model_type):
        for key, p in backbone.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(p, std=0.1, generator=torch.Generator().manual_seed(len(key)))
        encoder = Encoder(backbone, tokenizer, instructions=dict(INSTRUCTIONS)).eval()
        block = next(m for m in encoder.modules() if isinstance(m, GradientCheckpointingLayer))
        attention = next(m for n, m in block.named_modules() if n.endswith("attention") or n.endswith("attn"))
        passes, found = [], []
        hook = attention.register_forward_hook(lambda *_, passes=passes: passes.append(1))
        for checkpointing in (False, True):
            chosen = settings(**variant)
            update = {"gradient_checkpointing": checkpointing}
            chosen = chosen.model_copy(update={"training": chosen.training.model_copy(update=update)})
            found.append(gradients.task_gradients_conflict(encoder, tables, TASK_OF, chosen, batches=2))
            found.append(len(passes))
            passes.clear()
        hook.remove()
        rows, forward, checkpointed_rows, recomputed = found
        assert recomputed > forward, name
        np.testing.assert_allclose(checkpointed_rows.cosine, rows.cosine, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(checkpointed_rows.norm_first, rows.norm_first, rtol=1e-5, err_msg=name)
        assert not any(m.training or getattr(m, "gradient_checkpointing", False) for m in encoder.modules()), name


def test_one_and_opposite_gradients():
    where, weight = ("0", "attention"), torch.randn(9)
    a, zero = {where: {"w": weight}}, {where: {"w": torch.zeros(9)}}
    (same,), (opposite,) = (gradients._rows(0, "x", "y", a, {where: {"w": by * weight}}) for by in (2, -3))
    assert same["cosine"] == pytest.approx(1)
    assert opposite["cosine"] == pytest.approx(-1)
    assert np.isnan(gradients._rows(0, "x", "y", a, zero)[0]["cosine"])
    assert gradients._rows(0, "x", "y", a, {where: {"v": weight}}) == []


@pytest.mark.parametrize(("experts", "shares"), [(None, PAIRS), (OWN, set()), (SHARED, {("clustering", "retrieval")})])
def test_only_what_both_tasks_train_is_compared(tokenizer, tables, experts, shares):
    chosen = settings(experts=experts)
    found = gradients.task_gradients_conflict(encoder_of(tokenizer, experts), tables, TASK_OF, chosen, batches=2)
    for (first, second), rows in found.groupby(["first", "second"]):
        has = "feed_forward" in set(rows.part)
        assert has == (first == second or (first, second) in shares)
        assert {"attention", "embeddings"} <= set(rows.part)
    assert found.cosine.between(-1, 1).all()
    assert (found[["norm_first", "norm_second"]] > 0).all(axis=None)


def test_the_encoder_is_left_as_it_was_and_the_temperature_is_the_tasks(tokenizer, tables):
    encoder = encoder_of(tokenizer, OWN)
    before = {name: p.detach().clone() for name, p in encoder.named_parameters()}
    found = [
        gradients.task_gradients_conflict(encoder, tables, TASK_OF, settings(experts=OWN, **other), batches=2)
        for other in ({}, {"batching": "heterogeneous", "temperature": 0.5})
    ]
    assert found[0].equals(found[1])
    assert not encoder.training
    assert all(p.grad is None for p in encoder.parameters())
    assert all(torch.equal(p, before[name]) for name, p in encoder.named_parameters())


def test_sets_of_a_task_are_compared_and_those_of_two_tasks_are_not(tokenizer, tables):
    encoder, chosen = encoder_of(tokenizer), settings()
    turned = tables["c"].rename_columns({"query": "document", "document": "query"})
    grown, task_of = tables | {"c2": turned}, TASK_OF | {"c2": "classification"}
    found = gradients.set_gradients_conflict(encoder, grown, task_of, chosen)
    assert set(zip(found["first"], found.second, strict=True)) == {(n, n) for n in (*TASK_OF, "c2")} | {("c", "c2")}
    assert found[found["first"] != found.second].batch.nunique() == 2
    assert set(found.task) == set(task_of.values())
    alone = gradients.task_gradients_conflict(encoder, {"c": tables["c"]}, {"c": "classification"}, chosen, batches=2)
    own = found[(found["first"] == "c") & (found.second == "c")]
    assert own.cosine.tolist() == pytest.approx(alone.cosine.tolist())
    with pytest.raises(ValueError, match="batches must be >= 2 .*got 1"):
        gradients.set_gradients_conflict(encoder, tables, TASK_OF, chosen, batches=1)


def test_one_batch_is_an_error(tokenizer, tables):
    with pytest.raises(ValueError, match="batches must be >= 2 .*got 1"):
        gradients.task_gradients_conflict(encoder_of(tokenizer), tables, TASK_OF, settings(), batches=1)


def test_files_of_runs_are_read_with_their_blocks_as_text(tokenizer, tables, tmp_path, monkeypatch):
    found = gradients.task_gradients_conflict(encoder_of(tokenizer), tables, TASK_OF, settings(), batches=2)
    runs = {("ic", seed): tmp_path / f"ic{seed}" for seed in range(2)}
    for folder in runs.values():
        folder.mkdir()
        found.to_csv(folder / "gradients.csv", index=False)
    monkeypatch.setattr("study.analysis.results.run_folders", lambda preset, *studies, **options: runs)
    rows = experts.load_gradients("p", ["ic"])
    assert set(rows.block) == {"0", "1", "embeddings"}
    assert set(rows.seed) == {0, 1}
    pair = "classification–clustering"
    table = experts.per_batch(rows, "ic", [pair])
    chosen = found[(found["first"] == "classification") & (found.second == "clustering") & (found.part == "attention")]
    assert table.shape == (2, 2)
    assert table.to_numpy().mean() == pytest.approx(chosen.cosine.mean())
    means = intervals(rows[rows.part == "attention"], "cosine", ["pair", "block"], ["batch"])
    assert list(means.columns) == ["pair", "block", "mean", "low", "high", "seeds"]
    assert set(means.seeds) == {2}
    assert ((means.low <= means["mean"]) & (means["mean"] <= means.high)).all()
    blocks = experts.by_block(rows).set_index(["pair", "same_task", "block"])
    assert len(blocks) == (1 + 3) * 2 * 2
    first = chosen[chosen.block == "0"]
    assert blocks["mean"][pair, False, "0"] == pytest.approx(first.cosine.mean())
    own = found[(found["first"] == found["second"]) & (found.block == "0") & (found.part == "attention")]
    own = own.set_index("first").cosine
    assert blocks["mean"][pair, True, "0"] == pytest.approx(own[["classification", "clustering"]].mean())
    assert blocks["mean"][experts.ALL_PAIRS, True, "0"] == pytest.approx(own.mean())
    with pytest.raises(ValueError, match="ic: no attention gradients of a–b"):
        experts.per_batch(rows, "ic", ["a–b"])
    with pytest.raises(ValueError, match="preset p has no run of mote"):
        experts.load_gradients("p", ["ic", "mote"])
    with pytest.raises(ValueError, match="ic0 has no drift.csv: was it measured for variant 'ic'"):
        read("p", ["ic"], "drift.csv")
