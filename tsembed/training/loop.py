"""The training loop: batch, loss, backward, clip, step, log, save. On Accelerate, so on one or many processes.

`train` is a function of an encoder, tables of pairs, settings and a folder.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..contrastive.gather import gather, gather_with_grad
from ..contrastive.grad_cache import cached_backward
from ..contrastive.losses import load_balancing_of
from ..contrastive.matryoshka import nested_dims
from ..encoder.text import Encoder
from ..mote import token_routing
from ..settings import Adapter, Training, Variant
from . import processes, trackers
from .batches import Batch, StepBatches
from .checkpoints import resume_from, save_checkpoint
from .log import TrainingLog
from .objective import Outputs, PairEncoder, contrastive_loss, information_loss, weighting
from .sampler import TaskSampler
from .stages import Routed, SpecialisationSchedule
from .workers import load_batches, number_of_workers

if TYPE_CHECKING:
    import datasets
    from accelerate import Accelerator

ROUTER = "moe_lora_router"  # in the name of every weight of a router of MoE-LoRA


def make_optimizer(model: nn.Module, training: Training, adapter: Adapter | None = None) -> torch.optim.AdamW:
    """AdamW without weight decay on tensors with ndim < 2, norms and biases, and on the routers of MoE-LoRA.

    Args:
        model: Its parameters that require a gradient are trained.
        training: Learning rate and weight decay.
        adapter: Says the learning rate of its routers.
    """
    router_scale = adapter.router_learning_rate_scale if adapter else 1.0
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    routers = [p for name, p in trained if ROUTER in name]
    others = [p for name, p in trained if ROUTER not in name]
    groups = [
        {"params": [p for p in others if p.ndim >= 2], "weight_decay": training.weight_decay, "scale": 1.0},
        {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0, "scale": 1.0},
        {"params": routers, "weight_decay": 0.0, "scale": router_scale},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=training.learning_rate, fused=True)


def learning_rate(step: int, steps: int, training: Training) -> float:
    """Learning rate of a step: linear warm-up, then linear or cosine decay to zero.

    Examples:
        >>> settings = Training(learning_rate=1.0, warmup_steps=2, schedule="linear")
        >>> [learning_rate(s, 6, settings) for s in range(6)]
        [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    warmup = min(training.warmup_steps, steps)
    if step < warmup:
        return training.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    decay = 1 - done if training.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return training.learning_rate * decay


def train(
    encoder: Encoder,
    tables: "dict[str, datasets.Dataset]",
    tasks: dict[str, str],
    folder: Path,
    *,
    training: Training,
    variant: Variant,
    seed: int = 0,
    resume: bool = False,
    stop_after: int | None = None,
    log_with: str | None = None,
) -> bool:
    """Train the encoder in place; write metrics.jsonl and checkpoints/ into the run's folder.

    Args:
        encoder: Trained in place; in evaluation mode afterwards. Where it was sharded, all of it is on the CPU then.
        tables: Training dataset -> Arrow table (query, document, group; negatives, where it has hard ones).
        tasks: Training dataset -> task.
        folder: The run's; it is made if it is not there.
        training: The optimiser run.
        variant: What the encoder was built for: batching, temperature, routing, negatives.
        seed: Of batches, dropout and permuted weights.
        resume: Go on from the newest checkpoint. The final weights are those of an uninterrupted run.
        stop_after: End after this step, as a kill would, but at a step's border; for tests and for time limits.
        log_with: Also follow the training with "tensorboard" (in the folder's logs/), "trackio" or "wandb".

    Returns:
        Whether all steps are done.

    Raises:
        ValueError: If there is a checkpoint and `resume` is False, the checkpoint is of other data, hard negatives are
            asked for and no table has some, a Matryoshka dimension is not one of the model's, or the package of
            `log_with` is not installed.
        FloatingPointError: At a non-finite loss, with step, task and dataset.
    """
    if log_with is not None:
        trackers.check(log_with)
    with _accelerate_state_of_its_own():
        return _train(encoder, tables, tasks, folder, training, variant, seed, resume, stop_after, log_with)


@contextmanager
def _accelerate_state_of_its_own() -> Iterator[None]:
    """Within it Accelerate starts anew; afterwards it stands as before, with the caller's own Accelerator if any.

    Accelerate keeps the precision and the gradient accumulation of the first Accelerator for the whole process and
    refuses another one. So a second training in a notebook, of another precision, would fail.
    """
    from accelerate.state import AcceleratorState, GradientState

    states = [state._shared_state for state in (AcceleratorState, GradientState)]  # not PartialState: the ranks stay
    before = [dict(state) for state in states]
    for state in states:
        state.clear()
    try:
        yield
    finally:
        for state, content in zip(states, before, strict=True):
            state.clear()
            state.update(content)


def _train(
    encoder: Encoder,
    tables: "dict[str, datasets.Dataset]",
    tasks: dict[str, str],
    folder: Path,
    training: Training,
    variant: Variant,
    seed: int,
    resume: bool,
    stop_after: int | None,
    log_with: str | None,
) -> bool:
    from accelerate.utils import set_seed

    accelerator = processes.make_accelerator(training, variant, **trackers.options(log_with, folder))
    set_seed(seed, device_specific=True)
    sampler = TaskSampler(
        {name: (tasks[name], len(table)) for name, table in tables.items()},
        batch_size=training.batch_size,
        steps=training.steps,
        batching=variant.batching,
        sampling=training.task_sampling,
        tasks=variant.tasks,
        seed=seed,
        order="computed" if any(getattr(table, "streamed", False) for table in tables.values()) else "array",
    )
    batches = StepBatches(
        tables,
        tasks,
        sampler,
        encoder,
        training=training,
        variant=variant,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
    )
    dims = nested_dims(training.matryoshka_dims, encoder.dim)
    if training.gradient_checkpointing:
        enable_checkpointing(encoder)
    pairs = PairEncoder(encoder, variant)
    optimizer = make_optimizer(pairs, training, variant.adapter)
    model, optimizer, whole = processes.prepare(accelerator, encoder, pairs, optimizer, training)
    micro_batches = processes.micro_batches(training)
    steps = len(sampler)
    routing_log = folder / "routing.jsonl" if accelerator.is_main_process else None
    stages = SpecialisationSchedule(variant.negatives, steps, routing_log, sets=batches.sets)
    start, kept = resume_from(accelerator, folder, sampler, stages, resume)
    batches.pass_cost = processes.pass_cost(accelerator, model, encoder) if kept is None else kept
    _observe_untrained(model, batches, stages, variant, start)
    model.train()
    loader = load_batches(batches, range(start, steps), number_of_workers(training.num_workers, accelerator.device))
    step = steps - 1
    config = training.model_dump() | {"variant": variant.label, "seed": seed}
    with (
        trackers.tracked(accelerator, config),
        TrainingLog(folder / "metrics.jsonl", start, steps, training, accelerator.is_main_process) as log,
    ):
        for step, micro in zip(range(start, steps), loader, strict=True):
            lr = learning_rate(step, steps, training)
            for group in optimizer.param_groups:
                group["lr"] = lr * group["scale"]
            stage = stages.stage(step)
            total = torch.zeros((), device=accelerator.device)
            routings = []
            for batch in micro:
                with accelerator.accumulate(model):
                    loss, outputs = _backward(accelerator, model, batch, training, variant, (seed, step), stage, dims)
                    if not torch.isfinite(loss):
                        raise FloatingPointError(
                            f"loss is {loss.item()} at step {step}, task {batch.task}, dataset {batch.dataset}"
                        )
                    total += loss / micro_batches
                    if "query_signature" in outputs:
                        routings.append(_routing(outputs, batch))
                    if accelerator.sync_gradients:
                        norm = accelerator.clip_grad_norm_(model.parameters(), training.max_grad_norm)
                    optimizer.step()
                    optimizer.zero_grad()
            if routings:
                stages.observe(step, Routed(*(torch.cat(parts) for parts in zip(*routings, strict=True))))
            if (step + 1) % training.log_every == 0 or step + 1 == steps:
                tokens = sum(b.tokens for b in micro) * accelerator.num_processes
                row = {"loss": accelerator.reduce(total, "mean").item(), "lr": lr, "grad_norm": float(norm)}
                row |= {"stage": stage} if variant.negatives else {}
                log.write(step, micro[0], row, tokens)
                accelerator.log(row | {f"loss/{micro[0].task}": row["loss"]}, step=step)  # to trackers, if any
            if (step + 1) % training.checkpoint_every == 0 and step + 1 < steps:
                save_checkpoint(accelerator, folder, step + 1, sampler, stages, batches.pass_cost)
            if stop_after is not None and step + 1 >= stop_after:
                break
    accelerator.wait_for_everyone()
    whole()
    encoder.eval()
    return step + 1 == steps


def _backward(
    accelerator: "Accelerator",
    model: nn.Module,
    batch: Batch,
    training: Training,
    variant: Variant,
    seed_and_step: tuple[int, int],
    stage: int,
    dims: list[int],
) -> tuple[Tensor, Outputs]:
    """The contrastive loss of a batch, detached, after its backward pass, and what the model returned."""
    routed = variant.token_routing or variant.adapter
    balancing = getattr(routed, "load_balancing", 0.0)
    informing = getattr(routed, "information_loss", 0.0)
    outputs_of_batch: Outputs = {}

    def loss(outputs: Outputs) -> Tensor:
        outputs_of_batch.update({name: output.detach() for name, output in outputs.items()})
        weigh = None
        if stage == 2:
            assert variant.negatives is not None  # without them there is one stage
            weigh = weighting(variant.negatives, outputs, *seed_and_step, accelerator.process_index)
        value = contrastive_loss(outputs, batch, weigh=weigh, rows=training.loss_chunk_size, dims=dims)
        outputs_of_batch["loss"] = value.detach()
        if balancing and "balance" in outputs:
            # Shares and probabilities over the tokens of all ranks: the loss is no mean of those of the ranks.
            calls, _ = gather_with_grad(outputs["balance"].sum(0, keepdim=True))  # (ranks, layers, columns)
            value = value + balancing * load_balancing_of(calls)
        if informing:
            assert variant.adapter is not None  # it has the setting
            labels = batch.tasks if variant.adapter.information_of == "task" else batch.sets
            value = value + informing * information_loss(outputs, labels)
        return value

    backward, no_sync = processes.backward(accelerator, model, len(batch.chunks))
    embed = processes.forward(accelerator, model)
    cached_backward(embed, batch.chunks, loss, backward=backward, no_sync=no_sync)
    return outputs_of_batch["loss"], outputs_of_batch


def _routing(outputs: Outputs, batch: Batch) -> Routed:
    """Routing of all ranks' sequences, queries before documents."""
    signatures = torch.cat([gather(outputs["query_signature"]), gather(outputs["document_signature"])])
    tasks, sets = (gather(labels.to(signatures.device)).repeat(2) for labels in (batch.tasks, batch.sets))
    return Routed(signatures, tasks, sets)


@torch.no_grad()
def _observe_untrained(
    model: nn.Module, batches: StepBatches, stages: SpecialisationSchedule, variant: Variant, start: int
) -> None:
    """Before the first step: how the untrained routers route the sequences of as many steps as a window has."""
    if start > 0 or not variant.learns_routing:
        return
    model.eval()
    found = []
    for step in range(min(stages.window, len(batches))):
        for batch in batches[step]:
            parts = [model(chunk) for chunk in batch.chunks]
            outputs = {name: torch.cat([part[name] for part in parts]) for name in parts[0] if name != "balance"}
            found.append(_routing(outputs, batch))
    stages.set_untrained(found)


def enable_checkpointing(encoder: Encoder) -> None:
    """Recompute the activations of the blocks in the backward pass, where the blocks are in training mode."""
    from ..mote.experts import TaskRouted

    backbone: Any = encoder.backbone
    if isinstance(backbone, TaskRouted | token_routing.TokenRouted):
        backbone.gradient_checkpointing_enable()
    else:
        model = backbone.base_model if hasattr(backbone, "peft_config") else backbone  # PEFT's has an outdated name
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
