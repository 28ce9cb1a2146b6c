"""Invariants of the words that are looked up once.

- Losses and gradients are those of a lookup per chunk, dense and with experts by task, with and without padding words.
- The whole table gets one gradient; afterwards the table is as before, after an error too.
- Words that were not announced, and passes without gradient, are looked up as ever.
"""

import pytest
import torch

from tests.tiny import tiny
from tsembed.encoder.text import Encoder
from tsembed.encoder.words import words_looked_up_once
from tsembed.mote.experts import upcycle
from tsembed.settings import Variant
from tsembed.tasks import INSTRUCTIONS, ROUTES
from tsembed.training.batches import Batch, PairChunk
from tsembed.training.objective import PairEncoder, contrastive_loss

QUERIES = ["amber", "birch cedar delta", "ember " * 14, "fjord grove " * 15]
DOCUMENTS = ["heath", "inlet joint kelp lunar", "maple " * 17, "north ocean pearl amber " * 8]


def make(tokenizer, family, experts):
    model = tiny(family)
    if experts:
        model = upcycle(model, list(ROUTES))
    return Encoder(model, tokenizer, instructions=dict(INSTRUCTIONS)).eval()


def pairs(encoder):
    """Two tasks in one batch, so that most chunks have sequences of two experts."""
    sides = []
    for texts, routes in (
        (QUERIES, ["search_query", "clustering"] * 2),
        (DOCUMENTS, ["search_document", "clustering"] * 2),
    ):
        sides.append(encoder.prepare(texts * 2, routes * 2, max_tokens=64, token_budget=100)[0])
    chunk = PairChunk(*sides)
    groups = torch.arange(8).unsqueeze(1)
    tasks = torch.zeros(8, dtype=torch.long)
    return chunk, Batch([chunk], groups, groups + 0, tasks, tasks, 0.05, "retrieval", "r", 0)


def lookups(loss, weight):
    """How many lookups of the graph lead to this table."""
    nodes, seen, count = [loss.grad_fn], set(), 0
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        after = [n for n, _ in node.next_functions]
        count += any(getattr(n, "variable", None) is weight for n in after)
        nodes += after
    return count


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("experts", [False, True], ids=["dense", "experts"])
def test_losses_and_gradients_are_those_of_a_lookup_per_chunk(tokenizer, family, experts):
    encoder = make(tokenizer, family, experts)
    chunk, batch = pairs(encoder)
    parts = [*chunk.queries, *chunk.documents]
    assert any((part.attention_mask == 0).any() for part in parts)
    if experts:
        assert any(len(part.routes.unique()) > 1 for part in parts)
    weight = encoder.word_embeddings.weight
    plain = contrastive_loss({"query": encoder.embed(chunk.queries), "document": encoder.embed(chunk.documents)}, batch)
    assert lookups(plain, weight) == len(parts) > 2
    plain.backward()
    expected = {name: p.grad for name, p in encoder.named_parameters() if p.grad is not None}
    encoder.zero_grad()
    loss = contrastive_loss(PairEncoder(encoder, Variant(label="EM"))(chunk), batch)
    assert lookups(loss, weight) == 1
    loss.backward()
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
    assert expected.keys() == {name: p for name, p in encoder.named_parameters() if p.grad is not None}.keys()
    for name, p in encoder.named_parameters():
        if p.grad is not None:
            # a key's bias shifts all scores of a query alike: its gradient is rounding, and compared with the largest
            largest = max(gradient.abs().max().item() for gradient in expected.values())
            torch.testing.assert_close(p.grad, expected[name], rtol=1e-5, atol=1e-5 * largest)
    assert weight.grad.abs().sum() > 0


def test_other_words_are_looked_up_as_ever_and_the_table_is_put_back():
    table = torch.nn.Embedding(10, 3)
    announced, other = [torch.tensor([[1, 4]]), torch.tensor([[4, 7]])], torch.tensor([[7, 5, 9]])
    with words_looked_up_once(table, announced):
        assert "forward" in vars(table)
        assert torch.equal(table(announced[1]), table.weight[announced[1]])
        assert torch.equal(table(other), table.weight[other])
    assert "forward" not in vars(table)
    with pytest.raises(IndexError), words_looked_up_once(table, announced):
        table(torch.tensor([[10]]))
    assert "forward" not in vars(table)


def test_nothing_changes_without_gradient_or_of_a_frozen_table_or_a_single_chunk():
    ids = [torch.tensor([[1, 4]]), torch.tensor([[4, 7]])]
    table, frozen = torch.nn.Embedding(10, 3), torch.nn.Embedding(10, 3).requires_grad_(False)
    with torch.no_grad(), words_looked_up_once(table, ids):
        assert "forward" not in vars(table)
    with words_looked_up_once(frozen, ids), words_looked_up_once(table, ids[:1]):
        assert "forward" not in vars(table) | vars(frozen)
