"""Invariants of training adapters, with pictures, in two stages.

- Every method overfits 32 pairs to recall@1 = 1; the frozen backbone does not move.
- Routers move by their own rate, without weight decay.
- Gradient checkpointing computes the blocks twice, and gives the same gradient.
- The second stage's weights are active: they change the loss from its first step on, and beta = 0 is plain InfoNCE.
- A run with cached gradients is the run without, pictures and load balancing included.
- A run that is interrupted in either stage ends with bitwise the weights of an uninterrupted one.
- Two processes give the gradient of one, in both stages, cached or not.
"""

import json

import numpy as np
import pytest
import torch
from datasets import Dataset

from tests.ranks import run_ranks
from tests.tiny import run_settings, train
from tests.tiny_images import BACKBONE, image_encoder, mosaic
from tsembed.encoder.build import build
from tsembed.evaluation.recall import recall_at_1
from tsembed.settings import Adapter, Negatives, Training, Variant
from tsembed.tasks import IMAGE_ROUTES
from tsembed.training.batches import StepBatches, inputs_of
from tsembed.training.loop import make_optimizer
from tsembed.training.objective import PairEncoder, contrastive_loss, information_loss, weighting
from tsembed.training.sampler import TaskSampler

pytestmark = pytest.mark.processor

TASKS = {"c": "image_classification", "g": "visual_grounding"}
EXPERTS = {route: route for route in IMAGE_ROUTES}
TSEMBED = {"adapter": Adapter(r=4), "negatives": Negatives(first_stage=0.5, beta=30.0)}
METHODS = {
    "LoRA": {"adapter": Adapter(kind="lora", r=8)},
    "MoE-LoRA": {"adapter": Adapter(r=4)},
    "by sequence": {"adapter": Adapter(r=4, router="sequence", shared_experts=1)},
    "by question": {"adapter": Adapter(r=4, lora_alpha=16, router="question", top_k=2, shared_experts=1)},
    "by task": {"adapter": Adapter(r=4, router="task"), "experts": EXPERTS},
    "TSEmbed": TSEMBED,
}


def tables(rows=32):
    """A numbered picture -> its number; a number -> its picture."""
    numbers = [f"number {i // 8} {i % 8}" for i in range(rows)]
    pictures = [mosaic(i, cells=(1 + i % 3, 2)) for i in range(rows)]
    none, group = [None] * rows, list(range(rows))
    one = {"query": [""] * rows, "query_image": pictures, "document": numbers, "document_image": none, "group": group}
    other = {"query": numbers, "query_image": none, "document": ["the picture"] * rows, "document_image": pictures}
    return {"c": Dataset.from_dict(one), "g": Dataset.from_dict(other | {"group": group})}


def settings(method="TSEmbed", variant=None, **training):
    defaults = dict(
        steps=12,
        batch_size=8,
        learning_rate=3e-3,
        warmup_steps=2,
        precision="fp32",
        max_query_tokens=48,
        max_document_tokens=48,
        task_sampling="balanced",
        checkpoint_every=4,
    )
    chosen = Variant(label=method, starts_from="base", tasks=tuple(TASKS.values()), **variant or METHODS[method])
    return run_settings(chosen, Training(**defaults | training), BACKBONE)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "model"
    image_encoder().save(folder)
    return folder


def make(base, chosen):
    return build(chosen.backbone, chosen.variant, seed=chosen.seed, start=base)


def weights(encoder):
    return {name: p.detach().clone() for name, p in encoder.named_parameters()}


def metrics(folder):
    return [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_overfits_32_pairs(base, method, tmp_path):
    data = {"c": tables()["c"]}
    chosen = settings(method, steps=60, batch_size=32, learning_rate=3e-3, checkpoint_every=100)
    chosen = chosen.model_copy(update={"variant": chosen.variant.model_copy(update={"tasks": (TASKS["c"],)})})
    encoder = make(base, chosen)
    before, score = weights(encoder), recall(encoder, data["c"])
    assert train(chosen, encoder, data, TASKS, tmp_path)
    assert score < 0.6
    assert recall(encoder, data["c"]) == 1.0
    for name, p in weights(encoder).items():
        assert "lora_" in name or torch.equal(p, before[name]), name


def recall(encoder, table):
    pairs = table[:]
    q, d = (encoder.encode(inputs_of(pairs, side), TASKS["c"]) for side in ("query", "document"))
    return recall_at_1(q, d, np.array(pairs["group"]))


@pytest.mark.parametrize("method", ["LoRA", "MoE-LoRA"])
def test_checkpointing_computes_adapted_blocks_twice(base, method, tmp_path):
    calls, norms = {}, {}
    for asked in (False, True):
        chosen = settings(method, steps=1, gradient_checkpointing=asked)
        encoder = make(base, chosen)
        (layer,) = [m for name, m in encoder.named_modules() if name.endswith("language_model.layers.0.mlp.gate_proj")]
        layer.register_forward_hook(
            lambda module, *_, key=asked: calls.update({key: calls.get(key, 0) + module.training})
        )
        train(chosen, encoder, tables(), TASKS, tmp_path / str(asked))
        norms[asked] = [row["grad_norm"] for row in metrics(tmp_path / str(asked))]
    assert calls[True] == 2 * calls[False] > 0
    assert norms[True] == pytest.approx(norms[False], rel=1e-5)


def routers(encoder):
    return {name: p for name, p in weights(encoder).items() if "moe_lora_router" in name}


def test_routers_have_a_rate_of_their_own_and_no_weight_decay(base, tmp_path):
    moved = {}
    for scale in (1.0, 10.0):
        chosen = settings(
            variant={"adapter": Adapter(r=4, router_learning_rate_scale=scale)}, steps=6, weight_decay=0.3
        )
        encoder = make(base, chosen)
        *_, group = make_optimizer(encoder, chosen.training, chosen.variant.adapter).param_groups
        assert {id(p) for p in group["params"]} == {id(p) for n, p in encoder.named_parameters() if "router" in n}
        assert (group["weight_decay"], group["scale"]) == (0.0, scale)
        before = routers(encoder)
        train(chosen, encoder, tables(), TASKS, tmp_path / str(scale))
        moved[scale] = sum((p - before[name]).norm() for name, p in routers(encoder).items())
    assert 5 < moved[10.0] / moved[1.0] < 20


@pytest.mark.slow
def test_the_second_stage_weighs_the_negatives(base, tmp_path):
    losses = {}
    for name, variant in {
        "plain": METHODS["MoE-LoRA"],
        "weighted": TSEMBED,
        "flat": TSEMBED | {"negatives": Negatives(first_stage=0.5, beta=0.0)},
        "random": TSEMBED | {"negatives": Negatives(weights="random", first_stage=0.5, beta=30.0)},
        "hardness": TSEMBED | {"negatives": Negatives(weights="hardness", first_stage=0.5, beta=30.0)},
        "last": TSEMBED | {"negatives": Negatives(signature="last", similarity="kl", first_stage=0.5, beta=30.0)},
        "centered": TSEMBED | {"negatives": Negatives(centered=True, first_stage=0.5, beta=3.0)},
        "positive": TSEMBED | {"negatives": Negatives(compared_with="positive", first_stage=0.5, beta=30.0)},
        "deviation": TSEMBED | {"negatives": Negatives(beta=1.0, beta_unit="deviation", first_stage=0.5)},
    }.items():
        chosen = settings(variant=variant, steps=8)
        train(chosen, make(base, chosen), tables(), TASKS, tmp_path / name)
        rows = metrics(tmp_path / name)
        losses[name] = [row["loss"] for row in rows]
        stages = [row.get("stage") for row in rows]
        assert stages == [None] * 8 if name == "plain" else stages == [1] * 4 + [2] * 4
    assert losses["flat"] == pytest.approx(losses["plain"], rel=1e-5)
    for name in ("weighted", "random", "hardness", "last", "centered", "positive", "deviation"):
        assert losses[name][:4] == losses["plain"][:4], name
        assert losses[name][4] != losses["plain"][4], name
    assert len({rows[4] for rows in losses.values()} | {losses["flat"][4]}) >= 8


MIXED = {"batching": "mixed", "temperature": 0.05}


@pytest.mark.parametrize("micro", [None, 4])
def test_cached_gradients_change_nothing(base, tmp_path, micro):
    found = []
    for cached in (None, 2):
        variant = TSEMBED | MIXED | {"adapter": Adapter(r=4, load_balancing=0.1, information_loss=0.1)}
        chosen = settings(
            variant=variant, steps=6, micro_batch_size=micro, grad_cache_chunk_size=cached, learning_rate=1e-3
        )
        encoder = make(base, chosen)
        train(chosen, encoder, tables(), TASKS, tmp_path / str(cached))
        found.append((weights(encoder), metrics(tmp_path / str(cached))))
    assert [row["stage"] for row in found[0][1]] == [1, 1, 1, 2, 2, 2]
    for plain, cached in zip(*(rows for _, rows in found), strict=True):
        assert cached["loss"] == pytest.approx(plain["loss"], rel=1e-4)
        assert cached["grad_norm"] == pytest.approx(plain["grad_norm"], rel=1e-3)
    moved = [name for name, p in found[0][0].items() if "moe_lora_router" in name]
    assert moved
    for name, p in found[0][0].items():
        torch.testing.assert_close(found[1][0][name], p, atol=2e-4, rtol=1e-3, msg=name)


def test_experts_by_set_train_on_their_set_and_the_shared_one_on_all(base, tmp_path):
    adapter = Adapter(r=4, lora_alpha=16, router="task", shared_experts=1)
    chosen = settings(variant={"adapter": adapter, "routed_by": "set"}, steps=2, task_sampling="balanced")
    variant = chosen.variant.model_copy(update={"tasks": (TASKS["c"],)}).with_expert_per_set(["g", "c"])
    assert variant.experts == {"g": "g", "c": "c"}
    chosen = chosen.model_copy(update={"variant": variant})
    encoder = make(base, chosen)
    assert encoder.routes == ("g", "c", "other sets")
    train(chosen, encoder, tables(), TASKS, tmp_path)
    moved = [p.abs().amax(0) for n, p in encoder.named_parameters() if "moe_lora_B" in n]
    assert moved
    for each in moved:
        of_g, of_c, shared = each.split(4)
        assert of_g.max() == 0 < min(of_c.max(), shared.max())
    with pytest.raises(ValueError, match="routed_by 'set': experts has none for the training sets d"):
        train(chosen, make(base, chosen), tables() | {"d": tables()["c"]}, TASKS | {"d": TASKS["c"]}, tmp_path / "d")


def test_task_experts_keep_their_routes_in_whatever_order_they_are_given(base):
    found = []
    for routes in (IMAGE_ROUTES, IMAGE_ROUTES[::-1]):
        experts = {route: route for route in routes}
        variant = {"adapter": Adapter(r=4, router="task"), "experts": experts}
        encoder = make(base, settings(variant=variant))
        found.append(encoder.backbone.peft_config["default"].route_names)
    assert found == [list(IMAGE_ROUTES)] * 2


def test_the_information_loss_makes_the_experts_tell_the_tasks_apart(base, tmp_path):
    reached = {}
    for weight in (0.0, 3.0):
        adapter = Adapter(r=4, information_loss=weight, router_learning_rate_scale=10.0)
        chosen = settings(variant=MIXED | {"adapter": adapter}, steps=16)
        train(chosen, make(base, chosen), tables(), TASKS, tmp_path / str(weight))
        rows = [json.loads(row) for row in (tmp_path / str(weight) / "routing.jsonl").read_text().splitlines()]
        assert rows[-1]["set_information"] == pytest.approx(rows[-1]["mutual_information"]), "each task has one set"
        reached[weight] = rows[-1]
    assert reached[0.0]["untrained"] == reached[3.0]["untrained"] > 0
    assert reached[3.0]["mutual_information"] > 3 * max(reached[0.0]["mutual_information"], reached[0.0]["untrained"])


def test_micro_batches_of_a_step_are_one_observation_of_its_routing(base, tmp_path):
    negatives, rows = Negatives(window=2, first_stage_max=1.0), []
    for micro in (None, 4):
        variant = {"adapter": Adapter(r=4), "negatives": negatives}
        chosen = settings(variant=variant, steps=6, micro_batch_size=micro, learning_rate=1e-9)
        train(chosen, make(base, chosen), tables(), TASKS, tmp_path / str(micro))
        rows.append([json.loads(row) for row in (tmp_path / str(micro) / "routing.jsonl").read_text().splitlines()])
    assert [row["step"] for row in rows[0]] == [1, 3, 5] == [row["step"] for row in rows[1]]
    for whole, parts in zip(*rows, strict=True):
        assert parts["mutual_information"] == pytest.approx(whole["mutual_information"], rel=1e-4)
        assert parts["use"]


@pytest.mark.parametrize("stop", [5, 9])
@pytest.mark.parametrize("first_stage", [0.5, "specialised"])
def test_a_run_interrupted_in_either_stage_resumes_to_the_same_weights(base, tmp_path, stop, first_stage):
    negatives = Negatives(first_stage=first_stage, window=2, first_stage_max=0.5, beta=30.0)
    chosen = settings(variant={"adapter": Adapter(r=4, lora_dropout=0.1), "negatives": negatives})
    whole, first, second = (make(base, chosen) for _ in range(3))
    assert train(chosen, whole, tables(), TASKS, tmp_path / "whole")
    assert not train(chosen, first, tables(), TASKS, tmp_path / "cut", stop_after=stop)
    assert train(chosen, second, tables(), TASKS, tmp_path / "cut", resume=True)
    for name, p in weights(whole).items():
        assert torch.equal(p, weights(second)[name]), name
    rows = [metrics(tmp_path / d) for d in ("whole", "cut")]
    assert [(r["step"], r["stage"], r["loss"]) for r in rows[0]] == [
        (r["step"], r["stage"], r["loss"]) for r in rows[1]
    ]
    assert {r["stage"] for r in rows[0]} == {1, 2}
    logs = [(tmp_path / d / "routing.jsonl").read_text() for d in ("whole", "cut")]
    assert logs[0] == logs[1]
    assert logs[0]


def gradient(base, stage, cached, rank=0, world_size=1, wrap=lambda m: m):
    """Gradient of one batch of both tasks in a stage."""
    informed = TSEMBED | MIXED | {"adapter": Adapter(r=4, information_loss=1.0)}
    chosen = settings(variant=informed if stage == "informed" else None, grad_cache_chunk_size=cached)
    encoder = make(base, chosen)
    for name, p in encoder.named_parameters():
        if "lora_B" in name or "router" in name:
            torch.nn.init.normal_(p, std=0.2, generator=torch.Generator().manual_seed(len(name)))
    data = tables()
    sampler = TaskSampler(
        {n: (t, 32) for n, t in TASKS.items()},
        batch_size=8,
        steps=3,
        batching="heterogeneous",
        sampling="balanced",
        tasks=chosen.variant.tasks,
        seed=1,
    )
    variant = chosen.variant.model_copy(update={"temperature": 0.05})
    batches = StepBatches(
        data, TASKS, sampler, encoder, training=chosen.training, variant=variant, rank=rank, world_size=world_size
    )
    (batch,) = batches[0]
    model = wrap(PairEncoder(encoder, variant))

    negatives = CENTERED if stage == "centered" else variant.negatives

    def loss(outputs):
        if stage == "informed":
            return contrastive_loss(outputs, batch) + information_loss(outputs, batch.sets)
        weigh = None if stage == 1 else weighting(negatives, outputs, 0, 0, rank)
        return contrastive_loss(outputs, batch, weigh=weigh)

    from tsembed.contrastive.grad_cache import cached_backward

    cached_backward(model, batch.chunks, loss, no_sync=getattr(model, "no_sync", None) or _nothing)
    return {n: p.grad for n, p in encoder.named_parameters() if p.grad is not None}, len(batch.chunks)


def _nothing():
    from contextlib import nullcontext

    return nullcontext()


CENTERED = Negatives(centered=True, beta=1.0, beta_unit="deviation")
STAGES = (1, 2, "centered", "informed")  # also weights by what differs between sequences, and the information loss


def _two_ranks(rank, base, folder):
    wrap = torch.nn.parallel.DistributedDataParallel
    for stage in STAGES:
        for cached in (None, 2):
            torch.save(gradient(base, stage, cached, rank, 2, wrap), folder / f"{stage}-{cached}-{rank}.pt")


@pytest.mark.slow
def test_two_processes_equal_one_in_both_stages(base, tmp_path):
    run_ranks(_two_ranks, 2, base, tmp_path)
    norms = set()
    for stage in STAGES:
        expected, _ = gradient(base, stage, None)
        a = torch.cat([g.flatten() for g in expected.values()])
        norms.add(round(a.norm().item(), 6))
        for cached, pieces in ((None, 1), (2, 2)):
            for rank in (0, 1):
                found, count = torch.load(tmp_path / f"{stage}-{cached}-{rank}.pt")
                assert set(found) == set(expected)
                assert count == pieces
                b = torch.cat([found[name].flatten() for name in expected])
                assert (b.norm() / a.norm()).item() == pytest.approx(1, abs=1e-4)
                assert torch.nn.functional.cosine_similarity(a, b, dim=0).item() == pytest.approx(1, abs=1e-4)
    assert len(norms) == 4, "the stages must differ"
