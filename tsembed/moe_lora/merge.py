"""MoE-LoRA with its gates frozen: a plain LoRA adapter, which needs no code of ours and merges into dense weights."""

import copy
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import ModulesToSaveWrapper
from torch import Tensor

from .config import NO_EXPERT, MoeLoraConfig
from .layer import MoeLoraLinear
from .routing import LayerRouting


def mean_gates(record: Sequence[LayerRouting]) -> dict[str, Float[Tensor, " experts"]]:
    """Mean gates per layer over all tokens of all forward calls in the record; a constant (no gradient).

    Raises:
        ValueError: If the record is empty.
    """
    if not record:
        raise ValueError("the record is empty: no adapted layer had an input with the (batch, seq) axes of the mask")
    sums: dict[str, Tensor] = {}
    tokens: dict[str, Tensor] = {}
    for layer_routing in record:
        counts = layer_routing.lengths.double()
        sums[layer_routing.layer] = sums.get(layer_routing.layer, 0) + counts @ layer_routing.mean.detach().double()
        tokens[layer_routing.layer] = tokens.get(layer_routing.layer, 0) + counts.sum()
    return {layer: (sums[layer] / tokens[layer]).float() for layer in sums}


def to_lora(
    model: PeftModel,
    *,
    route: str | None = None,
    gates: Mapping[str, Float[Tensor, " experts"]] | None = None,
    adapter: str = "default",
) -> PeftModel:
    """A plain PEFT LoRA model with the adapter's experts at fixed gates; it shares nothing with `model`.

    With a route, of a task-routed adapter, the result equals the model under that route, at rank (1 + shared) * r. With
    gates it equals a model whose gates are these for every token, at rank (experts + shared) * r: gate g_e, scaled as
    the adapter scales it, goes into B_e. With the `mean_gates` of a sample that is an approximation, whose loss of
    score must be measured.

    Args:
        model: It keeps its weights.
        route: One of the adapter's routes.
        gates: Of every adapted layer, by its path in the base model.
        adapter: The adapter to convert; modules_to_save go along.

    Raises:
        ValueError: If the model has no such MoE-LoRA adapter or is merged, not exactly one of route and gates is given,
            the adapter has no such route, or gates miss a layer or have another length.
    """
    config = getattr(model, "peft_config", {}).get(adapter)
    if not isinstance(config, MoeLoraConfig):
        adapters = ", ".join(getattr(model, "peft_config", {})) or "none"
        raise ValueError(f"the model has no MoE-LoRA adapter {adapter!r}; its adapters: {adapters}")
    if (route is None) == (gates is None):
        arguments = "neither" if route is None else "both"
        raise ValueError(f"give a route or gates, got {arguments}")
    if route is not None and config.router != "task":
        raise ValueError(f"a route is for router='task', adapter {adapter!r} has router={config.router!r}: give gates")
    layers = {
        name: layer
        for name, layer in model.get_base_model().named_modules()
        if isinstance(layer, MoeLoraLinear) and adapter in layer.moe_lora_A
    }
    if any(layer.merged for layer in layers.values()):
        raise ValueError("the adapter is merged into the base weights: call unmerge_adapter() first")
    if route is not None:
        experts = [expert for expert in [config.expert_of(route)] if expert != NO_EXPERT]
        weights = {name: _fixed(layer, adapter, experts, torch.ones(len(experts))) for name, layer in layers.items()}
    else:
        assert gates is not None  # one of the two is, as checked above
        experts = list(range(config.num_experts))
        fixed = {name: _gates_of(name, gates, config) for name in layers}
        weights = {name: _fixed(layer, adapter, experts, fixed[name]) for name, layer in layers.items()}
    return _lora_model(model, adapter, config, weights)


def _gates_of(name: str, gates: Mapping[str, Tensor], config: MoeLoraConfig) -> Tensor:
    if name not in gates:
        raise ValueError(f"gates have no layer {name}; they have {', '.join(gates)}")
    if gates[name].shape != (config.num_experts,):
        raise ValueError(f"gates of {name} must have shape ({config.num_experts},), got {tuple(gates[name].shape)}")
    return gates[name]


@torch.no_grad()
def _fixed(
    layer: MoeLoraLinear, adapter: str, kept: list[int], gates: Float[Tensor, " kept"]
) -> tuple[Float[Tensor, "ranks in"], Float[Tensor, "out ranks"]]:
    """A and B of the kept routed experts and the shared ones, with the gates in B."""
    config = layer.settings[adapter]
    A, B = layer.moe_lora_A[adapter], layer.moe_lora_B[adapter]
    shared = range(config.num_experts, config.num_experts + config.shared_experts)
    ranks = torch.cat([torch.arange(e * config.r, (e + 1) * config.r) for e in (*kept, *shared)])
    factors = torch.cat([config.gate_scale * gates.cpu(), torch.ones(len(shared))])  # (kept + shared,)
    spread = factors.repeat_interleave(config.r)  # (ranks,)
    return A[ranks], (B[:, ranks].float() * spread.to(B.device)).to(B.dtype)


def _lora_model(
    model: PeftModel, adapter: str, config: MoeLoraConfig, weights: Mapping[str, tuple[Tensor, Tensor]]
) -> PeftModel:
    ranks = next(iter(weights.values()))[0].shape[0]
    base = copy.deepcopy(model).unload()
    lora = get_peft_model(
        base,
        LoraConfig(
            r=ranks,
            lora_alpha=config.lora_alpha * (ranks // config.r),  # type: ignore[arg-type]  # a float serves PEFT as well
            target_modules=list(weights),
            task_type=config.task_type,
            modules_to_save=config.modules_to_save,
            lora_dropout=config.lora_dropout,
        ),
    )
    saved = {n: m for n, m in model.named_modules() if isinstance(m, ModulesToSaveWrapper)}
    for name, module in lora.named_modules():
        if isinstance(module, ModulesToSaveWrapper):
            module.modules_to_save["default"].load_state_dict(saved[name].modules_to_save[adapter].state_dict())
    with torch.no_grad():
        for name, (A, B) in weights.items():
            layer = lora.get_base_model().get_submodule(name)
            layer.get_parameter("lora_A.default.weight").copy_(A)
            layer.get_parameter("lora_B.default.weight").copy_(B)
    return lora.train(model.training)
