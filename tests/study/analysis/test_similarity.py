"""Invariants of inter-task similarity and of held-out recall.

- A generic encoder has similarity 1 on all six pairs, one with experts less; a row per text and pair.
- Similarity by layer ends with the mean of inter-task similarity, in every family, and starts where only the
  instructions differ; without instructions the routes part in the first block with experts, not before.
- A collapsed or non-finite model has recall 0; documents of the query's own group are no candidates.
"""

import numpy as np
import pytest
import torch

from study.analysis.results import per_text
from study.probes.similarity import PAIRS, inter_task_similarity, similarity_by_layer
from tests.tiny import FAMILIES, tiny
from tsembed.encoder.text import Encoder
from tsembed.evaluation.recall import recall_at_1
from tsembed.mote.experts import upcycle
from tsembed.tasks import INSTRUCTIONS, ROUTES


def test_experts_lower_the_similarity_of_a_text_with_itself(tokenizer):
    texts = ["one river", "two stones and a lamp"]
    generic = inter_task_similarity(Encoder(tiny("bert"), tokenizer), texts)
    assert len(generic) == len(texts) * len(PAIRS) == 12
    np.testing.assert_allclose(generic.cosine, 1, atol=1e-6)
    model = upcycle(tiny("bert"), ROUTES)
    for name, p in model.named_parameters():
        if ".search_query." in name:
            p.data += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
    found = inter_task_similarity(Encoder(model, tokenizer), texts)
    moved = (found["first"] == "search_query") | (found["second"] == "search_query")
    assert found.cosine[moved].max() < 0.999
    assert found.cosine[~moved].min() > 1 - 1e-6
    table = found.assign(pair=found["first"] + "–" + found["second"], similarity=found.cosine, method="mote", seed=0)
    assert per_text(table, "mote", ["clustering–search_query"]).shape == (1, 2)


def disturbed(model_type, tokenizer, instructions=None, blocks="every"):
    model = upcycle(tiny(model_type), ROUTES, blocks)
    for name, p in model.named_parameters():
        if ".experts." in name:
            p.data += 0.1 * torch.randn(p.shape)
    return Encoder(model, tokenizer, instructions=instructions).eval()


@pytest.mark.parametrize("model_type", FAMILIES)
@pytest.mark.parametrize("token_budget", [1536, 20])
def test_the_last_layer_has_the_inter_task_similarity(model_type, token_budget, tokenizer):
    texts = ["one river", "two stones and a lamp", "a door"]
    encoder = disturbed(model_type, tokenizer, dict(INSTRUCTIONS))
    found = similarity_by_layer(encoder, texts, token_budget=token_budget)
    expected = inter_task_similarity(encoder, texts).groupby("text").cosine.mean()
    assert list(found.columns) == ["layer", "text", "cosine"]
    assert len(found) == 3 * 3
    np.testing.assert_allclose(found[found.layer == 2].cosine, expected, atol=2e-5)
    assert expected.max() < 0.999
    assert expected.std() > 1e-4
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in encoder.modules())


def test_routes_part_at_the_first_block_with_experts(tokenizer):
    by_layer = similarity_by_layer(disturbed("bert", tokenizer, blocks=[1]), ["one river", "a lamp"]).groupby("layer")
    smallest = by_layer.cosine.min()
    assert (smallest[:2] == 1).all()
    assert smallest[2] < 0.999
    instructed = similarity_by_layer(Encoder(tiny("bert"), tokenizer, instructions=dict(INSTRUCTIONS)), ["one river"])
    assert instructed.cosine[0] < 0.999


def test_recall_counts_ties_and_nan_as_wrong():
    eye, groups = np.eye(3), np.arange(3)
    assert recall_at_1(eye, eye, groups) == 1.0
    assert recall_at_1(np.ones((3, 2)), np.ones((3, 2)), groups) == 0.0
    assert recall_at_1(np.full((3, 2), np.nan), eye[:, :2], groups) == 0.0


def test_recall_leaves_out_documents_of_the_own_group():
    queries, documents = np.eye(3), np.eye(3)[[1, 0, 2]]  # 0 and 1 are each other's answers
    assert recall_at_1(queries, documents, np.array([0, 1, 2])) == 1 / 3
    documents[1] = 0.9 * documents[1] + 0.1 * np.eye(3)[1]
    assert recall_at_1(np.eye(3)[[0, 0, 2]], np.eye(3)[[0, 0, 2]], np.array([5, 5, 2])) == 1.0
