"""Batches of a run: the sampler's rows, read from the Arrow tables, tokenised and chunked, per rank."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from ..config import Training, Variant
from ..tasks import ROUTES, TASKS
from .collate import Chunk, chunks
from .sampler import TaskSampler

if TYPE_CHECKING:
    import datasets

    from ..encoder import Encoder


class Batch(NamedTuple):
    """Pairs of one forward and backward pass on one rank."""

    queries: list[Chunk]
    documents: list[Chunk]
    groups: Int[Tensor, " batch"]  # two documents of one group are never each other's negatives
    temperature: float
    task: str
    dataset: str
    tokens: int  # without padding


class StepBatches(torch.utils.data.Dataset):
    """Map-style: step number -> this rank's micro-batches of that step.

    Args:
        tables: Dataset name -> Arrow table with the columns query, document, group.
        tasks: Dataset name -> training task.
        sampler: Decides the rows.
        encoder: For its tokenizer and instructions only.
        rank, world_size: The rank takes its contiguous part of every micro-batch's global rows.

    Raises:
        ValueError: If the batch cannot be cut into equal micro-batches over the ranks.
    """

    def __init__(
        self,
        tables: Mapping[str, "datasets.Dataset"],
        tasks: Mapping[str, str],
        sampler: TaskSampler,
        encoder: "Encoder",
        *,
        training: Training,
        variant: Variant,
        rank: int = 0,
        world_size: int = 1,
    ):
        self.micro = training.micro_batch_size or training.batch_size
        if training.batch_size % self.micro or self.micro % world_size:
            raise ValueError(
                f"batch_size {training.batch_size} must be a multiple of micro_batch_size {self.micro}, "
                f"and that of the {world_size} processes"
            )
        self.tables, self.tasks, self.sampler, self.encoder = tables, tasks, sampler, encoder
        self.training, self.variant = training, variant
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        return len(self.sampler)

    def __getitem__(self, number: int) -> list[Batch]:
        step = self.sampler[number]
        if self.variant.temperature == "task_aware":
            temperature = TASKS[step.task].temperature
        else:
            temperature = self.variant.temperature
        share = self.micro // self.world_size
        batches = []
        for start in range(0, len(step.rows), self.micro):
            part = slice(start + self.rank * share, start + (self.rank + 1) * share)
            owners, rows = step.owners[part], step.rows[part]
            query, document, group, names = self._read(step.datasets, owners, rows)
            queries, query_tokens = self._side(query, names, "query_route", self.training.max_query_tokens)
            documents, document_tokens = self._side(
                document, names, "document_route", self.training.max_document_tokens
            )
            tokens = query_tokens + document_tokens
            batches.append(Batch(queries, documents, torch.tensor(group), temperature, step.task, step.dataset, tokens))
        return batches

    def _read(self, datasets: tuple[str, ...], owners: np.ndarray, rows: np.ndarray):
        """Columns of the rows in batch order, and the dataset of each."""
        query, document, group = ([None] * len(rows) for _ in range(3))
        for owner in np.unique(owners):
            at = np.flatnonzero(owners == owner)
            read = self.tables[datasets[owner]][rows[at].tolist()]
            for k, place in enumerate(at):
                query[place], document[place], group[place] = read["query"][k], read["document"][k], read["group"][k]
        return query, document, group, [datasets[owner] for owner in owners]

    def _side(self, texts: list[str], names: list[str], side: str, max_tokens: int) -> tuple[list[Chunk], int]:
        routes = [getattr(TASKS[self.tasks[name]], side) for name in names]
        tokens: list[list[int]] = [[]] * len(texts)
        for route in dict.fromkeys(routes):
            at = [i for i, r in enumerate(routes) if r == route]
            for i, ids in zip(
                at, self.encoder.tokenize([texts[i] for i in at], route, max_tokens=max_tokens), strict=True
            ):
                tokens[i] = ids
        one = routes[0] if len(set(routes)) == 1 else torch.tensor([ROUTES.index(r) for r in routes])
        tokenizer = self.encoder.tokenizer
        parts = chunks(tokens, one, pad_id=tokenizer.pad_token_id, padding_side=tokenizer.padding_side)
        return parts, sum(map(len, tokens))
