"""Invariants of training with hard negatives.

- Value and every gradient are those of sentence-transformers' MultipleNegativesRankingLoss with the same columns, at
  once and in chunks, of the gradient cache and of the scores.
- Rows may have fewer than others, or none; more than the setting's are not read; every query sees those of all rows.
- A hard negative that is the positive of a query, or the query itself, is no negative of it.
- They are embedded on the document route, of every variant; EANS weighs them by their own routing, and the mean over
  all negatives stays 1.
- Two ranks with different numbers of them give the loss and the gradient of one process.
- Without the setting a table that has them trains bitwise as one that has none.
"""

import pytest
import torch
from datasets import Dataset

from tests.ranks import run_ranks
from tests.tiny import run_settings, train
from tests.training_pairs import (
    EM,
    PAIRS,
    RETRIEVAL,
    assert_same,
    batch_of,
    make,
    sentence_transformer,
    step,
    table,
    their_step,
)
from tsembed.contrastive.gather import gather_ragged
from tsembed.contrastive.grad_cache import cached_backward
from tsembed.contrastive.losses import negatives_of
from tsembed.settings import Adapter, Negatives, TokenRouting, Training, Variant
from tsembed.tasks import ROUTES
from tsembed.training.objective import PairEncoder, contrastive_loss, weighting

pytestmark = pytest.mark.processor

VARIANTS = {
    "em": EM,
    "mote": Variant(label="MoTE", experts={route: route for route in ROUTES}, tasks=RETRIEVAL),
    "tlr": Variant(label="TLR", token_routing=TokenRouting(), tasks=RETRIEVAL),
    "moe_lora": Variant(label="MoE-LoRA", adapter=Adapter(r=4), tasks=RETRIEVAL),
    "tsembed": Variant(
        label="TSEmbed", adapter=Adapter(r=4), negatives=Negatives(first_stage=0.0, beta=30.0), tasks=RETRIEVAL
    ),
}


@pytest.mark.parametrize(("chunk", "rows"), [(None, None), (2, None), (2, 3)])
def test_value_and_gradient_are_those_of_sentence_transformers(tokenizer, tmp_path, chunk, rows):
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    data, encoder = table(), make(tokenizer)
    batch, order = batch_of(encoder, EM, data, chunk=chunk)
    found = step(PairEncoder(encoder, EM), batch, rows)
    model = sentence_transformer(encoder, tmp_path)
    expected = their_step(model, MultipleNegativesRankingLoss(model, scale=1 / EM.temperature), data[order])
    assert_same(found, expected, atol=1e-5, rtol=1e-3)
    without = batch_of(encoder, EM, data, hard=0)[0]
    assert abs(step(PairEncoder(encoder, EM), without)[0] - expected[0]) > 0.1


def test_rows_may_have_fewer_and_every_query_sees_all(tokenizer):
    data, encoder = table([3, 0, 1, 2, 0, 5, 1, 0]), make(tokenizer)
    batch, order = batch_of(encoder, EM, data, hard=2, chunk=2)
    assert [chunk.hard_negatives for chunk in batch.chunks] == [
        sum(min(2, len(data[row]["negatives"])) for row in order[i : i + 2]) for i in range(0, PAIRS, 2)
    ]
    assert 0 < sum(chunk.hard_negatives for chunk in batch.chunks) == len(batch.negative_groups) == 8
    hard = [text for row in order for text in data[row]["negatives"][:2]]
    queries, documents = data[order]["query"], data[order]["document"]
    vectors = [torch.from_numpy(encoder.encode(texts, "search_query")) for texts in (queries, [*documents, *hard])]
    scores = vectors[0] @ vectors[1].T / 0.05  # (queries, documents)
    expected = torch.nn.functional.cross_entropy(scores, torch.arange(PAIRS))
    torch.testing.assert_close(step(PairEncoder(encoder, EM), batch)[0], expected, atol=1e-5, rtol=1e-4)


def test_a_hard_negative_that_answers_a_query_is_none_of_its_negatives(tokenizer):
    rows = {
        "query": ["fjord", "inlet", "cape"],
        "document": ["a sea inlet", "a small bay", "land in the sea"],
        "group": [1, 2, 3],
        "negatives": [["a small bay", "cape"], ["a hill"], []],
    }
    encoder = make(tokenizer)
    batch, order = batch_of(encoder, EM, Dataset.from_dict(rows))
    hard = [text for row in order for text in rows["negatives"][row]]
    allowed = negatives_of(batch.query_groups, batch.negative_groups)
    for place, row in enumerate(order):
        own = {rows["query"][row], rows["document"][row]}
        assert allowed[place].tolist() == [text not in own for text in hard]
    assert allowed.sum() == 7  # of nine: "a small bay" answers "inlet", and "cape" is a query
    texts = [rows["document"][row] for row in order] + hard
    sides = [[rows["query"][row] for row in order], texts]
    queries, documents = (torch.from_numpy(encoder.encode(side, "search_query")) for side in sides)
    scores = queries @ documents.T / EM.temperature
    left_out = torch.cat([torch.zeros(3, 3, dtype=torch.bool), ~allowed], dim=1)
    expected = torch.nn.functional.cross_entropy(scores.masked_fill(left_out, -torch.inf), torch.arange(3))
    assert abs(torch.nn.functional.cross_entropy(scores, torch.arange(3)) - expected) > 1e-2
    torch.testing.assert_close(step(PairEncoder(encoder, EM), batch)[0], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_gradient_cache_gives_the_same_for_every_variant(tokenizer, name):
    variant, data = VARIANTS[name], table([2, 0, 1, 2, 0, 2, 1, 0])
    weigh = (lambda outputs: weighting(variant.negatives, outputs, 0)) if variant.negatives else None
    found = []
    for chunk in (None, 2):
        encoder = make(tokenizer, variant).eval()
        batch, _ = batch_of(encoder, variant, data, chunk=chunk)
        found.append(step(PairEncoder(encoder, variant), batch, rows=3, weigh=weigh))
        document = batch.chunks[0].documents[0].routes
        assert document == "search_document"  # the hard negatives of a chunk stand among its documents
    assert len(found[0][1]) > 10
    assert_same(found[1], found[0], atol=1e-5, rtol=1e-3)
    without = batch_of(encoder, variant, data, hard=0)[0]
    assert abs(step(PairEncoder(encoder, variant), without, weigh=weigh)[0] - found[0][0]) > 1e-2


def test_eans_weighs_hard_negatives_by_their_own_routing(tokenizer):
    variant, data = VARIANTS["tsembed"], table()
    encoder = make(tokenizer, variant)
    batch, _ = batch_of(encoder, variant, data)
    with torch.no_grad():
        outputs = PairEncoder(encoder, variant)(batch.chunks[0])
    assert outputs["negative_signature"].shape == (2 * PAIRS, *outputs["document_signature"].shape[1:])
    candidates = torch.cat([outputs["document"], outputs["negative"]])
    allowed = negatives_of(batch.query_groups, torch.cat([batch.document_groups, batch.negative_groups]))
    chosen = variant.negatives.model_copy(update={"beta_unit": "deviation", "beta": 1.0})
    weights = weighting(chosen, outputs, 0)(slice(None), candidates, allowed)
    torch.testing.assert_close(weights.sum(1), torch.full((PAIRS,), 3.0 * PAIRS - 1))
    alike = torch.nn.functional.cosine_similarity(
        outputs["query_signature"].flatten(1)[:, None], outputs["negative_signature"].flatten(1)[None], dim=-1
    )
    for query in range(PAIRS):
        order = alike[query].argsort()
        ordered = weights[query, PAIRS:][order]
        assert (ordered.diff() >= -1e-4).all()
        assert ordered[-1] > 1.2 * ordered[0]


COUNTS = [2, 0, 1, 2, 0, 0, 0, 0]


def _rank(rank, folder, data, tokenizer, order):
    """With other numbers of hard negatives on each rank; on the second there may be none."""
    for name in ("em", "mote", "tsembed"):
        variant = VARIANTS[name]
        encoder = make(tokenizer, variant).eval()
        batch, _ = batch_of(encoder, variant, data, chunk=2, rank=rank, world_size=2)
        assert len(batch.negative_groups) == sum(COUNTS[row] for row in order[4 * rank : 4 * rank + 4])
        pairs = PairEncoder(encoder, variant)
        model = torch.nn.parallel.DistributedDataParallel(pairs, find_unused_parameters=True)
        weigh = (lambda outputs, v=variant: weighting(v.negatives, outputs, 0)) if variant.negatives else None

        def loss(outputs, batch=batch, weigh=weigh):
            return contrastive_loss(outputs, batch, rows=3, weigh=weigh(outputs) if weigh else None)

        value = cached_backward(model, batch.chunks, loss, no_sync=model.no_sync)
        gradients = {n: p.grad for n, p in pairs.named_parameters() if p.grad is not None}
        torch.save((value, gradients), folder / f"{name}-{rank}.pt")
    assert gather_ragged(torch.empty(0, 3)).shape == (0, 3)  # none on any rank


@pytest.mark.slow
def test_two_ranks_with_different_numbers_give_the_gradient_of_one_process(tokenizer, tmp_path):
    data = table(COUNTS)
    _, order = batch_of(make(tokenizer), EM, data)
    assert len({sum(COUNTS[row] for row in order[half]) for half in (slice(0, 4), slice(4, 8))}) == 2
    run_ranks(_rank, 2, tmp_path, data, tokenizer, order)
    for name in ("em", "mote", "tsembed"):
        variant = VARIANTS[name]
        encoder = make(tokenizer, variant).eval()
        weigh = (lambda outputs, v=variant: weighting(v.negatives, outputs, 0)) if variant.negatives else None
        whole = step(PairEncoder(encoder, variant), batch_of(encoder, variant, data)[0], weigh=weigh)
        ranks = [torch.load(tmp_path / f"{name}-{rank}.pt") for rank in (0, 1)]
        for _, gradients in ranks:
            assert_same(((ranks[0][0] + ranks[1][0]) / 2, gradients), whole, atol=1e-5, rtol=1e-3)


def run(tokenizer, data, folder, **training):
    defaults = dict(steps=6, batch_size=4, precision="fp32", warmup_steps=1, learning_rate=1e-3, checkpoint_every=100)
    chosen = run_settings(EM, Training(**defaults, max_query_tokens=32, max_document_tokens=32, **training))
    encoder = make(tokenizer)
    assert train(chosen, encoder, {"r": data}, {"r": "retrieval"}, folder)
    return encoder.backbone.state_dict()


def test_without_the_setting_training_is_bitwise_the_same_and_with_it_another(tokenizer, tmp_path):
    data = table()
    plain = run(tokenizer, data.remove_columns("negatives"), tmp_path / "plain")
    unused = run(tokenizer, data, tmp_path / "unused")
    used = run(tokenizer, data, tmp_path / "used", hard_negatives=2)
    assert all(torch.equal(plain[name], unused[name]) for name in plain)
    assert not all(torch.equal(plain[name], used[name]) for name in plain)


def test_asking_for_what_no_table_has_is_an_error(tokenizer, tmp_path):
    with pytest.raises(ValueError, match="hard_negatives 2: no training set has negatives"):
        run(tokenizer, table().remove_columns("negatives"), tmp_path, hard_negatives=2)
