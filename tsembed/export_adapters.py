"""An adapted encoder as a dense one: its adapters at fixed gates, merged into the weights of the backbone.

LoRA and one route of task-routed experts merge exactly. A learned router has other gates for every token: there the
mean gates of held-out pairs take its place, and what that costs in score is measured on the run's own evaluation sets.
"""

import copy
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .tasks import TASKS

if TYPE_CHECKING:
    from .encoder import Encoder
    from .export import Run

PAIRS = 64  # of each dataset, whose mean gates stand for the router


def has_adapters(encoder: "Encoder") -> bool:
    """Whether the encoder's backbone is a PEFT model."""
    return hasattr(encoder.backbone, "peft_config")


def check(encoder: "Encoder", source: Path, route: str | None, average: bool, run: "Run | None") -> None:
    """That what is asked for can be made of these adapters.

    Raises:
        ValueError: With what to ask for in its place.
    """
    config = encoder.backbone.peft_config["default"]
    router = getattr(config, "router", None)
    if router == "task":
        if average:
            raise ValueError(f"{source} has experts of routes, which no router weighs: name a route, not the average")
        if route not in config.route_names:
            given = "no route" if route is None else f"route {route!r}"
            raise ValueError(f"{source} has an expert per route, got {given}; its routes: {', '.join(encoder.routes)}")
    elif router is not None:
        if not average:
            raise ValueError(f"{source} routes by {router}; no plain model equals it. --average takes its mean gates")
        if run is None:
            raise ValueError(f"{source}: mean gates are measured on the data of a run; export the run's folder")
    elif average:
        raise ValueError(f"{source} has no experts to average: export it without --average")


def merged(encoder: "Encoder", route: str | None, run: "Run | None") -> "Encoder":
    """The dense encoder; for learned routers at the mean gates of the run's held-out (or training) pairs."""
    from . import moe_lora
    from .adapters import quiet_peft
    from .backbones import Parts
    from .encoder import make

    adapted = encoder.backbone
    router = getattr(adapted.peft_config["default"], "router", None)
    with quiet_peft():
        if router == "task":
            adapted = moe_lora.to_lora(adapted, route=route)
        elif router is not None:
            adapted = moe_lora.to_lora(adapted, gates=moe_lora.mean_gates(_routing_of_pairs(encoder, run)))
        else:
            adapted = copy.deepcopy(adapted)  # merging writes into the weights; the encoder stays as it was trained
        dense = adapted.merge_and_unload()
    parts = Parts(dense, encoder.tokenizer, getattr(encoder, "image_processor", None))
    return make(parts, pooling=encoder.pooling, instructions=encoder.instructions, routes=encoder.routes)


@torch.inference_mode()
def _routing_of_pairs(encoder: "Encoder", run: "Run") -> list:
    """What the routers say of the first pairs of every dataset that the run was trained on."""
    from . import moe_lora
    from .data.batches import inputs_of
    from .data.prepared import load_table, sets
    from .variants import Variant

    variant = Variant.model_validate(run.config["variant"])
    part = "validation" if sets(run.manifest, "validation", variant) else "train"
    found = []
    for name, task in sets(run.manifest, part, variant).items():
        table = load_table(run.data, part, name)
        rows = table[: min(PAIRS, len(table))]
        for side in ("query", "document"):
            route = getattr(TASKS[task], f"{side}_route")
            tokens = run.config["evaluation"]["max_tokens"]
            parts, _ = encoder.prepare(inputs_of(rows, side), route, max_tokens=tokens, token_budget=4096)
            for chunk in parts:
                with moe_lora.routing_record() as record:
                    encoder.embed_chunk(chunk)
                for one in record:  # their means alone: gates of every token of every pair are many
                    means = one.mean[:, None]
                    found.append(one._replace(gates=means, probabilities=means))
    return found


def scores_of(encoder: "Encoder", run: "Run") -> list[dict[str, Any]]:
    """The encoder's scores on the run's evaluation sets, in the form of its scores.json."""
    from .config import RunSettings
    from .evaluate import score

    settings = RunSettings.model_validate({k: v for k, v in run.config.items() if k != "data_sha256"})
    with tempfile.TemporaryDirectory() as folder:
        return score(settings, encoder, run.data, run.manifest, Path(folder))
