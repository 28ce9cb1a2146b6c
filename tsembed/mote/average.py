"""Expert averaging (EA): one dense encoder in place of all experts."""

from typing import TYPE_CHECKING

import torch

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
