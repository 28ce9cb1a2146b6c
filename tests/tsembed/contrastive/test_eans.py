"""Invariants of EANS and its controls.

- Hand-worked similarities and weights, in both forms; equal signatures are the most alike.
- The weights of a query have mean 1 over its negatives whatever beta, top_k and form, and are 0 elsewhere; beta = 0 is
  exactly plain InfoNCE; a larger beta moves weight to the more similar, the largest all of it to the most similar.
- They do not depend on the order of the documents, nor on documents that are no negatives, and have no gradient; made
  in parts, as of ranks or chunks, they are the same.
- In InfoNCE they make the more similar negative's gradient larger by just their ratio.
- Centered, what a document is to all queries does not count, nor what is common to all.
- Shuffled weights are the same values on the same negatives, in another order, that the generator decides.
"""

import math

import pytest
import torch

from tsembed.contrastive.eans import (
    centered,
    hardness_weights,
    negative_weights,
    shuffled_weights,
    signature_similarity,
)
from tsembed.contrastive.losses import info_nce

FORMS = pytest.mark.parametrize("form", ["cosine", "kl"])


def signatures(n, layers=3, experts=4, seed=0):
    return torch.randn(n, layers, experts, generator=torch.Generator().manual_seed(seed)).mul(2).softmax(-1)


def but_own(batch, docs):
    """Every document but the one of the query's own number is a negative."""
    return torch.arange(batch)[:, None] != torch.arange(docs)


def test_shape_of_local_queries_and_gathered_documents():
    q, d = signatures(3), signatures(6, seed=1)
    assert negative_weights(q, d, beta=1.0, negatives=but_own(3, 6)).shape == (3, 6)
    assert hardness_weights(q[:, 0], d[:, 0], beta=1.0, negatives=but_own(3, 6)).shape == (3, 6)


def test_hand_worked_similarities():
    half, quarter = torch.tensor([[[0.5, 0.5], [1.0, 0.0]]]), torch.tensor([[[0.25, 0.75], [0.0, 1.0]]])
    cosine = 0.5 / math.sqrt(0.5 + 1) / math.sqrt(0.0625 + 0.5625 + 1)  # the two layers concatenated
    assert signature_similarity(half, quarter).item() == pytest.approx(cosine)
    first = (0.5 * math.log(2) + 0.5 * math.log(2 / 3)) / 1  # KL of the first layer alone
    found = signature_similarity(half[:, :1], quarter[:, :1], "kl")
    assert found.item() == pytest.approx(-first)
    second = math.log(1 / 1e-6)  # of the second, where the document's probability is 0
    assert signature_similarity(half, quarter, "kl").item() == pytest.approx(-(first + second) / 2, rel=1e-4)


def test_hand_worked_weights():
    # cosines 1 and 0.6 to the negatives: the share of the first is e^(5 * 0.4) / (1 + e^(5 * 0.4))
    query, documents = torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[0.3, 0.4]], [[0.0, 1.0]], [[0.8, 0.6]]])
    negatives = torch.tensor([[False, True, True]])
    share = 1 / (1 + math.exp(-2.0))
    expected = torch.tensor([[0.0, 2 * share, 2 * (1 - share)]])
    torch.testing.assert_close(negative_weights(query, documents, beta=5.0, negatives=negatives), expected)
    kept = negative_weights(query, documents, beta=5.0, top_k=1, negatives=negatives)
    assert kept.tolist() == [[0.0, 2.0, 0.0]]


@FORMS
def test_equal_signatures_are_the_most_alike(form):
    s = signatures(8)
    similarity = signature_similarity(s, s, form)
    assert similarity.argmax(1).tolist() == list(range(8))
    torch.testing.assert_close(similarity.diag(), torch.full((8,), {"cosine": 1.0, "kl": 0.0}[form]))


UNITS = pytest.mark.parametrize("unit", ["similarity", "deviation"])


@FORMS
@UNITS
@pytest.mark.parametrize("top_k", [None, 1, 3, 100])
@pytest.mark.parametrize("beta", [0.0, 1.0, 30.0, 1e6])
def test_weights_have_mean_one_over_the_negatives_and_are_zero_elsewhere(form, unit, top_k, beta):
    negatives = but_own(5, 9) & (torch.rand(5, 9, generator=torch.Generator().manual_seed(0)) < 0.7)
    negatives[4] = False  # a query without negatives
    how = {"beta": beta, "beta_unit": unit, "top_k": top_k, "form": form}
    w = negative_weights(signatures(5), signatures(9, seed=1), **how, negatives=negatives)
    torch.testing.assert_close(w.sum(1), negatives.sum(1).float())
    assert (w >= 0).all()
    assert (w[~negatives] == 0).all()
    assert negatives[:4].sum(1).min() > 3
    if top_k is not None and beta < 10:
        assert ((w > 0).sum(1) == negatives.sum(1).clamp(max=top_k)).all()


def test_beta_per_deviation_weighs_as_much_however_close_the_signatures_are():
    q, d, negatives = signatures(6), signatures(9, seed=1), but_own(6, 9)
    near = [0.25 + 0.01 * (s - 0.25) for s in (q, d)]  # the same, from routers that have hardly moved
    flat = negative_weights(*near, beta=10.0, negatives=negatives)[negatives]
    assert flat.min() > 0.99
    assert flat.max() < 1.01
    far, close = (negative_weights(*s, beta=1.0, beta_unit="deviation", negatives=negatives) for s in ((q, d), near))
    similarity = signature_similarity(q, d)
    for row in range(6):  # by hand: a deviation is worth a factor of e
        ours = similarity[row, negatives[row]].double()
        expected = torch.exp(ours / ours.std(unbiased=False))
        expected = (expected / expected.mean()).float()
        torch.testing.assert_close(far[row, negatives[row]], expected, rtol=1e-4, atol=1e-5)
    assert close[negatives].max() > 2
    assert close[negatives].min() < 0.5
    equal = negative_weights(
        q[:1].expand(6, -1, -1), q[:1].expand(9, -1, -1), beta=1.0, beta_unit="deviation", negatives=negatives
    )
    torch.testing.assert_close(equal, negatives.float(), rtol=0.05, atol=0)  # no spread at all, but for rounding


def test_centered_signatures_leave_out_what_a_document_is_to_all_queries():
    own = torch.eye(4)[:, None].repeat(2, 1, 1)  # documents 0 and 4 are routed like query 0 …
    queries, documents = 0.7 + 0.1 * own[:4], 0.7 + 0.1 * own
    queries, documents = torch.cat([queries, torch.zeros(4, 1, 1)], 2), torch.cat([documents, torch.zeros(8, 1, 1)], 2)
    documents[:4, 0, 4] += 1.0  # … but the first four have something of their own beside it
    negatives = but_own(4, 8)
    plain = negative_weights(queries, documents, beta=10.0, negatives=negatives)
    assert (plain[:, 4:] > plain[:, :4].max()).all(), "uncentered, what is common to documents decides"
    shifted = negative_weights(*centered(queries, documents), beta=10.0, negatives=negatives)
    others = negatives & ~torch.eye(4, dtype=torch.bool).repeat(1, 2)  # negatives that are not routed like the query
    assert plain[others].max() > 2 * plain[others].min()
    torch.testing.assert_close(shifted[others], shifted[others].mean().expand(24)), "centered, they weigh alike"
    assert (shifted[:, 4:].diag() > 2 * shifted[others].max()).all(), "… and the one that is weighs more"
    q, d = centered(queries, documents)
    torch.testing.assert_close(q.mean(0), torch.zeros(1, 5))
    torch.testing.assert_close(d.mean(0), torch.zeros(1, 5))
    again = centered(queries + 3.0, documents - 2.0)
    torch.testing.assert_close(again, (q, d))


def test_beta_zero_is_exactly_plain_info_nce():
    negatives = but_own(50, 50)
    w = negative_weights(signatures(50), signatures(50, seed=1), beta=0.0, negatives=negatives)
    assert torch.equal(w, negatives.float())
    q, d = (torch.nn.functional.normalize(torch.randn(50, 8), dim=1) for _ in range(2))
    plain = info_nce(q, d, temperature=0.05)
    torch.testing.assert_close(info_nce(q, d, temperature=0.05, negative_weights=w), plain)
    sharp = negative_weights(signatures(50), signatures(50, seed=1), beta=5.0, negatives=negatives)
    assert abs(info_nce(q, d, temperature=0.05, negative_weights=sharp) - plain) > 1e-3


@FORMS
def test_larger_beta_moves_weight_to_the_more_similar(form):
    q, d, negatives = signatures(4), signatures(7, seed=1), but_own(4, 7)
    similarity = signature_similarity(q, d, form)
    means = []
    for beta in (0.0, 1.0, 3.0, 10.0):
        w = negative_weights(q, d, beta=beta, form=form, negatives=negatives)
        means.append((w * similarity).sum(1) / 6)
        ordered = w.gather(1, similarity.masked_fill(~negatives, -1e9).argsort(1))  # ascending, the positive first
        assert (ordered.diff(dim=1)[:, 1:] >= 0).all()
    assert (torch.stack(means).diff(dim=0) > 0).all()
    most = negative_weights(q, d, beta=1e6, form=form, negatives=negatives)
    best = similarity.masked_fill(~negatives, -torch.inf).argmax(1)
    assert torch.equal(most, 6.0 * torch.nn.functional.one_hot(best, 7))


@UNITS
@pytest.mark.parametrize("top_k", [None, 2])
def test_order_and_company_of_the_documents_do_not_matter(top_k, unit):
    q, d, negatives = signatures(3), signatures(6, seed=1), but_own(3, 6)
    d[4] = d[5]  # as similar as each other: both are kept, or neither
    whole = negative_weights(q, d, beta=3.0, beta_unit=unit, top_k=top_k, negatives=negatives)
    assert torch.equal(whole[:, 4], whole[:, 5])
    order = torch.randperm(6)
    found = negative_weights(q, d[order], beta=3.0, beta_unit=unit, top_k=top_k, negatives=negatives[:, order])
    torch.testing.assert_close(found, whole[:, order])
    more = torch.cat([d, signatures(2, seed=2)])
    no_negatives = torch.cat([negatives, torch.zeros(3, 2, dtype=torch.bool)], dim=1)
    found = negative_weights(q, more, beta=3.0, beta_unit=unit, top_k=top_k, negatives=no_negatives)
    torch.testing.assert_close(found[:, :6], whole)
    how = {"beta": 3.0, "beta_unit": unit, "top_k": top_k}
    parts = [negative_weights(q[i : i + 1], d, **how, negatives=negatives[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_weights_have_no_gradient_and_leave_the_signatures_as_they_were():
    s = signatures(4).requires_grad_()
    before = s.detach().clone()
    assert signature_similarity(s, s).requires_grad
    assert not negative_weights(s, s, beta=1.0, negatives=but_own(4, 4)).requires_grad
    assert not hardness_weights(s[:, 0], s[:, 1], beta=1.0, negatives=but_own(4, 4)).requires_grad
    assert torch.equal(s, before)


def test_weights_scale_the_gradient_of_equally_similar_negatives():
    signature = torch.tensor([[[0.9, 0.1]], [[0.5, 0.5]], [[0.9, 0.1]], [[0.1, 0.9]]])  # the third uses the query's
    w = negative_weights(signature[:1], signature, beta=4.0, negatives=torch.tensor([[False, False, True, True]]))
    documents = torch.eye(4).requires_grad_()
    query = torch.full((1, 4), 0.5)
    info_nce(query, documents, temperature=0.5, negative_weights=w).backward()
    pull = documents.grad.norm(dim=1)
    assert pull[1] == 0
    assert w[0, 2] > 2 * w[0, 3] > 0
    torch.testing.assert_close(pull[2] / pull[3], w[0, 2] / w[0, 3])


def test_hardness_weights_follow_the_embeddings():
    q, d = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    w = hardness_weights(q, d, beta=2.0, negatives=torch.tensor([[False, True, True]]))
    share = 1 / (1 + math.exp(-1.6))
    torch.testing.assert_close(w, torch.tensor([[0.0, 2 * share, 2 * (1 - share)]]))
    w = hardness_weights(q, d, beta=2.0, beta_unit="deviation", negatives=torch.tensor([[False, True, True]]))
    share = 1 / (1 + math.exp(-4.0))  # similarities 0.8 and 0: their deviation is 0.4
    torch.testing.assert_close(w, torch.tensor([[0.0, 2 * share, 2 * (1 - share)]]))


@pytest.mark.parametrize("alpha", [0.0, 5.0, 9.0])
def test_hardness_weights_are_those_of_sentence_transformers_but_for_their_mean(alpha):
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.util import dot_score

    sides = [torch.nn.functional.normalize(torch.randn(12, 6, dtype=torch.double), dim=1) for _ in range(2)]
    found = []
    for ours in (False, True):
        queries, documents = (side.clone().requires_grad_() for side in sides)
        if ours:
            negatives = but_own(12, 12)
            weights = hardness_weights(queries, documents, beta=alpha, negatives=negatives).double()
            # Theirs are exp(alpha cos); ours are scaled to mean 1 over a query's negatives.
            theirs = (alpha * queries.detach() @ documents.detach().T).exp()
            means = theirs.where(negatives, 0.0).sum(1, keepdim=True) / 11
            loss = info_nce(queries, documents, temperature=0.05, negative_weights=weights * means)
        else:
            mode = {"hardness_mode": "in_batch_negatives", "hardness_strength": alpha, "similarity_fct": dot_score}
            model = torch.nn.Module()  # only its embeddings are asked for
            theirs = MultipleNegativesRankingLoss(model, scale=20.0, **mode)
            loss = theirs.compute_loss_from_embeddings([queries, documents], torch.zeros(12))
        loss.backward()
        found.append((loss.detach(), queries.grad, documents.grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_shuffled_weights_are_the_same_values_on_the_same_negatives():
    q, d = signatures(40), signatures(60, seed=1)
    negatives = but_own(40, 60) & (torch.rand(40, 60) < 0.6)
    w = negative_weights(q, d, beta=5.0, negatives=negatives)
    found, again, other = (shuffled_weights(w, negatives, torch.Generator().manual_seed(k)) for k in (1, 1, 2))
    assert torch.equal(found.sort(1).values, w.sort(1).values)
    assert (found[~negatives] == 0).all()
    assert torch.equal(found, again)
    assert not torch.equal(found, other)
    similarity = signature_similarity(q, d)
    related = [torch.corrcoef(torch.stack([x[negatives], similarity[negatives]]))[0, 1] for x in (w, found)]
    assert related[0] > 0.5
    assert related[1].abs() < 0.1


def test_half_precision_and_autocast_do_not_change_the_weights():
    q, d, negatives = signatures(4), signatures(6, seed=1), but_own(4, 6)
    expected = negative_weights(q, d, beta=10.0, negatives=negatives)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(negative_weights(q, d, beta=10.0, negatives=negatives), expected)
    half = negative_weights(q.bfloat16(), d.bfloat16(), beta=10.0, negatives=negatives)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.sum(1), negatives.sum(1).float())


@FORMS
def test_a_signature_that_is_not_a_number_is_not_hidden(form):
    d = signatures(5)
    d[4, 1] = torch.nan
    for top_k in (None, 2):
        w = negative_weights(signatures(4), d, beta=1.0, top_k=top_k, form=form, negatives=but_own(4, 5))
        assert w.isnan().any(1).all()


def test_bad_arguments_name_value_and_rule():
    s, negatives = signatures(3), but_own(3, 3)
    for beta in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"beta must be finite and >= 0, got {beta}"):
            negative_weights(s, s, beta=beta, negatives=negatives)
        with pytest.raises(ValueError, match="beta must be finite and >= 0"):
            hardness_weights(s[:, 0], s[:, 0], beta=beta, negatives=negatives)
    with pytest.raises(ValueError, match="top_k must be >= 1, got 0"):
        negative_weights(s, s, beta=1.0, top_k=0, negatives=negatives)
    with pytest.raises(ValueError, match="beta_unit must be 'similarity' or 'deviation', got 'rank'"):
        negative_weights(s, s, beta=1.0, beta_unit="rank", negatives=negatives)
    with pytest.raises(ValueError, match="form must be 'cosine' or 'kl', got 'dot'"):
        signature_similarity(s, s, "dot")
    with pytest.raises(ValueError, match="have 3 x 4 layers x experts, document signatures 2 x 4"):
        negative_weights(s, s[:, :2], beta=1.0, negatives=negatives)
