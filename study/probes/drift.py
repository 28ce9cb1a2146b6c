"""Drift: how far training moved the weights of every block and expert, and how far experts moved apart.

Up-cycled experts start as copies of one dense feed-forward, so what sets them apart after training is specialisation.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tsembed.mote.experts import TaskRouted

from ..analysis.results import DENSE, DENSE_MODEL, SHARED
from . import parameters

if TYPE_CHECKING:
    import pandas as pd


def expert_drift(trained: nn.Module, dense: nn.Module) -> "pd.DataFrame":
    """Euclidean distances between trained and initial weights, and between experts, per block.

        distance = |theta_first - theta_second|,   relative = distance / |theta_dense|

    over all tensors of an expert (norms, feed-forward), or of the block's rest (attention). theta_dense are the same
    tensors before training.

    Args:
        trained: A `TaskRouted` encoder, or a dense one.
        dense: The dense encoder that training started from.

    Returns:
        Columns block (int), first, second, distance, relative. second is "dense" for a drift: of an expert (first is
        its name), of the feed-forward where it has no experts ("dense model"), or of the attention, which all tasks
        share ("shared"). A pair of experts has both names.

    Raises:
        ValueError: If the two have different weights by name or shape.
    """
    import pandas as pd

    routed = isinstance(trained, TaskRouted)
    names = trained.expert_names if routed else (DENSE_MODEL,)
    owners = {name: trained.dense_state_dict(name) if routed else trained.state_dict() for name in names}
    shared = next(iter(owners.values()))
    _must_match(shared, dense.state_dict())
    places: dict[tuple[str, str], list[str]] = {}
    for name, _ in dense.named_parameters():
        places.setdefault(parameters.locate_parameter(name, dense.config.model_type), []).append(name)
    rows = []
    for (block, part), names in places.items():
        if part == "embeddings":
            continue
        start = _vector(dense.state_dict(), names)
        if part == "attention":
            ends = {SHARED: _vector(shared, names)}
        elif routed and int(block) in trained.blocks:
            ends = {expert: _vector(weights, names) for expert, weights in owners.items()}
        else:
            ends = {DENSE_MODEL: _vector(shared, names)}
        pairs = [(end, (DENSE, start)) for end in ends.items()] + list(combinations(ends.items(), 2))
        for (first, a), (second, b) in pairs:
            distance = float((a - b).norm())
            rows.append((int(block), first, second, distance, distance / float(start.norm())))
    return pd.DataFrame(rows, columns=["block", "first", "second", "distance", "relative"])


def _vector(weights: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    """Some tensors as one vector, in float64: a drift is small beside the weights."""
    return torch.cat([weights[name].detach().double().cpu().flatten() for name in names])


def _must_match(trained: Mapping[str, Tensor], dense: Mapping[str, Tensor]) -> None:
    for name in sorted(set(trained) | set(dense)):
        shapes = [tuple(w[name].shape) if name in w else "missing" for w in (trained, dense)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"{name} is {shapes[0]} in the trained model and {shapes[1]} in the dense one; "
                "drift needs two models of one architecture"
            )
