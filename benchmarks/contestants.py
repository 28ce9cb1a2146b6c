"""The contestants of `benchmarks.efficiency`: an untrained encoder of every kind on one backbone.

Experts are disturbed copies of the dense one and routers are random: time does not depend on their values.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from study.variant_rows import load_variants
from tsembed.encoder.build import build
from tsembed.encoder.text import Encoder
from tsembed.mote.average import average_experts
from tsembed.mote.checkpoint import expert_of
from tsembed.mote.experts import TaskRouted
from tsembed.mote.families import FAMILIES
from tsembed.mote.offload import load_offloaded
from tsembed.mote.token_routing import TokenRouted
from tsembed.settings import Backbone, TokenRouting

ROUTE = "search_query"  # of all contestants but the mixed one


class Contestant(NamedTuple):
    """An encoder under one route, or under all routes in turn."""

    label: str
    encoder: Encoder
    mixed: bool = False


def contestants(backbone: Backbone, folder: Path, device: str = "cpu") -> dict[str, Contestant]:
    """All contestants by name, on the device, each with weights of its own; EM is the first.

    Args:
        backbone: All of them start from it.
        folder: For the checkpoint that the offloaded model reads; it must stay while the contestants are used.
        device: Where their weights go.
    """
    variants = load_variants()
    top2 = variants["tlr"].model_copy(update={"token_routing": TokenRouting(top_k=2)})
    em, ic, mote, tlr, tlr_top2 = (
        build(backbone, v) for v in (variants["em"], variants["ic"], variants["mote"], variants["tlr"], top2)
    )
    _disturb(mote.backbone)
    mote.backbone.save_pretrained(folder)
    ea, offloaded = average_experts(mote.backbone), load_offloaded(folder, ROUTE, device=device)
    found = {
        "em": Contestant("EM", em),
        "ic": Contestant("IC", ic),
        "mote": Contestant("MoTE, one route", mote),
        "mixed": Contestant("MoTE, mixed routes", mote, mixed=True),
        "offloaded": Contestant("MoTE, offloaded", _like(ic, offloaded)),
        "ea": Contestant("EA", _like(ic, ea)),
        "tlr": Contestant("TLR, top-1", tlr),
        "tlr_top2": Contestant("TLR, top-2", tlr_top2),
    }
    for one in found.values():
        one.encoder.to(device).eval()
        for weight in one.encoder.parameters():  # weights mapped from a file are not aligned, copies are
            weight.data = weight.data.clone()
    return found


def parameters(backbone: nn.Module) -> tuple[int, int]:
    """Parameters in memory, and those that one token meets: what is shared and the experts that it goes through."""
    count = {name: p.numel() for name, p in backbone.named_parameters()}
    experts = {expert_of(name)[0] for name in count} - {None}
    taken = backbone.top_k if isinstance(backbone, TokenRouted) else 1
    active = {None, *sorted(experts)[:taken]}
    return sum(count.values()), sum(n for name, n in count.items() if expert_of(name)[0] in active)


def blocks(backbone: nn.Module) -> list[nn.Module]:
    """The blocks of a dense encoder or of one with experts."""
    core = backbone.model if isinstance(backbone, TaskRouted | TokenRouted) else backbone
    return list(core.get_submodule(FAMILIES[core.config.model_type].blocks))


def _like(encoder: Encoder, backbone: nn.Module) -> Encoder:
    return Encoder(backbone, encoder.tokenizer, pooling=encoder.pooling, instructions=encoder.instructions)


def _disturb(model: nn.Module) -> None:
    """Make the experts differ, as training does."""
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if expert_of(name)[0]:
            weight.data.add_(0.01 * torch.randn(weight.shape, generator=generator))
