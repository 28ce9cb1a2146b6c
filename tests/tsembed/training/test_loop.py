"""Invariants of the training loop.

- It learns: 32 pairs are overfitted to recall@1 = 1, dense and with experts.
- An interrupted and resumed run ends with bitwise the weights of an uninterrupted one, dropout included.
- Two processes give the gradient of one (ratio and cosine 1 to 1e-4), load balancing included, and draw the same task.
- Norms and biases have no weight decay; inactive experts do not move; a non-finite loss names step and dataset.
- Length chunks do not change a gradient, nor a loss of routers; that of accumulated micro-batches is their mean.
- What chunks are split by is the same on every rank, and the same after an interruption.
- Every step has the learning rate of the schedule and a gradient that is clipped; dropout acts in training alone.
- Gradient checkpointing computes the blocks twice, and nothing else, where the settings ask for it.
"""

import json
import math

import numpy as np
import pytest
import torch
from datasets import Dataset

from study.presets import load_preset
from tests.ranks import run_ranks
from tests.tiny import run_settings, tiny, train
from tsembed.encoder.text import Encoder
from tsembed.evaluation.recall import recall_at_1
from tsembed.mote.experts import upcycle
from tsembed.mote.token_routing import route_tokens
from tsembed.settings import TokenRouting, Training, Variant
from tsembed.tasks import INSTRUCTIONS, ROUTES
from tsembed.training import loop
from tsembed.training.batches import StepBatches
from tsembed.training.loop import learning_rate, make_optimizer
from tsembed.training.objective import contrastive_loss
from tsembed.training.sampler import TaskSampler

pytestmark = pytest.mark.processor

TASKS = {"c": "classification", "k": "clustering", "r": "retrieval"}
MOTE = Variant(label="MoTE", experts={route: route for route in ROUTES})
TLR = Variant(label="TLR", token_routing=TokenRouting())
WORDS = "amber birch cedar delta ember fjord grove heath inlet joint kelp lunar maple north ocean pearl".split()


def tables(rows=32):
    found = {}
    for k, name in enumerate(TASKS):
        rng = np.random.default_rng(k)
        pairs = [
            (" ".join(rng.choice(WORDS, 4)), " ".join(rng.choice(WORDS, rng.integers(3, 12)))) for _ in range(rows)
        ]
        query, document = zip(*pairs, strict=True)
        found[name] = Dataset.from_dict({"query": query, "document": document, "group": range(rows)})
    return found


def settings(variant=MOTE, **training):
    defaults = dict(
        steps=12,
        batch_size=8,
        learning_rate=1e-3,
        warmup_steps=2,
        precision="fp32",
        max_query_tokens=32,
        max_document_tokens=32,
        task_sampling="balanced",
        checkpoint_every=100,
    )
    return run_settings(variant, Training(**defaults | training))


def make(tokenizer, variant=MOTE, dropout=0.0):
    model = tiny("bert")
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    if variant.experts:
        model = upcycle(model, variant.experts, variant.blocks)
    if variant.token_routing:
        model = route_tokens(model)
    return Encoder(model, tokenizer, instructions=dict(INSTRUCTIONS) if variant.instruction else None)


@pytest.mark.slow
@pytest.mark.parametrize("variant", [MOTE, TLR, Variant(label="EM", instruction=False)], ids=["MoTE", "TLR", "EM"])
def test_overfits_32_pairs(tokenizer, variant, tmp_path):
    data, variant = {"r": tables()["r"]}, variant.model_copy(update={"tasks": ("retrieval",)})
    encoder = make(tokenizer, variant)
    before = recall(encoder, data["r"])
    chosen = settings(variant, steps=50, batch_size=32, learning_rate=5e-3)
    assert train(chosen, encoder, data, TASKS, tmp_path)
    assert before < 0.6
    assert recall(encoder, data["r"]) == 1.0


def recall(encoder, table):
    q, d = encoder.encode(table["query"], "search_query"), encoder.encode(table["document"], "search_document")
    return recall_at_1(q, d, np.array(table["group"]))


def test_trainings_of_any_precision_follow_each_other_and_leave_nothing_behind(tokenizer, tmp_path):
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    mine = Accelerator(mixed_precision="no", gradient_accumulation_steps=3)
    for number, precision in enumerate(("bf16", "fp32", "bf16")):
        encoder, dtypes = make(tokenizer), set()
        hook = encoder.backbone.model.encoder.layer[0].attention.self.query.register_forward_hook(
            lambda module, inputs, output, seen=dtypes: seen.add(output.dtype)
        )
        assert train(settings(steps=2, precision=precision), encoder, tables(), TASKS, tmp_path / str(number))
        hook.remove()
        assert dtypes == {torch.bfloat16 if precision == "bf16" else torch.float32}
    assert AcceleratorState().mixed_precision == mine.mixed_precision == "no"
    assert mine.gradient_accumulation_steps == 3
    AcceleratorState._reset_state(reset_partial_state=True)
    assert train(settings(steps=2, precision="bf16"), make(tokenizer), tables(), TASKS, tmp_path / "last")
    assert not AcceleratorState._shared_state


def weights(encoder):
    return {name: p.detach().clone() for name, p in encoder.named_parameters()}


def read_metrics(folder):
    return [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]


def test_resumed_run_ends_with_bitwise_the_same_weights(tokenizer, tmp_path):
    whole = make(tokenizer, dropout=0.1)
    assert train(settings(checkpoint_every=5), whole, tables(), TASKS, tmp_path / "whole")
    first = make(tokenizer, dropout=0.1)
    assert not train(settings(checkpoint_every=5), first, tables(), TASKS, tmp_path / "cut", stop_after=8)
    partial = tmp_path / "cut" / "checkpoints" / "step-00000010.partial"  # a kill while a checkpoint is written
    partial.mkdir()
    second = make(tokenizer, dropout=0.1)
    assert train(settings(checkpoint_every=5), second, tables(), TASKS, tmp_path / "cut", resume=True)
    for name, p in weights(whole).items():
        assert torch.equal(p, weights(second)[name]), name
    rows = [read_metrics(tmp_path / d) for d in ("whole", "cut")]
    assert [r["step"] for r in rows[1]] == list(range(12))
    assert [r["loss"] for r in rows[0]] == [r["loss"] for r in rows[1]]
    assert len({r["loss"] for r in rows[0]}) == 12


def test_a_checkpoint_is_never_overwritten_or_mixed_with_other_data(tokenizer, tmp_path):
    train(settings(checkpoint_every=5), make(tokenizer), tables(), TASKS, tmp_path, stop_after=5)
    with pytest.raises(ValueError, match="has a checkpoint .*; resume it, or delete"):
        train(settings(checkpoint_every=5), make(tokenizer), tables(), TASKS, tmp_path)
    with pytest.raises(ValueError, match="other data or another schedule"):
        train(settings(checkpoint_every=5), make(tokenizer), tables(40), TASKS, tmp_path, resume=True)


def gradient(encoder, chosen, rank=0, world_size=1, wrap=lambda m: m, step=0, seed=1):
    """Gradient of one step, summed over its micro-batches, and its task."""
    from tsembed.training.objective import PairEncoder

    data = tables()
    sampler = TaskSampler({n: (t, 32) for n, t in TASKS.items()}, batch_size=8, steps=12, seed=seed)
    batches = StepBatches(
        data,
        TASKS,
        sampler,
        encoder,
        training=chosen.training,
        variant=chosen.variant,
        rank=rank,
        world_size=world_size,
    )
    model = wrap(PairEncoder(encoder, chosen.variant))
    for batch in batches[step]:
        (piece,) = batch.chunks
        contrastive_loss(model(piece), batch).backward()
    return {n: p.grad for n, p in encoder.named_parameters() if p.grad is not None}, batch.task


def ddp(model):
    return torch.nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)


def _two_ranks(rank, folder):
    from transformers import AutoTokenizer

    from tsembed.encoder.backbones import embedded_folder

    tokenizer = AutoTokenizer.from_pretrained(embedded_folder("embedded:all-MiniLM-L6-v2"))
    for step in range(3):
        encoder = make(tokenizer)
        found, task = gradient(encoder, settings(), rank, 2, ddp, step)
        torch.save((found, task), folder / f"rank{rank}-{step}.pt")


@pytest.mark.slow
def test_two_processes_equal_one(tokenizer, tmp_path):
    run_ranks(_two_ranks, 2, tmp_path)
    for step in range(3):
        expected, task = gradient(make(tokenizer), settings(), step=step)
        for rank in (0, 1):
            found, rank_task = torch.load(tmp_path / f"rank{rank}-{step}.pt")
            assert rank_task == task
            a = torch.cat([g.flatten() for g in expected.values()])
            b = torch.cat([found[name].flatten() for name in expected])
            assert set(found) == set(expected)
            assert (b.norm() / a.norm()).item() == pytest.approx(1, abs=1e-4)
            assert torch.nn.functional.cosine_similarity(a, b, dim=0).item() == pytest.approx(1, abs=1e-4)
            assert a.norm() > 1e-3


def test_chunking_by_length_does_not_change_the_gradient(tokenizer, monkeypatch):
    from tsembed.encoder import chunks

    found = []
    for cost in (0, 10**6):
        monkeypatch.setitem(chunks.FORWARD_PASS_COST_TOKENS, "cpu", cost)
        found.append(gradient(make(tokenizer), settings())[0])
    for name, expected in found[1].items():
        torch.testing.assert_close(found[0][name], expected, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("variant", [MOTE, TLR], ids=["MoTE", "TLR"])
def test_chunking_by_length_does_not_change_a_training(variant, tokenizer, tmp_path, monkeypatch):
    from tsembed.encoder import chunks

    rows, passes = {}, {}
    for cost in (0, 10**6):
        monkeypatch.setitem(chunks.FORWARD_PASS_COST_TOKENS, "cpu", cost)
        encoder = make(tokenizer, variant)
        passes[cost] = 0
        hook = encoder.backbone.model.encoder.layer[0].register_forward_hook(
            lambda *_, cost=cost: passes.update({cost: passes[cost] + 1})
        )
        train(settings(variant, steps=3), encoder, tables(), TASKS, tmp_path / str(cost))
        hook.remove()
        rows[cost] = read_metrics(tmp_path / str(cost))
    assert passes[0] > 2 * passes[10**6]
    for name in ("loss", "grad_norm"):
        few, many = ([row[name] for row in rows[cost]] for cost in (10**6, 0))
        assert many == pytest.approx(few, rel=2e-4), name


def test_a_resumed_training_splits_as_it_began(tokenizer, tmp_path, monkeypatch):
    from tsembed.encoder import chunks

    def run(folder, cost, **more):
        monkeypatch.setitem(chunks.FORWARD_PASS_COST_TOKENS, "cpu", cost)
        encoder = make(tokenizer, dropout=0.1)  # its masks are drawn per pass, so they tell how sequences were split
        train(settings(steps=8, checkpoint_every=3), encoder, tables(), TASKS, tmp_path / folder, **more)
        return weights(encoder)

    whole = run("whole", 0)
    run("cut", 0, stop_after=5)
    resumed = run("cut", 10**6, resume=True)
    assert all(torch.equal(p, resumed[name]) for name, p in whole.items())
    other = run("other", 10**6)
    assert not all(torch.equal(p, other[name]) for name, p in whole.items())


@pytest.mark.slow
def test_every_rank_splits_by_what_the_first_has_measured():
    run_ranks(_ranks_that_measure, 2)


def _ranks_that_measure(rank):
    from accelerate import Accelerator

    from tsembed.training import processes

    encoder = torch.nn.Linear(1, 1)
    encoder.routes = ("clustering",)
    processes.of_device = lambda *_: 100 + rank
    assert processes.pass_cost(Accelerator(cpu=True), encoder, encoder) == 100


def test_the_gradient_of_accumulated_micro_batches_is_their_mean(tokenizer, tmp_path):
    rows = {}
    for micro in (None, 4):
        chosen = settings(micro_batch_size=micro)
        train(chosen, make(tokenizer), tables(), TASKS, tmp_path / str(micro), stop_after=1)
        (rows[micro],) = read_metrics(tmp_path / str(micro))
        summed, task = gradient(make(tokenizer), chosen, seed=chosen.seed)
        norm = torch.cat([g.flatten() for g in summed.values()]).norm().item() / (8 // (micro or 8))
        assert rows[micro]["task"] == task
        assert rows[micro]["grad_norm"] == pytest.approx(norm, rel=1e-4)
    assert rows[4]["loss"] < 0.9 * rows[None]["loss"], "half the negatives must be felt"


def test_every_step_has_the_rate_of_the_schedule_and_a_clipped_gradient(tokenizer, tmp_path, monkeypatch):
    seen = []

    def note(optimizer, *_):
        parts = [p.grad.norm() for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        seen.append(([group["lr"] for group in optimizer.param_groups], torch.stack(parts).norm().item()))

    def watched(*arguments):
        optimizer = make_optimizer(*arguments)
        optimizer.register_step_pre_hook(note)
        return optimizer

    monkeypatch.setattr(loop, "make_optimizer", watched)
    chosen = settings(steps=6, warmup_steps=2, micro_batch_size=4, max_grad_norm=0.1)
    train(chosen, make(tokenizer), tables(), TASKS, tmp_path)
    rows = read_metrics(tmp_path)
    expected = [learning_rate(step, 6, chosen.training) for step in range(6)]
    assert len(set(expected)) > 3
    assert [rates for rates, _ in seen] == [[rate, rate] for rate in expected]
    assert [row["lr"] for row in rows] == expected
    assert min(row["grad_norm"] for row in rows) > 0.2, "what is logged is the norm before"
    assert [norm for _, norm in seen] == pytest.approx([0.1] * 6, rel=1e-3)


def test_dropout_acts_in_every_step_and_not_afterwards(tokenizer, tmp_path):
    losses = {}
    for dropout in (0.0, 0.5):
        encoder = make(tokenizer, dropout=dropout)
        assert train(settings(steps=2), encoder, tables(), TASKS, tmp_path / str(dropout))
        losses[dropout] = [row["loss"] for row in read_metrics(tmp_path / str(dropout))]
        assert not any(module.training for module in encoder.modules())
    assert losses[0.5][0] != pytest.approx(losses[0.0][0], rel=1e-3), "before any weight has moved"


@pytest.mark.parametrize("variant", [MOTE, TLR, Variant(label="EM", instruction=False)], ids=["MoTE", "TLR", "EM"])
def test_checkpointing_computes_the_blocks_twice_where_the_settings_ask_for_it(tokenizer, variant, tmp_path):
    calls, rows = {}, {}
    for asked in (False, True):
        encoder = make(tokenizer, variant)
        block = getattr(encoder.backbone, "model", encoder.backbone).encoder.layer[0].attention.self.query
        block.register_forward_hook(lambda *_, key=asked: calls.update({key: calls.get(key, 0) + 1}))
        train(settings(variant, steps=2, gradient_checkpointing=asked), encoder, tables(), TASKS, tmp_path / str(asked))
        rows[asked] = [row["grad_norm"] for row in read_metrics(tmp_path / str(asked))]
    assert calls[True] == 2 * calls[False] > 0
    assert rows[True] == pytest.approx(rows[False], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("variant", [MOTE, TLR], ids=["MoTE", "TLR"])
def test_the_pieces_of_the_paper_preset_give_what_its_whole_batch_gives(variant, tokenizer, tmp_path):
    paper = load_preset("paper").training
    share, size = paper.batch_size // 8, paper.grad_cache_chunk_size  # of a machine with eight GPUs
    assert share // size == 16
    found = []
    for pieces in (None, size):
        chosen = settings(variant, steps=2, batch_size=share, grad_cache_chunk_size=pieces)
        encoder, folder = make(tokenizer, variant), tmp_path / str(pieces)
        before = weights(encoder)
        train(chosen, encoder, tables(share + 32), TASKS, folder)
        moved = {name: p - before[name] for name, p in weights(encoder).items()}
        found.append((read_metrics(folder), moved))
    (whole, expected), (cut, moved) = found
    for name in ("loss", "grad_norm"):
        assert [row[name] for row in cut] == pytest.approx([row[name] for row in whole], rel=1e-4)
    largest = max(p.abs().max() for p in expected.values())
    assert largest > 1e-4
    assert max((moved[name] - p).abs().max() for name, p in expected.items()) < largest / 50


def test_experts_of_other_tasks_do_not_move(tokenizer, tmp_path):
    encoder = make(tokenizer)
    before = weights(encoder)
    only = MOTE.model_copy(update={"tasks": ("clustering",)})
    train(settings(only, steps=9, weight_decay=0.1), encoder, tables(), TASKS, tmp_path)
    for name, p in weights(encoder).items():
        expert = name.partition(".experts.")[2].partition(".")[0]
        assert torch.equal(p, before[name]) == (expert not in ("", "clustering")), name


def test_load_balancing_reaches_the_routers_alone_through_its_factor(tokenizer, tmp_path):
    found = []
    for factor in (0.0, 10.0):
        variant = TLR.model_copy(update={"token_routing": TokenRouting(load_balancing=factor)})
        encoder = make(tokenizer, variant)
        train(settings(variant, steps=6), encoder, tables(), TASKS, tmp_path / str(factor))
        found.append((weights(encoder), read_metrics(tmp_path / str(factor))))
    assert found[0][1][0]["loss"] == found[1][1][0]["loss"], "the logged loss is InfoNCE alone"
    assert any(not torch.equal(p, found[1][0][name]) for name, p in found[0][0].items() if ".router." in name)


BALANCED = TLR.model_copy(update={"token_routing": TokenRouting(load_balancing=10.0)})


def _trained_ranks(rank, folder):
    from transformers import AutoTokenizer

    from tsembed.encoder.backbones import embedded_folder

    tokenizer = AutoTokenizer.from_pretrained(embedded_folder("embedded:all-MiniLM-L6-v2"))
    train(settings(BALANCED, steps=2, grad_cache_chunk_size=2), make(tokenizer, BALANCED), tables(), TASKS, folder)


@pytest.mark.slow
def test_load_balancing_on_two_ranks_is_that_of_one_process(tokenizer, tmp_path):
    run_ranks(_trained_ranks, 2, tmp_path / "two")
    norms = {}
    for factor in (0.0, 10.0):
        variant = TLR.model_copy(update={"token_routing": TokenRouting(load_balancing=factor)})
        train(settings(variant, steps=2), make(tokenizer, variant), tables(), TASKS, tmp_path / str(factor))
        norms[factor] = [row["grad_norm"] for row in read_metrics(tmp_path / str(factor))]
    found = [row["grad_norm"] for row in read_metrics(tmp_path / "two")]
    assert found == pytest.approx(norms[10.0], rel=1e-4)
    assert found != pytest.approx(norms[0.0], rel=1e-2), "balancing must be felt"


def test_no_weight_decay_on_norms_and_biases(tokenizer):
    optimizer = make_optimizer(make(tokenizer), Training(weight_decay=0.1))
    decayed, plain = optimizer.param_groups
    assert decayed["weight_decay"] == 0.1
    assert all(p.ndim >= 2 for p in decayed["params"])
    assert plain["weight_decay"] == 0
    assert plain["params"]
    assert all(p.ndim < 2 for p in plain["params"])


def test_non_finite_loss_names_step_task_and_dataset(tokenizer, tmp_path):
    encoder = make(tokenizer)
    encoder.backbone.model.embeddings.LayerNorm.weight.data.fill_(math.nan)
    with pytest.raises(FloatingPointError, match=r"loss is nan at step 0, task \w+, dataset \w"):
        train(settings(), encoder, tables(), TASKS, tmp_path)


def test_linear_schedule_by_hand():
    training = Training(learning_rate=2.0, warmup_steps=2, schedule="linear")
    assert [learning_rate(step, 6, training) for step in range(6)] == [1.0, 2.0, 2.0, 1.5, 1.0, 0.5]


def test_cosine_schedule_ends_near_zero():
    training = Training(learning_rate=1.0, warmup_steps=0, schedule="cosine")
    values = [learning_rate(s, 10, training) for s in range(10)]
    assert values[0] == 1
    assert values[5] == pytest.approx(0.5)
    assert values[9] < 0.03
    assert values == sorted(values, reverse=True)


def test_batches_that_cannot_be_shared_are_an_error(tokenizer):
    with pytest.raises(ValueError, match="multiple of micro_batch_size 8, and that of the 3 processes"):
        gradient(make(tokenizer), settings(), world_size=3)
