"""Invariants of the loss of a batch.

- A document that shares a group with a query counts neither in its denominator nor in its gradient: hand-worked values,
  at once and in chunks, through the gradient cache, with EANS weights, and over two ranks.
- EANS compares a negative's routing with the query's or with its positive's, as the settings say.
"""

import math

import pytest
import torch

from tests.ranks import run_ranks
from tsembed.contrastive.grad_cache import cached_backward
from tsembed.settings import Negatives
from tsembed.training.batches import Batch
from tsembed.training.objective import contrastive_loss, weighting

# exp(s_ij) of document j is 2 ** j for every query, so the denominator of a query is a sum of 1, 2, 4 and 8 that names
# its documents.
TEMPERATURE = 0.4
PAIRS = 4
# Kinds: the label, the query. Pairs 0 and 2 have the same label, pairs 1 and 2 the same query.
GROUPS = torch.tensor([[5, 10], [6, 11], [5, 11], [7, 13]])
DENOMINATORS = [1 + 2 + 8, 1 + 2 + 8, 4 + 8, 1 + 2 + 4 + 8]
EXPECTED = sum(math.log(total / 2**i) for i, total in enumerate(DENOMINATORS)) / PAIRS


def vectors():
    queries = torch.tensor([[1.0, 0.0]]).repeat(PAIRS, 1)
    cosines = TEMPERATURE * math.log(2) * torch.arange(PAIRS)
    return queries, torch.stack([cosines, (1 - cosines**2).sqrt()], dim=1)


def batch_of(rows=slice(None), pieces=()):
    tasks = torch.zeros(len(GROUPS[rows]), dtype=torch.long)
    return Batch(list(pieces), GROUPS[rows], GROUPS[rows], tasks, tasks, TEMPERATURE, "retrieval", "r", 0)


@pytest.mark.parametrize("rows", [None, 1, 3])
def test_documents_of_a_shared_group_are_left_out_of_the_denominator(rows):
    queries, documents = vectors()
    loss = contrastive_loss({"query": queries, "document": documents}, batch_of(), rows=rows)
    assert loss.item() == pytest.approx(EXPECTED, rel=1e-5)


@pytest.mark.parametrize("rows", [None, 1, 3])
def test_a_masked_document_gets_no_gradient(rows):
    queries, documents = (side.requires_grad_() for side in vectors())
    loss = contrastive_loss({"query": queries, "document": documents}, batch_of(), rows=rows)
    (gradient,) = torch.autograd.grad(loss, documents)
    shares = [[2**j / total for j in range(PAIRS)] for total in DENOMINATORS]
    seen = [[0, 1, 3], [0, 1, 3], [2, 3], [0, 1, 2, 3]]
    for j in range(PAIRS):
        slope = sum(shares[i][j] for i in range(PAIRS) if j in seen[i]) - 1
        assert gradient[j, 0].item() == pytest.approx(slope / (TEMPERATURE * PAIRS), rel=1e-4)


@pytest.mark.parametrize("rows", [None, 2])
def test_the_gradient_cache_masks_across_its_chunks(rows):
    queries, documents = vectors()
    weight = torch.eye(2, requires_grad=True)
    chunks = [slice(0, 2), slice(2, 4)]
    value = cached_backward(
        lambda chunk: {"query": queries[chunk] @ weight, "document": documents[chunk] @ weight},
        chunks,
        lambda outputs: contrastive_loss(outputs, batch_of(), rows=rows),
    )
    assert value.item() == pytest.approx(EXPECTED, rel=1e-5)


@pytest.mark.parametrize("rows", [None, 2])
def test_weights_stand_on_the_remaining_negatives_alone(rows):
    queries, documents = vectors()
    outputs = {"query": queries, "document": documents}
    weigh = weighting(Negatives(weights="hardness", beta=1 / TEMPERATURE), outputs)
    # Query 0 has negatives 1 and 3 with weights in the ratio 2 : 8 and the sum 2; so 2 * 0.4 + 8 * 1.6.
    # Query 1: negatives 0 and 3, 1 : 8, so (1 + 64) * 2 / 9. Query 2: negative 3, weight 1. Query 3: 1 : 2 : 4, sum 3.
    totals = [1 + 13.6, 2 + 65 * 2 / 9, 4 + 8, 8 + 21 * 3 / 7]
    expected = sum(math.log(total / 2**i) for i, total in enumerate(totals)) / PAIRS
    assert contrastive_loss(outputs, batch_of(), weigh=weigh, rows=rows).item() == pytest.approx(expected, rel=1e-5)


def test_negatives_are_compared_with_the_query_or_with_its_positive():
    first, second = [[1.0, 0.0]], [[0.0, 1.0]]
    outputs = {
        "query": torch.eye(3),
        "document": torch.eye(3),
        "query_signature": torch.tensor([first, first, first]),
        "document_signature": torch.tensor([second, first, second]),
    }
    allowed = ~torch.eye(3, dtype=torch.bool)
    found = {
        side: weighting(Negatives(beta=1.0, compared_with=side), outputs)(slice(0, 2), torch.eye(3), allowed[:2])
        for side in ("query", "positive")
    }
    # The similarity is 1 or 0. Query 0 is routed as document 1 is, its positive as document 2; query 1 as neither
    # negative, and its positive likewise.
    near, far = (2 * math.exp(s) / (1 + math.e) for s in (1, 0))
    assert found["query"].tolist() == [pytest.approx([0, near, far]), pytest.approx([1, 0, 1])]
    assert found["positive"].tolist() == [pytest.approx([0, far, near]), pytest.approx([1, 0, 1])]


def _rank(rank, folder):
    queries, documents = vectors()
    share = slice(2 * rank, 2 * rank + 2)
    losses = {}
    for rows in (None, 1):
        outputs = {"query": queries[share], "document": documents[share]}
        losses[rows] = contrastive_loss(outputs, batch_of(share), rows=rows).item()
    torch.save(losses, folder / f"{rank}.pt")


@pytest.mark.slow
def test_two_ranks_mask_the_documents_of_each_other(tmp_path):
    run_ranks(_rank, 2, tmp_path)
    for rows in (None, 1):
        found = [torch.load(tmp_path / f"{rank}.pt")[rows] for rank in (0, 1)]
        assert found[0] == pytest.approx((math.log(DENOMINATORS[0] / 1) + math.log(DENOMINATORS[1] / 2)) / 2, rel=1e-5)
        assert found[1] == pytest.approx((math.log(DENOMINATORS[2] / 4) + math.log(DENOMINATORS[3] / 8)) / 2, rel=1e-5)
