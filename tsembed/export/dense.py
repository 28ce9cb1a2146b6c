"""An adapted encoder as a dense one: its adapters at fixed gates, merged into the weights of the backbone.

LoRA and one route of task-routed experts merge exactly. A learned router has other gates for every token: there mean
gates take its place, which the caller measures on pairs (`moe_lora.merge.mean_gates`).
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from ..tasks import ROUTES

if TYPE_CHECKING:
    from peft import PeftModel

    from ..encoder.text import Encoder


def has_adapters(encoder: "Encoder") -> bool:
    """Whether the encoder's backbone is a PEFT model."""
    return hasattr(encoder.backbone, "peft_config")


def has_learned_router(encoder: "Encoder") -> bool:
    """Whether the gates of its adapters depend on the input, so that a dense model needs their mean."""
    return has_adapters(encoder) and getattr(_config(encoder), "router", None) not in (None, "task")


def _adapted(encoder: "Encoder") -> "PeftModel":
    return cast("PeftModel", encoder.backbone)  # `has_adapters` tells; the class itself would need peft here


def _config(encoder: "Encoder") -> Any:
    return _adapted(encoder).peft_config["default"]


def check(encoder: "Encoder", source: Path | str, route: str | None, average: bool, gates_known: bool) -> None:
    """That what is asked for can be made of these adapters.

    Raises:
        ValueError: With what to ask for in its place.
    """
    config = _config(encoder)
    router = getattr(config, "router", None)
    if router == "task":
        if average:
            raise ValueError(f"{source} has experts of routes, which no router weighs: name a route, not the average")
        if route not in config.route_names:
            route_given = "no route" if route is None else f"route {route!r}"
            raise ValueError(
                f"{source} has an expert per route, got {route_given}; its routes: {', '.join(encoder.routes)}"
            )
    elif router is not None:
        if not average:
            raise ValueError(f"{source} routes by {router}; no plain model equals it. --average takes its mean gates")
        if not gates_known:
            raise ValueError(f"{source}: mean gates are measured on the data of a run; export the run's folder")
    elif average:
        raise ValueError(f"{source} has no experts to average: export it without --average")


def merged(encoder: "Encoder", route: str | None, gates: Mapping[str, Tensor] | None = None) -> "Encoder":
    """The dense encoder of a route, or of learned routers at the given gates.

    Args:
        encoder: With adapters; it keeps its weights.
        route: One of the adapters' routes, where they are experts of routes; else None.
        gates: Adapted layer -> gate of every expert; of a learned router alone.
    """
    from ..encoder.adapters import quiet_peft
    from ..encoder.backbones import LoadedBackbone
    from ..encoder.build import make
    from ..moe_lora import merge

    adapted = _adapted(encoder)
    router = getattr(_config(encoder), "router", None)
    with quiet_peft():
        if router == "task":
            adapted = merge.to_lora(adapted, route=route)
        elif router is not None:
            adapted = merge.to_lora(adapted, gates=gates)
        else:
            adapted = copy.deepcopy(adapted)  # merging writes into the weights; the encoder stays as it was trained
        tuner: Any = adapted.base_model
        dense = tuner.merge_and_unload()
    parts = LoadedBackbone(dense, encoder.tokenizer, getattr(encoder, "image_processor", None))
    return make(parts, pooling=encoder.pooling, instructions=encoder.instructions, routes=encoder.routes)


def choose(encoder, source: Path | str, route: str | None, average: bool):
    """The encoder to export: all experts, or a dense one.

    Raises:
        ValueError: If the model has no such route, no experts to average, or routes its tokens.
    """
    from transformers import PreTrainedModel

    from ..encoder.text import Encoder
    from ..mote.average import average_experts
    from ..mote.experts import TaskRouted

    backbone = encoder.backbone
    routed = isinstance(backbone, TaskRouted)
    known = tuple(backbone.routes) if routed else ROUTES if encoder.instructions else ()
    if route is not None and average:
        raise ValueError("a route and the average of the experts exclude each other")
    if route is not None and route not in known:
        has = f"its routes: {', '.join(known)}" if known else "it has neither experts nor instructions: name no route"
        raise ValueError(f"{source} has no route {route!r}; {has}")
    if average and not routed:
        raise ValueError(f"{source} has no experts to average: export it without --average")
    if routed and route is not None:
        backbone = backbone.extract_expert(route)
    elif average:
        backbone = average_experts(backbone)
    elif not routed and not isinstance(backbone, PreTrainedModel):
        raise ValueError(f"{source}: a {type(backbone).__name__} routes single tokens; no plain model equals it")
    return Encoder(backbone, encoder.tokenizer, pooling=encoder.pooling, instructions=encoder.instructions).eval()
