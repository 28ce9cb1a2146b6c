"""Invariants of the drift of experts.

- Hand-worked: a shift by c of all n weights of an expert is a drift of c sqrt(n), relative to the norm before; what
  did not move has drift 0; a pair's distance is that of its weights.
- A dense model has the drift of its feed-forward, and attention apart; blocks without experts likewise.
- Models of different architecture are an error, naming the weight.
"""

import copy

import pytest
import torch

from study.probes.drift import expert_drift
from tests.tiny import FAMILIES, tiny
from tsembed.mote.experts import upcycle
from tsembed.mote.families import FAMILIES as NAMES
from tsembed.tasks import ROUTES


def shifted(model, part, by):
    """Adds a constant to all parameters with `part` in their name; how many there are."""
    moved = [p for name, p in model.named_parameters() if part in name]
    for p in moved:
        p.data += by
    return sum(p.numel() for p in moved)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_drift_is_the_norm_of_what_moved(model_type):
    dense = tiny(model_type)
    routed = upcycle(copy.deepcopy(dense), ROUTES)
    first = shifted(routed, "experts.search_query.", 0.01) / 2  # weights of one block; the two blocks are alike
    shifted(routed, "experts.clustering.", -0.02)
    drift = expert_drift(routed, dense)
    assert list(drift.columns) == ["block", "first", "second", "distance", "relative"]
    assert len(drift) == 2 * (1 + 4 + 6)
    block = dense.get_submodule(NAMES[model_type].blocks)[1]
    expert = [p for path in NAMES[model_type].expert for p in block.get_submodule(path).parameters()]
    size = torch.cat([p.detach().flatten() for p in expert]).norm().item()
    found = drift[drift.block == 1].set_index(["first", "second"])
    query = 0.01 * first**0.5
    assert found.distance["search_query", "dense"] == pytest.approx(query, rel=1e-4)
    assert found.relative["search_query", "dense"] == pytest.approx(query / size, rel=1e-4)
    assert found.distance["clustering", "search_query"] == pytest.approx(3 * query, rel=1e-4)
    assert found.distance["classification", "dense"] == found.distance["shared", "dense"] == 0


def test_a_dense_model_has_feed_forward_and_attention_apart():
    dense = tiny("bert")
    trained = copy.deepcopy(dense)
    count = shifted(trained, "layer.0.attention.self.", 0.01)
    found = expert_drift(trained, dense).set_index(["block", "first"])
    assert found.distance[0, "shared"] == pytest.approx(0.01 * count**0.5, rel=1e-4)
    assert found.distance[0, "dense model"] == found.distance[1, "shared"] == 0
    assert set(found.second) == {"dense"}
    assert len(found) == 4


def test_blocks_without_experts_and_shared_experts():
    dense = tiny("bert")
    experts = dict.fromkeys(ROUTES, "all") | {"search_query": "query"}
    drift = expert_drift(upcycle(copy.deepcopy(dense), experts, [1]), dense)
    assert set(drift[drift.block == 0]["first"]) == {"shared", "dense model"}
    assert set(zip(drift[drift.block == 1]["first"], drift[drift.block == 1].second, strict=True)) == {
        ("shared", "dense"),
        ("all", "dense"),
        ("query", "dense"),
        ("all", "query"),
    }


def test_another_architecture_is_an_error():
    with pytest.raises(ValueError, match="encoder.layer.2.*is missing in the trained model and"):
        expert_drift(tiny("bert"), tiny("bert", layers=3))
    with pytest.raises(ValueError, match="embeddings.*drift needs two models of one architecture"):
        expert_drift(upcycle(tiny("bert", vocabulary=99), ROUTES), tiny("bert"))
