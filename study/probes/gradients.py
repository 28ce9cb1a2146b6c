"""Gradient conflict: the cosine between the gradients of two training tasks, or sets, on parameters that both train.

The premise of task experts is that tasks pull shared parameters apart: "gradient interference" (MoTE §1; Yu et al.
2020, https://arxiv.org/abs/2001.06782, call a negative cosine a conflict). The paper does not measure it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations
from math import gcd
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from tsembed.contrastive.grad_cache import cached_backward
from tsembed.encoder.adapters import quiet_peft
from tsembed.encoder.precision import autocast
from tsembed.encoder.text import Encoder
from tsembed.mote.experts import TaskRouted
from tsembed.mote.token_routing import TokenRouted
from tsembed.tasks import TASKS
from tsembed.training.batches import Batch, PairChunk, StepBatches
from tsembed.training.loop import enable_checkpointing
from tsembed.training.objective import Outputs, contrastive_loss
from tsembed.training.sampler import Batching, TaskSampler

from ..presets import RunSettings
from . import parameters

if TYPE_CHECKING:
    import datasets
    import pandas as pd


PROBE_SEED = 1_000_003  # of the batches: no training run has it, all probed models see the same batches
MAX_PAIRS = 1024  # of a batch
CHUNK = 64  # pairs whose activations are alive at once; the gradient cache makes it the same gradient


Gradients = dict[tuple[str, parameters.Part], dict[str, Tensor]]  # (block, part) -> parameter -> its flat gradient


def task_gradients_conflict(
    encoder: Encoder,
    tables: "Mapping[str, datasets.Dataset]",
    tasks: Mapping[str, str],
    settings: RunSettings,
    *,
    batches: int = 3,
    seed: int = PROBE_SEED,
) -> "pd.DataFrame":
    """Cosine between the gradients of two tasks, per block and part, over the parameters that both train.

    With g_a the gradient of InfoNCE on a batch of task a, at the trained weights and without dropout:

        cosine = <g_a, g_b> / (|g_a| |g_b|)

    A batch is drawn as in training, with the temperature of its task.
    Rows with first = second compare two batches of one task. A batch is a noisy sample, so these cosines are well
    below 1: they are what two tasks would reach that wanted the same. Experts that only one task trains give no rows.

    Args:
        encoder: A trained model. It is left as it was: no gradients, the same mode.
        tables: Training dataset -> table (query, document, group).
        tasks: Training dataset -> task.
        settings: For the sizes of the batches (`training`) and the precision.
        batches: Batches per task, >= 2. Two tasks are compared batch by batch, a task with itself over all pairs.
        seed: Of the batches.

    Returns:
        Columns batch (of both tasks; a running number where first = second), first, second, block ("0", "1", … or
        "embeddings": all that is outside the blocks), part, cosine (nan for a zero gradient), norm_first,
        norm_second.

    Raises:
        ValueError: If `batches` < 2.
    """
    import pandas as pd

    _check(batches)
    found = _gradients_of(encoder, probe_batches(encoder, tables, tasks, settings, batches, seed), settings, "task")
    return pd.DataFrame(_compared(found, [task for task in TASKS if task in found]))


def set_gradients_conflict(
    encoder: Encoder,
    tables: "Mapping[str, datasets.Dataset]",
    tasks: Mapping[str, str],
    settings: RunSettings,
    *,
    batches: int = 2,
    seed: int = PROBE_SEED,
) -> "pd.DataFrame":
    """`task_gradients_conflict` of the sets of a task in place of tasks: sets of different tasks are not compared.

    Args:
        encoder: As there.
        tables: As there.
        tasks: As there.
        settings: As there.
        batches: Batches per set, >= 2.
        seed: Of the batches.

    Returns:
        task, and the columns of `task_gradients_conflict`, first and second being sets.

    Raises:
        ValueError: If `batches` < 2.
    """
    import pandas as pd

    _check(batches)
    rows: list[dict] = []
    for task in dict.fromkeys(tasks[name] for name in tables):  # a task's gradients alone are in memory at once
        found: dict[str, list[Gradients]] = {}
        for name in (name for name in tables if tasks[name] == task):
            alone = probe_batches(encoder, {name: tables[name]}, {name: task}, settings, batches, seed)
            found |= _gradients_of(encoder, alone, settings, "dataset")
        rows += [{"task": task} | row for row in _compared(found, list(found))]
    return pd.DataFrame(rows)


def _check(batches: int) -> None:
    if batches < 2:
        raise ValueError(f"batches must be >= 2 to compare a task with itself, got {batches}")


def _gradients_of(
    encoder: Encoder, batches: Iterable[Batch], settings: RunSettings, label: Literal["task", "dataset"]
) -> dict[str, list[Gradients]]:
    """Gradients of the batches by what they are of; the encoder is left as it was."""
    found: dict[str, list[Gradients]] = {}
    with _measured(encoder, settings.training.gradient_checkpointing):
        for batch in batches:
            found.setdefault(getattr(batch, label), []).append(_gradients(encoder, batch, settings.training.precision))
    return found


def _compared(found: Mapping[str, list[Gradients]], names: Sequence[str]) -> list[dict]:
    """Rows of two names, batch by batch, and of each with itself, over all pairs of its batches."""
    rows = []
    for first, second in combinations(names, 2):
        for number, (a, b) in enumerate(zip(found[first], found[second], strict=True)):
            rows += _rows(number, first, second, a, b)
    for name in names:
        for number, (a, b) in enumerate(combinations(found[name], 2)):
            rows += _rows(number, name, name, a, b)
    return rows


def probe_batches(
    encoder: Encoder,
    tables: "Mapping[str, datasets.Dataset]",
    tasks: Mapping[str, str],
    settings: RunSettings,
    count: int,
    seed: int = PROBE_SEED,
    batching: Batching = "task_aware",
) -> Iterator[Batch]:
    """So many batches of every task that has data, one at a time, in chunks that a device holds.

    Args:
        encoder: Makes the chunks.
        tables: Training dataset -> table (query, document, group).
        tasks: Training dataset -> task.
        settings: For the sizes of the batches (`training`).
        count: Batches per task.
        seed: Of the batches.
        batching: As in training, where it is not one task per batch.
    """
    training = settings.training
    pairs = min(training.micro_batch_size or training.batch_size, MAX_PAIRS)
    chunk = gcd(pairs, training.grad_cache_chunk_size or CHUNK)
    present = tuple(task for task in TASKS if task in {tasks[name] for name in tables})
    sampler = TaskSampler(
        {name: (tasks[name], len(table)) for name, table in tables.items()},
        batch_size=pairs,
        steps=count * len(present),
        sampling="balanced",
        batching=batching,
        tasks=present,
        seed=seed,
        order="computed" if any(getattr(table, "streamed", False) for table in tables.values()) else "array",
    )
    of_one_task = batching in ("task_aware", "homogeneous")
    steps = StepBatches(
        tables,
        tasks,
        sampler,
        encoder,
        training=training.model_copy(
            update={"batch_size": pairs, "micro_batch_size": None, "grad_cache_chunk_size": chunk, "hard_negatives": 0}
        ),
        variant=settings.variant.model_copy(update={"temperature": "task_aware"}) if of_one_task else settings.variant,
    )
    for step in range(len(steps)):
        yield from steps[step]


@contextmanager
def _measured(encoder: Encoder, checkpointing: bool) -> Iterator[None]:
    """Within it nothing is dropped; with checkpointing, activations are recomputed as in training."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    was_training = encoder.training
    encoder.eval()
    blocks = [module for module in encoder.modules() if isinstance(module, GradientCheckpointingLayer)]
    if checkpointing:
        with quiet_peft():
            enable_checkpointing(encoder)
        for block in blocks:
            block.training = True  # of itself alone, which has no dropout: transformers asks it for checkpointing
    try:
        yield
    finally:
        if checkpointing:
            _model(encoder).activation_checkpointing_disable()
        encoder.train(was_training)


def _model(encoder: Encoder) -> Any:
    """transformers' own model inside the backbone."""
    backbone: Any = encoder.backbone
    if hasattr(backbone, "get_base_model"):
        return backbone.get_base_model()
    return backbone.model if isinstance(backbone, TaskRouted | TokenRouted) else backbone


def _gradients(encoder: Encoder, batch: Batch, precision: str) -> Gradients:
    """Gradient of a batch's loss on every parameter that it reaches, on the CPU."""

    def embed(chunk: PairChunk) -> Outputs:
        with autocast(encoder.device, precision):
            return {"query": encoder.embed(chunk.queries), "document": encoder.embed(chunk.documents)}

    encoder.zero_grad(set_to_none=True)
    cached_backward(embed, batch.chunks, lambda outputs: contrastive_loss(outputs, batch))
    gradients: Gradients = {}
    for name, parameter in encoder.backbone.named_parameters():
        if parameter.grad is not None:
            where = parameters.locate_parameter(name, encoder.backbone.config.model_type)
            gradients.setdefault(where, {})[name] = parameter.grad.flatten().float().cpu()
    encoder.zero_grad(set_to_none=True)
    return gradients


def _rows(number: int, first: str, second: str, a: Gradients, b: Gradients) -> list[dict]:
    """A row per block and part of which some parameter has a gradient in both."""
    rows = []
    for where in a:
        shared = [name for name in a[where] if name in b.get(where, {})]
        if not shared:
            continue
        x, y = (torch.cat([gradients[where][name] for name in shared]) for gradients in (a, b))
        size_x, size_y, product = float(x.norm()), float(y.norm()), float(x @ y)
        rows.append(
            {
                "batch": number,
                "first": first,
                "second": second,
                "block": where[0],
                "part": where[1],
                "cosine": product / (size_x * size_y) if size_x and size_y else float("nan"),
                "norm_first": size_x,
                "norm_second": size_y,
            }
        )
    return rows
