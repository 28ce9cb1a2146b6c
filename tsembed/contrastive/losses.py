"""InfoNCE with optional weights on the negatives, and the load-balancing loss of learned routers."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def info_nce(
    queries: Float[Tensor, "batch dim"],
    documents: Float[Tensor, "docs dim"],
    *,
    temperature: float,
    negative_weights: Float[Tensor, "batch docs"] | None = None,
    first_positive: int = 0,
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
            positive's own column is ignored.
        first_positive: Column of query 0's positive: `rank * batch` after a gather, else 0.

    Raises:
        ValueError: If `temperature` <= 0, or if some query has no positive among the documents.

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
    with torch.autocast(queries.device.type, enabled=False):
        scores = queries.float() @ documents.float().T / temperature  # (batch, docs)
        positives = torch.arange(first_positive, first_positive + batch, device=scores.device)
        if negative_weights is not None:
            log_weights = negative_weights.detach().float().log()
            log_weights = log_weights.scatter(1, positives[:, None], 0.0)  # the positive counts once
            positive_scores = scores.gather(1, positives[:, None])[:, 0]  # (batch,)
            return (torch.logsumexp(scores + log_weights, dim=1) - positive_scores).mean()
        return torch.nn.functional.cross_entropy(scores, positives)


def same_group_weights(
    query_groups: Int[Tensor, " batch"], document_groups: Int[Tensor, " docs"]
) -> Float[Tensor, "batch docs"]:
    """Negative weights that drop documents of the query's own group: 0 where the groups are equal, else 1.

    A group is a label of a labelled source, or a text that stands in the batch twice; neither is a negative.

    >>> same_group_weights(torch.tensor([1, 2]), torch.tensor([1, 2, 1])).tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]
    """
    return (query_groups[:, None] != document_groups[None, :]).float()


def load_balancing(
    probabilities: Float[Tensor, "tokens experts"], chosen: Int[Tensor, "tokens top_k"]
) -> Float[Tensor, ""]:
    """How unevenly a router uses its experts: 1 if all alike, the number of experts if all tokens take the same.

        num_experts * sum_e f_e P_e,   f_e: share of the choices that fell on e,  P_e: mean probability of e

    (Fedus et al. 2021, https://arxiv.org/abs/2101.03961, eq. 4 to 6.) The gradient flows through P alone.

    >>> load_balancing(torch.tensor([[0.9, 0.1], [0.1, 0.9]]), torch.tensor([[0], [1]])).item()
    1.0
    """
    experts = probabilities.shape[1]
    shares = torch.bincount(chosen.flatten(), minlength=experts).float() / chosen.numel()  # (experts,)
    return experts * (shares * probabilities.float().mean(0)).sum()
