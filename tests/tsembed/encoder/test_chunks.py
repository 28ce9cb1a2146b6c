"""Invariants of length chunks.

- Every sequence stands in exactly one chunk, whole, with its route; nothing is cut.
- The split is the cheapest one (against all splits, by hand), and no chunk is larger than `max_tokens`.
"""

from itertools import combinations

import numpy as np
import torch

from tsembed.encoder.chunks import FORWARD_PASS_COST_TOKENS, chunks

COST = FORWARD_PASS_COST_TOKENS["cpu"]


def tokens(lengths):
    return [list(range(1, n + 1)) for n in lengths]


def test_all_sequences_come_back_whole_with_their_routes():
    lengths = np.random.default_rng(0).integers(1, 60, 50).tolist()
    routes = torch.arange(50) % 4
    for side in ("right", "left"):
        seen = []
        for c in chunks(tokens(lengths), routes, pad_id=0, padding_side=side):
            for row, position in enumerate(c.positions.tolist()):
                assert c.input_ids[row][c.attention_mask[row].bool()].tolist() == tokens(lengths)[position]
                assert c.routes[row] == routes[position]
                assert c.attention_mask[row, 0 if side == "right" else -1] == 1
                seen.append(position)
        assert sorted(seen) == list(range(50))


def test_the_dearer_a_pass_the_fewer_chunks():
    found = [len(chunks(tokens(range(1, 60)), "clustering", pad_id=0, pass_cost=cost)) for cost in (0, 48, 400, 2**40)]
    assert found[0] == 59
    assert found == sorted(set(found), reverse=True)
    assert found[-1] == 1
    assert found[1] == len(chunks(tokens(range(1, 60)), "clustering", pad_id=0))


def test_the_split_is_the_cheapest_of_all():
    lengths = sorted(np.random.default_rng(1).integers(1, 200, 9).tolist())
    found = sum(c.input_ids.numel() + COST for c in chunks(tokens(lengths), "clustering", pad_id=0))
    costs = []
    for n in range(9):
        for cuts in combinations(range(1, 9), n):
            edges = [0, *cuts, 9]
            costs.append(sum((b - a) * lengths[b - 1] + COST for a, b in zip(edges, edges[1:], strict=False)))
    assert found == min(costs)


def test_equal_lengths_make_one_chunk_and_a_budget_bounds_it():
    assert len(chunks(tokens([5] * 40), "clustering", pad_id=0)) == 1
    parts = chunks(tokens([5] * 40 + [300]), "clustering", pad_id=0, max_tokens=50)
    assert [len(c.positions) for c in parts] == [10, 10, 10, 10, 1]
    assert all(c.input_ids.numel() <= 50 for c in parts[:-1])
    assert chunks([], "clustering", pad_id=0) == []
