"""Mean gates of learned routers over pairs: what a dense export of MoE-LoRA puts in the routers' place."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..data.manifest import load_table
from ..tasks import TASKS
from ..training.batches import inputs_of

if TYPE_CHECKING:
    from ..encoder.text import Encoder

PAIRS = 64  # of each dataset, whose mean gates stand for the router


@torch.inference_mode()
def mean_gates_of_pairs(
    encoder: "Encoder", data: Path, part: str, tasks: Mapping[str, str], *, max_tokens: int
) -> dict[str, Tensor]:
    """Adapted layer -> mean gate of every expert, over the first pairs of every dataset.

    Args:
        encoder: With a MoE-LoRA adapter whose router is learned.
        data: Prepared data.
        part: "train" or "validation".
        tasks: Dataset of the part -> task.
        max_tokens: Where an input is cut.
    """
    from ..moe_lora import merge, routing

    routings = []
    for name, task in tasks.items():
        table = load_table(data, part, name)
        rows = table[: min(PAIRS, len(table))]
        for side in ("query", "document"):
            route = getattr(TASKS[task], f"{side}_route")
            chunks, _ = encoder.prepare(inputs_of(rows, side), route, max_tokens=max_tokens, token_budget=4096)
            for chunk in chunks:
                with routing.routing_record() as record:
                    encoder.embed_chunk(chunk)
                for layer_routing in record:  # their means alone: gates of every token of every pair are many
                    means = layer_routing.mean[:, None]
                    routings.append(layer_routing._replace(gates=means, probabilities=means))
    return merge.mean_gates(routings)
