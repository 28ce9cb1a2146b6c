"""From a batch of pairs to its loss: both sides embedded, negatives of all ranks, weights on them if there are any."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..contrastive.eans import centered, hardness_weights, negative_weights, shuffled_weights
from ..contrastive.gather import gather, gather_ragged, gather_with_grad
from ..contrastive.information import information_of
from ..contrastive.losses import info_nce, negatives_of
from ..contrastive.matryoshka import leading
from ..encoder.chunks import Chunk
from ..encoder.text import Encoder
from ..encoder.words import words_looked_up_once
from ..mote import token_routing
from ..settings import Negatives, Variant
from .batches import Batch, PairChunk

Outputs = dict[str, Tensor]


class PairEncoder(nn.Module):
    """Both sides of pairs in one forward call, which is what DDP needs for one backward.

    Args:
        variant: Says which routing the forward pass returns beside the embeddings.
    """

    def __init__(self, encoder: Encoder, variant: Variant):
        super().__init__()
        self.encoder = encoder
        self.signature = variant.negatives.signature if variant.negatives else "mean"
        self.experts = variant.adapter is not None and variant.adapter.kind == "moe_lora"
        self.tokens = variant.token_routing is not None
        self.balancing = getattr(variant.adapter, "load_balancing", 0.0) > 0
        self.informing = getattr(variant.adapter, "information_loss", 0.0) > 0

    def forward(self, chunk: PairChunk) -> Outputs:
        """Queries and documents, each (batch, dim); where the training has hard negatives, these ("negative"), of any
        number; where routers are balanced what that needs ("balance"); with MoE-LoRA the routing signatures of each
        kind, with gradient where a loss is of them.
        """
        outputs: Outputs = {}
        balance: list[Tensor] = []
        ids = [part.input_ids for part in (*chunk.queries, *chunk.documents)]
        with words_looked_up_once(self.encoder.word_embeddings, ids):
            for side, parts in (("query", chunk.queries), ("document", chunk.documents)):
                vectors, signatures = zip(*(self._chunk(part, balance) for part in parts), strict=True)
                order = torch.cat([part.positions for part in parts]).argsort().to(vectors[0].device)
                outputs[side] = torch.cat(vectors)[order]
                if self.experts:
                    outputs[f"{side}_signature"] = torch.cat(signatures)[order]
        if chunk.hard_negatives is not None:  # they stand behind the positives
            for kind in ("", "_signature") if self.experts else ("",):
                rows = outputs[f"document{kind}"]
                pairs = len(rows) - chunk.hard_negatives
                outputs[f"document{kind}"], outputs[f"negative{kind}"] = rows[:pairs], rows[pairs:]
        if balance:
            outputs["balance"] = torch.cat(balance)
        return outputs

    def _chunk(self, part: Chunk, balance: list[Tensor]) -> tuple[Tensor, Tensor | None]:
        if self.experts:
            from ..moe_lora import routing

            with routing.routing_record(last=self.signature == "last") as record:
                vectors = self.encoder.embed_chunk(part)
            if self.balancing:
                balance.append(routing.balance(record))
            with torch.set_grad_enabled(self.informing and torch.is_grad_enabled()):
                return vectors, routing.signatures(record, self.signature)
        if self.tokens:
            with token_routing.routing_record() as token_record:
                vectors = self.encoder.embed_chunk(part)
            balance.append(token_routing.balance(token_record))
            return vectors, None
        return self.encoder.embed_chunk(part), None


def contrastive_loss(
    outputs: Outputs,
    batch: Batch,
    *,
    weigh: Callable[..., Tensor] | None = None,
    rows: int | None = None,
    dims: Sequence[int] = (),
) -> Tensor:
    """InfoNCE of this rank's queries against the documents of all ranks (MoTE §2.1, §3.2).

    A document that shares a group with the query is no negative of it (`losses.negatives_of`). Hard negatives are
    documents behind the positives of all ranks: every query sees those of all the others, too.

    Args:
        outputs: What `PairEncoder` returns of the whole batch.
        batch: Groups and temperature of this rank's pairs.
        weigh: (rows, candidates, negatives) -> weights on the negatives of some rows; None: all alike.
        rows: Queries whose scores are in memory at once; None: all.
        dims: Lengths of the embeddings whose losses are summed (`matryoshka.nested_dims`); empty: the whole one's. The
            weights on the negatives are those of the whole embedding for each of them.
    """
    candidates, first = gather_with_grad(outputs["document"])
    query_groups = batch.query_groups.to(candidates.device)
    document_groups = gather(batch.document_groups.to(candidates.device))
    if "negative" in outputs:
        assert batch.negative_groups is not None  # the batch has them where the model returns them
        candidates = torch.cat([candidates, gather_ragged(outputs["negative"])])
        document_groups = torch.cat([document_groups, gather_ragged(batch.negative_groups.to(candidates.device))])

    def weights(chosen: slice) -> Tensor:
        negatives = negatives_of(query_groups[chosen], document_groups)  # (rows, docs)
        return negatives.float() if weigh is None else weigh(chosen, candidates, negatives)

    settings: dict[str, Any] = {
        "temperature": batch.temperature,
        "first_positive": first,
        "chunk": rows,
        "negative_weights": weights(slice(None)) if rows is None else weights,
    }
    losses = [
        info_nce(leading(outputs["query"], dim), leading(candidates, dim), **settings)
        for dim in dims or [candidates.shape[1]]
    ]
    return losses[0] if len(losses) == 1 else torch.stack(losses).sum()


def information_loss(outputs: Outputs, labels: Tensor) -> Tensor:
    """Minus the mutual information of label and expert over the sequences of all ranks, mean over the layers.

    Mod-Squad's loss (https://arxiv.org/abs/2212.08066, eq. 4) on sequences in place of tokens. Over several ranks it is
    the loss of one process with all sequences.

    Args:
        outputs: What `PairEncoder` returns of the whole batch, signatures with gradient.
        labels: Index of each of this rank's pairs, >= 0, as its task or its set.
    """
    sides = [gather_with_grad(outputs[f"{side}_signature"])[0] for side in ("query", "document")]
    of_all = gather(labels.to(sides[0].device)).repeat(2)
    return -information_of(torch.cat(sides).float(), of_all).mean()


def weighting(negatives: Negatives, outputs: Outputs, *key: int) -> Callable[..., Tensor]:
    """The second stage's weights on negatives, for `contrastive_loss`.

    Args:
        negatives: What the weights depend on, and how sharply.
        outputs: What `PairEncoder` returns of the whole batch; signatures are needed for weights by routing.
        key: Seed, step and rank, of the control with permuted weights.
    """
    queries: Tensor | None = None
    documents: Tensor | None = None
    if "document_signature" in outputs:
        # A pair's positive stands beside its query, so this rank's documents are its queries' positives, in order.
        side = "query" if negatives.compared_with == "query" else "document"
        queries, documents = outputs[f"{side}_signature"].detach(), gather(outputs["document_signature"].detach())
        if "negative_signature" in outputs:  # the candidates' order, as in `contrastive_loss`
            documents = torch.cat([documents, gather_ragged(outputs["negative_signature"].detach())])
        if negatives.centered:
            queries, documents = centered(queries, documents)
    sharpness: dict[str, Any] = {"beta": negatives.beta, "beta_unit": negatives.beta_unit}

    def weigh(rows: slice, candidates: Tensor, allowed: Tensor) -> Tensor:
        if negatives.weights == "hardness":
            return hardness_weights(outputs["query"][rows], candidates, **sharpness, negatives=allowed)
        assert queries is not None  # settings want MoE-LoRA for these weights
        assert documents is not None
        weights = negative_weights(
            queries[rows], documents, **sharpness, top_k=negatives.top_k, form=negatives.similarity, negatives=allowed
        )
        if negatives.weights == "random":
            digest = hashlib.blake2b(repr((*key, rows.start or 0)).encode(), digest_size=7).digest()
            return shuffled_weights(weights, allowed, torch.Generator().manual_seed(int.from_bytes(digest)))
        return weights

    return weigh
