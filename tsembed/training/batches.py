"""Batches of a run: the sampler's rows, read from the Arrow tables, tokenised and chunked, per rank.

A batch comes in chunks: one where it is computed at once, several where its gradients are cached.
"""

import copy
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from ..encoder.chunks import Chunk
from ..inputs import Input
from ..settings import Training, Variant
from ..tasks import OTHER_SETS, TASKS, route_of_set
from ..texts import visible
from .sampler import TaskSampler

if TYPE_CHECKING:
    import datasets

    from ..encoder.text import Encoder


class PairChunk(NamedTuple):
    """Pairs of one forward pass."""

    queries: list[Chunk]
    documents: list[Chunk]  # behind the queries' positives, in their order, the hard negatives
    hard_negatives: int | None = None  # how many; None: the training has none at all


class Batch(NamedTuple):
    """Pairs that are each other's negatives, on one rank."""

    chunks: list[PairChunk]
    query_groups: Int[Tensor, "batch kinds"]  # a document that shares a group with a query is no negative of it
    document_groups: Int[Tensor, "batch kinds"]
    tasks: Int[Tensor, " batch"]  # of each pair, its index in `tasks.TASKS`
    sets: Int[Tensor, " batch"]  # of each pair, the index of its dataset in `StepBatches.sets`
    temperature: float
    task: str
    dataset: str
    tokens: int  # without padding
    negative_groups: Int[Tensor, "negatives kinds"] | None = None  # of the hard negatives, all chunks' in order


class StepBatches(torch.utils.data.Dataset):
    """Map-style: step number -> this rank's micro-batches of that step.

    Args:
        tables: Dataset name -> Arrow table with the columns query, document, group, query_image and document_image
            where there are pictures, and negatives (lists of any length) where there are hard negatives.
        tasks: Dataset name -> training task.
        sampler: Decides the rows.
        encoder: For what it makes of the inputs only: its tokenizer, without its weights, goes to loaders' workers.
        rank: It takes its contiguous part of every micro-batch's global rows.
        world_size: Number of ranks.
        pass_cost: What one more forward pass costs, in tokens; by default what it costs on a CPU.

    Raises:
        ValueError: If the batch cannot be cut into equal micro-batches over the ranks, or those into equal chunks, if a
            model that is routed by set has no expert for one of the tables, or if hard negatives are asked for and no
            table has some.
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
        pass_cost: int | None = None,
    ):
        self.micro = training.micro_batch_size or training.batch_size
        if training.batch_size % self.micro or self.micro % world_size:
            raise ValueError(
                f"batch_size {training.batch_size} must be a multiple of micro_batch_size {self.micro}, "
                f"and that of the {world_size} processes"
            )
        if OTHER_SETS in encoder.routes and (without := sorted(set(tables) - set(encoder.routes))):
            raise ValueError(f"routed_by 'set': experts has none for the training sets {', '.join(without)}")
        if training.hard_negatives and not any("negatives" in table.column_names for table in tables.values()):
            raise ValueError(
                f"hard_negatives {training.hard_negatives}: no training set has negatives; mine some, or 0"
            )
        self.chunk_size = training.grad_cache_chunk_size or self.micro // world_size
        if self.micro // world_size % self.chunk_size:
            pairs, size = self.micro // world_size, self.chunk_size
            raise ValueError(f"{pairs} pairs of a process must be a multiple of grad_cache_chunk_size {size}")
        self.tables, self.tasks, self.sampler, self.encoder = tables, tasks, sampler, without_weights(encoder)
        self.training, self.variant = training, variant
        self.rank, self.world_size, self.pass_cost = rank, world_size, pass_cost
        self._index = {task: index for index, task in enumerate(TASKS)}
        self.sets = tuple(tables)

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
            queries, documents, groups, names, negatives = self._read(step.datasets, owners, rows)
            chunks, tokens = [], 0
            for first in range(0, len(rows), self.chunk_size):
                some = slice(first, first + self.chunk_size)
                chunk, more = self._chunk(queries[some], documents[some], names[some], negatives[some])
                chunks.append(chunk)
                tokens += more
            tasks = torch.tensor([self._index[self.tasks[name]] for name in names])
            sets = torch.tensor([self.sets.index(name) for name in names])
            sides = groups_of(queries, documents, groups)
            batch = Batch(chunks, *sides, tasks, sets, temperature, step.task, step.dataset, tokens)
            if self.training.hard_negatives:
                batch = batch._replace(negative_groups=groups_of_negatives([text for row in negatives for text in row]))
            batches.append(batch)
        return batches

    def _read(self, datasets: tuple[str, ...], owners: np.ndarray, rows: np.ndarray):
        """Inputs and groups of the rows in batch order, the dataset of each, and the negatives that are used."""
        queries, documents, groups = ([None] * len(rows) for _ in range(3))
        negatives: list[list[str]] = [[] for _ in rows]
        for owner in np.unique(owners):
            at = np.flatnonzero(owners == owner)
            read = self.tables[datasets[owner]][rows[at].tolist()]
            for side, texts in (("query", queries), ("document", documents)):
                for place, text in zip(at, inputs_of(read, side), strict=True):
                    texts[place] = text
            for place, group in zip(at, read["group"], strict=True):
                groups[place] = group
            if self.training.hard_negatives and "negatives" in read:
                for place, texts in zip(at, read["negatives"], strict=True):
                    negatives[place] = (texts or [])[: self.training.hard_negatives]
        return queries, documents, groups, [datasets[owner] for owner in owners], negatives

    def _chunk(
        self, queries: list[Any], documents: list[Any], names: list[str], negatives: list[list[str]]
    ) -> tuple[PairChunk, int]:
        of_tasks = [(name, TASKS[self.tasks[name]]) for name in names]
        known = self.encoder.routes
        routes = [route_of_set(known, name, task.query_route) for name, task in of_tasks]
        limit, cost = self.training.max_query_tokens, self.pass_cost
        query_chunks, query_tokens = self.encoder.prepare(queries, routes, max_tokens=limit, pass_cost=cost)
        routes = [route_of_set(known, name, task.document_route) for name, task in of_tasks]
        routes += [route for route, texts in zip(routes, negatives, strict=True) for _ in texts]
        hard = [text for texts in negatives for text in texts]
        limit, behind = self.training.max_document_tokens, [*documents, *hard]
        # With the documents in one: as many forward passes, and blocks used, as without them.
        document_chunks, document_tokens = self.encoder.prepare(behind, routes, max_tokens=limit, pass_cost=cost)
        count = len(hard) if self.training.hard_negatives else None
        return PairChunk(query_chunks, document_chunks, count), query_tokens + document_tokens


def without_weights(encoder: "Encoder") -> "Encoder":
    """A copy of the encoder that only makes chunks of inputs: it has the tokenizer and its settings, and no modules.

    Workers that are spawned get a pickled copy of what they read with; the weights would be a copy per worker.
    """
    inputs_only = copy.copy(encoder)
    inputs_only._modules = {}  # of the copy alone: nn.Module keeps the backbone here
    return inputs_only


def groups_of(
    queries: list[Any], documents: list[Any], groups: list[int]
) -> tuple[Int[Tensor, "batch kinds"], Int[Tensor, "batch kinds"]]:
    """Groups of the queries and of the documents of some pairs, for `losses.negatives_of`.

    The kinds are: the pair's own group, the same query, the same document, and a document that is the query itself.
    Texts and pictures are compared by a hash that is the same on every rank, made here, when the batch is read.

    Args:
        queries: Texts or items, one per pair.
        documents: Texts or items, one per pair.
        groups: The column `group` of the pairs, made when the data was prepared: of a labelled source its label.
    """
    query_numbers, document_numbers = ([_number(one) for one in side] for side in (queries, documents))
    of_queries = zip(groups, query_numbers, document_numbers, query_numbers, strict=True)
    of_documents = zip(groups, query_numbers, document_numbers, document_numbers, strict=True)
    return torch.tensor(list(of_queries)), torch.tensor(list(of_documents))


def groups_of_negatives(texts: list[str]) -> Int[Tensor, "negatives kinds"]:
    """Groups of hard negatives, in the columns of `groups_of`: a group of their own, the text itself.

    So a hard negative is one of every query of the batch but those that it is the positive of, or the same text as.
    """
    numbers = torch.tensor([_number(text) for text in texts], dtype=torch.int64)
    return numbers[:, None].repeat(1, 4)  # (negatives, kinds)


def _number(item: str | Input) -> int:
    """A signed 64-bit hash of a text or an item; a text and an item without picture are the same.

    So are texts that a tokenizer may see as one: that differ in Unicode's forms and invisible characters alone.
    """
    text, image = (item, None) if isinstance(item, str) else item
    digest = hashlib.blake2b(visible(text).encode(), digest_size=8)
    if image is not None:
        digest.update(b"\0" + image)
    return int.from_bytes(digest.digest(), "little", signed=True)


def inputs_of(rows: Mapping[str, list], side: str) -> list[Any]:
    """One side ("query" or "document") of training rows: texts, or items where the rows have pictures."""
    if f"{side}_image" not in rows:
        return rows[side]
    return [Input(text, image) for text, image in zip(rows[side], rows[f"{side}_image"], strict=True)]
