"""Means of weights: of a model's experts (EA), or of several models of one architecture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .checkpoint import expert_of
from .experts import TaskRouted
from .families import dense_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def average_experts(model: TaskRouted) -> "PreTrainedModel":
    """The dense encoder of which every expert tensor is the mean over the experts (EA; MoTE App. B, Table 7).

    An expert that several routes share counts once: the mean is over experts, not over routes. The mean is taken in
    fp64, so of equal experts, as up-cycling makes them, it is exactly the dense encoder. Needs no code of ours.

    Args:
        model: It keeps its weights; those of the result are its own.

    Raises:
        ValueError: If the experts are offloaded.
    """
    owned = {expert_of(name)[1] for name in model.model.state_dict() if expert_of(name)[0]}
    if not owned:
        raise ValueError("the experts are not in the model: average them before they are offloaded")
    states = [model.dense_state_dict(expert) for expert in model.expert_names]
    weights = {name: tensor for name, tensor in states[0].items() if name not in owned}
    for name in owned:
        tensor = states[0][name]
        weights[name] = torch.stack([one[name].double() for one in states]).mean(0).to(tensor.dtype)
    return dense_model(model.config, type(model.model), weights)


def average_models(models: Sequence[nn.Module], shares: Sequence[float]) -> dict[str, Tensor]:
    """The state dict of the weighted mean of several models' weights, taken in fp64.

    With two models, the trained one and the one that it started from, this is the interpolation of LM-Cocktail (Xiao et
    al. 2023, https://arxiv.org/abs/2311.13534).

    Args:
        models: Two or more with the same parameters.
        shares: Of each model, with the sum 1.

    Raises:
        ValueError: If the models differ in the names or shapes of their weights, or the shares are not one per model
            with the sum 1.
    """
    if len(models) != len(shares) or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"shares must be one per model ({len(models)}) with the sum 1, got {list(shares)}")
    states = [model.state_dict() for model in models]
    for state in states[1:]:
        different = [n for n in {**states[0], **state} if _shape(states[0], n) != _shape(state, n)]
        if different:
            raise ValueError(f"only models of one architecture can be averaged; different: {', '.join(different[:3])}")
    means = {}
    for name, tensor in states[0].items():
        mean = sum(share * state[name].double() for share, state in zip(shares, states, strict=True))
        means[name] = torch.as_tensor(mean).to(tensor.dtype)
    return means


def _shape(state: dict[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(state[name].shape) if name in state else None
