"""Invariants of Matryoshka dimensions.

- Value and every gradient are those of sentence-transformers' MatryoshkaLoss around its MultipleNegativesRankingLoss,
  hard negatives included, at once, in chunks and over two ranks.
- The whole embedding is always one of the lengths; without others the loss is bitwise that of before.
- A training with them makes the leading dimensions better by themselves.
- A length that the model does not have is an error before training.
"""

import pytest
import torch

from tests.ranks import run_ranks
from tests.tiny import run_settings, train
from tests.training_pairs import EM, assert_same, batch_of, make, sentence_transformer, step, table, their_step
from tsembed.contrastive.grad_cache import cached_backward
from tsembed.contrastive.matryoshka import leading, nested_dims
from tsembed.settings import Training
from tsembed.training.objective import PairEncoder, contrastive_loss

pytestmark = pytest.mark.processor

DIMS = [32, 16, 4]


def test_the_whole_embedding_is_always_one_of_the_lengths():
    assert nested_dims([4, 16], 32) == nested_dims([32, 4, 16], 32) == DIMS
    assert nested_dims([], 32) == [32]
    with pytest.raises(ValueError, match=r"matryoshka_dims \[64\]: 64 is not in 1\.\.32, the model's dimensions"):
        nested_dims([64], 32)
    with pytest.raises(ValueError, match="a length is named once"):
        nested_dims([16, 16], 32)


def test_leading_dimensions_have_unit_norm_and_all_of_them_are_the_same_tensor():
    vectors = torch.tensor([[0.6, 0.0, 0.8]])
    assert leading(vectors, 3) is vectors
    assert leading(vectors, 2).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize(("chunk", "rows"), [(None, None), (2, None), (2, 3)])
def test_value_and_gradient_are_those_of_sentence_transformers(tokenizer, tmp_path, chunk, rows):
    from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss, MultipleNegativesRankingLoss

    data, encoder = table(), make(tokenizer)
    batch, order = batch_of(encoder, EM, data, chunk=chunk)
    found = step(PairEncoder(encoder, EM), batch, rows, dims=DIMS)
    model = sentence_transformer(encoder, tmp_path)
    inner = MultipleNegativesRankingLoss(model, scale=1 / EM.temperature)
    expected = their_step(model, MatryoshkaLoss(model, inner, DIMS), data[order])
    assert_same(found, expected, atol=2e-5, rtol=1e-3)
    assert abs(step(PairEncoder(encoder, EM), batch, rows)[0] - expected[0]) > 1


def test_without_other_lengths_the_loss_is_bitwise_the_same(tokenizer):
    encoder = make(tokenizer)
    batch, _ = batch_of(encoder, EM, table())
    plain, whole = (step(PairEncoder(encoder, EM), batch, dims=dims) for dims in ((), [32]))
    assert torch.equal(plain[0], whole[0])
    assert all(torch.equal(plain[1][name], whole[1][name]) for name in plain[1])


def _rank(rank, folder, data, tokenizer):
    encoder = make(tokenizer)
    batch, _ = batch_of(encoder, EM, data, chunk=2, rank=rank, world_size=2)
    pairs = PairEncoder(encoder, EM)
    model = torch.nn.parallel.DistributedDataParallel(pairs, find_unused_parameters=True)

    def loss(outputs):
        return contrastive_loss(outputs, batch, rows=3, dims=DIMS)

    value = cached_backward(model, batch.chunks, loss, no_sync=model.no_sync)
    torch.save((value, {n: p.grad for n, p in pairs.named_parameters() if p.grad is not None}), folder / f"{rank}.pt")


@pytest.mark.slow
def test_two_ranks_give_the_gradient_of_one_process(tokenizer, tmp_path):
    data, encoder = table([2, 0, 1, 2, 0, 1, 0, 0]), make(tokenizer)
    run_ranks(_rank, 2, tmp_path, data, tokenizer)
    whole = step(PairEncoder(encoder, EM), batch_of(encoder, EM, data)[0], dims=DIMS)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    for _, gradients in ranks:
        assert_same(((ranks[0][0] + ranks[1][0]) / 2, gradients), whole, atol=2e-5, rtol=1e-3)


def run(tokenizer, folder, **training):
    defaults = dict(steps=30, batch_size=8, precision="fp32", warmup_steps=1, learning_rate=3e-3, checkpoint_every=100)
    chosen = run_settings(EM, Training(**defaults, max_query_tokens=32, max_document_tokens=32, **training))
    encoder, data = make(tokenizer), table()
    assert train(chosen, encoder, {"r": data}, {"r": "retrieval"}, folder)
    sides = [
        torch.from_numpy(encoder.encode(data[side], "search_query", truncate_dim=4)) for side in ("query", "document")
    ]
    return torch.nn.functional.cross_entropy(sides[0] @ sides[1].T / 0.05, torch.arange(len(data))).item()


def test_the_leading_dimensions_learn(tokenizer, tmp_path):
    plain, nested = (run(tokenizer, tmp_path / str(len(dims)), matryoshka_dims=dims) for dims in ((), (4, 16)))
    assert nested < plain / 2


def test_a_length_that_the_model_does_not_have_is_an_error(tokenizer, tmp_path):
    with pytest.raises(ValueError, match=r"64 is not in 1\.\.32"):
        run(tokenizer, tmp_path, matryoshka_dims=(64,))
    assert not tmp_path.joinpath("metrics.jsonl").exists()
