"""Expert-Aware Negative Sampling (EANS): the negatives that use the query's experts count for more.

TSEmbed (https://arxiv.org/abs/2603.04772) selects "negatives that share similar expert activation patterns with the
query"; we do not know its formula, so all of it here is our choice. What is chosen is weight, not documents: every
negative stays, with a weight inside InfoNCE, as in LLaVE (https://arxiv.org/abs/2503.04812). The weights of a query
have mean 1 over its negatives, so EANS moves weight between them and leaves what they weigh together.

A *routing signature* is what the routers said of one sequence: per adapted layer, the mean over its tokens of the
experts' probabilities. Query signatures are this rank's, document signatures those of all ranks (`gather.gather`).
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .gather import gather

FORMS = ("cosine", "kl")
UNITS = ("similarity", "deviation")
FLOOR = 1e-6  # of a probability in the "kl" form: routing by task or top-k has zeros, whose divergence is infinite
TIE = 1e-5  # of similarities: what is closer is the same but for rounding, which depends on the size of the batch


def signature_similarity(
    query_signatures: Float[Tensor, "batch layers experts"],
    document_signatures: Float[Tensor, "docs _ _"],
    form: str = "cosine",
) -> Float[Tensor, "batch docs"]:
    """How alike two sequences are routed, in fp32; 1 ("cosine") or 0 ("kl") for equal signatures, else less.

        cosine: p . q / (|p| |q|), the layers concatenated          kl: - 1/layers sum_l KL(p_l || q_l)

    Args:
        query_signatures: Probabilities p; over the experts of a layer they sum to 1. For "cosine" also differences of
            them (`centered`).
        document_signatures: q, of the same layers and experts: (docs, layers, experts).
        form: "cosine" or "kl". The latter takes probabilities below 1e-6 for 1e-6.

    Raises:
        ValueError: If the form is unknown, or the signatures are of another length.

    Examples:
        >>> half, first = torch.tensor([[[0.5, 0.5]]]), torch.tensor([[[1.0, 0.0]]])
        >>> round(signature_similarity(half, first).item(), 4)
        0.7071
    """
    if form not in FORMS:
        raise ValueError(f"form must be 'cosine' or 'kl', got {form!r}")
    if query_signatures.shape[1:] != document_signatures.shape[1:]:
        ours, theirs = (" x ".join(map(str, s.shape[1:])) for s in (query_signatures, document_signatures))
        raise ValueError(
            f"query signatures have {ours} layers x experts, document signatures {theirs}: both sides must be routed "
            "by the same layers"
        )
    with torch.autocast(query_signatures.device.type, enabled=False):
        p, q = query_signatures.float().flatten(1), document_signatures.float().flatten(1)  # (rows, layers * experts)
        if form == "cosine":
            return torch.nn.functional.normalize(p, dim=1) @ torch.nn.functional.normalize(q, dim=1).T
        p, q = p.clamp_min(FLOOR), q.clamp_min(FLOOR)
        return (p @ q.log().T - (p * p.log()).sum(1, keepdim=True)) / query_signatures.shape[1]  # (batch, docs)


def centered(
    query_signatures: Float[Tensor, "batch layers experts"], document_signatures: Float[Tensor, "docs _ _"]
) -> tuple[Float[Tensor, "batch layers experts"], Float[Tensor, "docs _ _"]]:
    """Both without what is common to the batch: minus the mean over the queries, and over the documents of all ranks.

    Uncentered, a document that is routed as most queries are is similar to all of them, and its weight says more about
    itself than about the query.
    """
    queries, documents = query_signatures.float(), document_signatures.float()
    return queries - gather(queries).mean(0), documents - documents.mean(0)


def negative_weights(
    query_signatures: Float[Tensor, "batch layers experts"],
    document_signatures: Float[Tensor, "docs _ _"],
    *,
    beta: float,
    top_k: int | None = None,
    form: str = "cosine",
    beta_unit: str = "similarity",
    negatives: Bool[Tensor, "batch docs"],
) -> Float[Tensor, "batch docs"]:
    """EANS weights for `losses.info_nce`, constants:

        w_ij = n_i exp(beta s_ij) / sum_{k negative of i} exp(beta s_ik),   s = signature_similarity

    with n_i the number of negatives of query i. beta = 0 gives 1 exactly: plain InfoNCE.

    Args:
        query_signatures: As in `signature_similarity`; or, in the queries' order, the signatures of their positives.
        document_signatures: As in `signature_similarity`.
        form: As in `signature_similarity`.
        beta: Sharpness, >= 0.
        beta_unit: Its unit. "similarity": 1 / similarity. "deviation": 1 / the standard deviation of the query's
            similarities to its negatives, so that weights vary as much however close together the similarities are,
            as those of routers that have hardly moved.
        top_k: Keep only the k most similar negatives of a query (and those as similar as the k-th, so that the order of
            the documents decides nothing); the others get 0. The mean over *all* its negatives stays 1. None: keep all.
        negatives: Which documents are negatives of which queries: not the positive, nor its group. Others get 0.

    Raises:
        ValueError: If beta is negative or not finite, top_k < 1, the form or the unit is unknown, or the signatures
            are of another length.

    Examples:
        >>> ours, theirs = torch.tensor([[[0.5, 0.5]]]), torch.tensor([[[0.5, 0.5]], [[1.0, 0.0]]])
        >>> w = negative_weights(ours, theirs, beta=4.0, negatives=torch.tensor([[True, True]]))
        >>> [round(value, 3) for value in w[0].tolist()]
        [1.527, 0.473]
    """
    _check(beta, top_k, beta_unit)
    with torch.no_grad():
        similarity = signature_similarity(query_signatures, document_signatures, form)
        return _weights(similarity, beta, negatives, top_k, beta_unit)


def hardness_weights(
    queries: Float[Tensor, "batch dim"],
    documents: Float[Tensor, "docs dim"],
    *,
    beta: float,
    beta_unit: str = "similarity",
    negatives: Bool[Tensor, "batch docs"],
) -> Float[Tensor, "batch docs"]:
    """Weights as in `negative_weights`, by the similarity of the embeddings themselves; the control for EANS.

    LLaVE (https://arxiv.org/abs/2503.04812) weighs a negative by exp(alpha * similarity), gradient stopped; that the
    mean is 1, as for EANS, is our choice.

    Args:
        queries: Unit-norm embeddings of this rank's queries.
        documents: Unit-norm embeddings of the documents of all ranks.
        beta: As in `negative_weights`.
        beta_unit: As in `negative_weights`.
        negatives: As in `negative_weights`.

    Raises:
        ValueError: If beta is negative or not finite, or the unit is unknown.
    """
    _check(beta, None, beta_unit)
    with torch.no_grad(), torch.autocast(queries.device.type, enabled=False):
        return _weights(queries.float() @ documents.float().T, beta, negatives, None, beta_unit)


def shuffled_weights(
    weights: Float[Tensor, "batch docs"], negatives: Bool[Tensor, "batch docs"], generator: torch.Generator
) -> Float[Tensor, "batch docs"]:
    """The same weights, each row permuted at random among its negatives: EANS's distribution without its choice."""
    drawn = torch.rand(weights.shape, generator=generator, device=generator.device).to(weights.device)
    # Both (batch, docs): columns, the negatives before the others, here in random order and there as they stand.
    shuffled = drawn.masked_fill(~negatives, 2.0).argsort(1)
    ordered = negatives.int().argsort(dim=1, descending=True, stable=True)
    permuted = weights.detach().gather(1, shuffled)
    return torch.zeros_like(permuted).scatter_(1, ordered, permuted).masked_fill_(~negatives, 0.0)


def _check(beta: float, top_k: int | None, beta_unit: str) -> None:
    if beta_unit not in UNITS:
        raise ValueError(f"beta_unit must be 'similarity' or 'deviation', got {beta_unit!r}")
    if not (math.isfinite(beta) and beta >= 0):
        raise ValueError(f"beta must be finite and >= 0, got {beta}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be >= 1, got {top_k}")


def _weights(similarity: Tensor, beta: float, negatives: Tensor, top_k: int | None, beta_unit: str) -> Tensor:
    """exp(beta * similarity) on the negatives, scaled to mean 1 over them; overwrites `similarity`.

    A similarity that is not a number makes its whole row so: the loss then shows it.
    """
    scores = similarity.masked_fill(~negatives, -torch.inf)  # (batch, docs)
    weighted = negatives
    if top_k is not None and top_k < scores.shape[1]:
        least = scores.topk(top_k, dim=1).values[:, -1:] - TIE  # (batch, 1)
        weighted = negatives & ~(scores < least)  # (batch, docs)
    largest = scores.amax(1, keepdim=True)  # (batch, 1); -inf for a query without negatives, whose weights are all 0
    count = negatives.sum(1, keepdim=True)  # (batch, 1)
    sharpness: float | Tensor = beta
    if beta_unit == "deviation":
        mean = similarity.where(negatives, 0.0).sum(1, keepdim=True) / count.clamp_min(1)
        variance = (similarity - mean).square_().where(negatives, 0.0).sum(1, keepdim=True) / count.clamp_min(1)
        sharpness = beta / variance.sqrt().clamp_min(TIE)
    weights = similarity.sub_(largest).mul_(sharpness).exp_().masked_fill_(~weighted, 0.0)
    return weights.mul_(count / weights.sum(1, keepdim=True).clamp_min(1.0))
