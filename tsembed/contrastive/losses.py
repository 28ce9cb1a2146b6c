"""InfoNCE with optional weights on the negatives, and the load-balancing loss of learned routers."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Weights of the negatives of some queries, (rows, docs); one that makes them when asked never holds them all at once.
RowWeights = Callable[[slice], Tensor]


def info_nce(
    queries: Float[Tensor, "batch dim"],
    documents: Float[Tensor, "docs dim"],
    *,
    temperature: float,
    negative_weights: Float[Tensor, "batch docs"] | RowWeights | None = None,
    first_positive: int = 0,
    chunk: int | None = None,
) -> Float[Tensor, ""]:
    """Mean InfoNCE over a batch, with optional weights on the negatives.

    The positive of query i is document p_i = first_positive + i; all other documents are negatives:

        loss_i = -s_ip + log( exp(s_ip) + sum_{j != p} w_ij exp(s_ij) ),   s = q . d / temperature

    All w = 1 gives the loss of van den Oord et al. 2018 (https://arxiv.org/abs/1807.03748), as in MoTE §2.1, there
    with the cosine in place of a learned similarity, and in one direction, query to document.

    Args:
        queries: Unit-norm embeddings of this rank's queries.
        documents: Unit-norm embeddings of the candidates, gathered from all ranks *with* gradient.
        temperature: In units of cosine similarity, > 0.
        negative_weights: w >= 0, a constant (no gradient). w = 0 drops a negative; w = 2 counts it twice. The
            positive's own column is ignored. Or a function from a slice of the queries to their weights.
        first_positive: Column of query 0's positive: `rank * batch` after a gather, else 0.
        chunk: Queries at a time. Then no (batch, docs) matrix is ever made: both gradients are computed with the loss,
            in one pass, and kept until the backward pass, which can be differentiated no further. None: all at once.

    Raises:
        ValueError: If `temperature` <= 0, `chunk` < 1, some query has no positive among the documents, or a function
            gives weights of another shape.

    Examples:
        >>> unit = torch.eye(2)
        >>> round(info_nce(unit, unit, temperature=1.0).item(), 4)  # log(1 + exp(0 - 1))
        0.3133
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
    batch, docs = queries.shape[0], documents.shape[0]
    if not 0 <= first_positive <= docs - batch:
        raise ValueError(
            f"no positive for every query: positives are documents {first_positive}..{first_positive + batch - 1} "
            f"of {docs}"
        )
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be >= 1, got {chunk}")
    with torch.autocast(queries.device.type, enabled=False):
        queries, documents = _at_least_fp32(queries), _at_least_fp32(documents)
        positives = torch.arange(first_positive, first_positive + batch, device=queries.device)
        if chunk is not None:
            if not torch.is_grad_enabled():  # then the gradients are not computed either
                queries, documents = queries.detach(), documents.detach()
            return _ChunkedInfoNCE.apply(queries, documents, positives, temperature, negative_weights, chunk)
        scores = queries @ documents.T / temperature  # (batch, docs)
        if negative_weights is not None:
            log_weights = _log_weights(negative_weights, slice(0, batch), positives, scores)
            positive_scores = scores.gather(1, positives[:, None])[:, 0]  # (batch,)
            return (torch.logsumexp(scores + log_weights, dim=1) - positive_scores).mean()
        return torch.nn.functional.cross_entropy(scores, positives)


class _ChunkedInfoNCE(torch.autograd.Function):
    """`info_nce` some queries at a time: loss and gradients from one look at their scores, which are then dropped."""

    @staticmethod
    def forward(ctx, queries, documents, positives, temperature, negative_weights, chunk):
        batch = len(queries)
        wants_queries, wants_documents = ctx.needs_input_grad[:2]
        losses = queries.new_empty(batch)
        queries_grad = torch.empty_like(queries) if wants_queries else None
        documents_grad = torch.zeros_like(documents) if wants_documents else None
        share = 1 / (temperature * batch)  # of a score's gradient, in a query's and a document's
        for start in range(0, batch, chunk):
            rows = slice(start, min(start + chunk, batch))
            chunk_queries, columns = queries[rows], positives[rows, None]
            scores = (chunk_queries / temperature) @ documents.T  # (rows, docs)
            if negative_weights is not None:
                scores += _log_weights(negative_weights, rows, positives[rows], scores)
            probabilities = scores.log_softmax(1)  # (rows, docs), still their logarithms
            del scores
            losses[rows] = -probabilities.gather(1, columns)[:, 0]
            if not (wants_queries or wants_documents):
                continue
            probabilities.exp_().scatter_add_(1, columns, probabilities.new_full(columns.shape, -1.0))
            if queries_grad is not None:
                torch.mm(probabilities, documents, out=queries_grad[rows]).mul_(share)
            if documents_grad is not None:
                documents_grad.addmm_(probabilities.T, chunk_queries, alpha=share)
        ctx.save_for_backward(queries_grad, documents_grad)
        return losses.mean()

    @staticmethod
    def backward(ctx, gradient):
        if torch.is_grad_enabled():
            raise RuntimeError("create_graph: InfoNCE in chunks can be differentiated once only; use chunk=None")
        scaled = [None if saved is None else saved * gradient for saved in ctx.saved_tensors]
        return *scaled, None, None, None, None


def _at_least_fp32(rows: Tensor) -> Tensor:
    return rows.to(torch.promote_types(rows.dtype, torch.float32))


def _log_weights(weights: Tensor | RowWeights, rows: slice, positives: Tensor, scores: Tensor) -> Tensor:
    """Logarithms of the weights of some queries' documents, as `scores`; 0 at the positives, which count once."""
    if not isinstance(weights, Tensor):
        with torch.no_grad():
            chunk_weights = weights(rows)
        if chunk_weights.shape != scores.shape:
            gave, shape = tuple(chunk_weights.shape), tuple(scores.shape)
            raise ValueError(f"negative_weights gave {gave} for queries {rows.start}..{rows.stop - 1}, must be {shape}")
    else:
        chunk_weights = weights.detach()[rows]
    return chunk_weights.to(scores.dtype).log().scatter_(1, positives[:, None], 0.0)


def negatives_of(
    query_groups: Int[Tensor, "batch kinds"], document_groups: Int[Tensor, "docs kinds"]
) -> Bool[Tensor, "batch docs"]:
    """Which documents are negatives of which queries: those that share no group with them, of whatever kind.

    A kind of group is a reason why a document may answer a query that it does not stand beside: the pairs have the same
    label, the same query, or the same document. One reason is enough. A query's own positive is never its negative.

    Args:
        query_groups: Number of the group that each query belongs to, a column per kind.
        document_groups: The same of the documents, in the same columns.

    Examples:
        >>> queries = torch.tensor([[1, 10], [2, 20]])
        >>> negatives_of(queries, torch.tensor([[1, 10], [2, 20], [1, 30], [3, 20], [3, 30]])).tolist()
        [[False, True, False, True, True], [True, False, True, False, True]]
    """
    shape = (len(query_groups), len(document_groups))
    negatives = torch.ones(shape, dtype=torch.bool, device=query_groups.device)
    for queries, documents in zip(query_groups.unbind(1), document_groups.unbind(1), strict=True):
        negatives &= queries[:, None] != documents[None, :]  # (batch, docs)
    return negatives


def load_balancing_of(statistics: Float[Tensor, "calls layers columns"]) -> Float[Tensor, ""]:
    """How unevenly the routers use their experts, over all calls: 1 if evenly, num_experts if all take the same.

        mean over layers of  num_experts * sum_e f_e P_e,   f_e: share of the choices that fell on e,
                                                            P_e: mean probability of e

    (Fedus et al. 2021, https://arxiv.org/abs/2101.03961, eq. 4 to 6.) The gradient flows through P alone.

    Args:
        statistics: Per forward call and layer: the sum over the tokens of every expert's probability, the number of
            choices that fell on every expert, the number of tokens; from `moe_lora.balance` or `token_routing.balance`.
            Over several ranks, those of all ranks, gathered with gradient: then it is the loss of one process.

    Raises:
        ValueError: If the columns are not 2 * experts + 1.

    Examples:
        >>> load_balancing_of(torch.tensor([[[1.0, 1.0, 2.0, 0.0, 2.0]]])).item()  # two tokens, both to expert 0
        1.0
    """
    columns = statistics.shape[-1]
    if columns % 2 == 0:
        raise ValueError(f"statistics must have 2 * experts + 1 columns, got {columns}")
    experts = columns // 2
    sums, expert_counts, tokens = statistics.sum(0).split([experts, experts, 1], dim=-1)  # each (layers, ...)
    shares = (expert_counts / expert_counts.sum(-1, keepdim=True)).detach()
    return experts * (shares * sums / tokens.detach()).sum(-1).mean()
