"""How a training is spread over processes: DDP, FSDP2 or DeepSpeed's ZeRO, as `accelerate launch` says.

All three take one optimiser step per batch, also where its gradients come in pieces (`grad_cache_chunk_size`):

- DDP adds up the ranks' gradients in the backward pass of the last piece.
- FSDP2 shards weights, gradients and optimiser. Its units are the blocks of the encoder, so that one block is whole at
  a time. Weights and gradients are fp32 under autocast, as of DDP.
- ZeRO 1 and 2 shard the optimiser, and gradients too. The engine steps after the last piece. It has a zero gradient
  where others have none, so experts that a step does not use decay and keep their momentum.
"""

import copy
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from ..encoder.image_processing import IMAGE_FAMILIES
from ..encoder.pass_cost import of_device
from ..encoder.precision import mixed_precision
from ..encoder.text import Encoder
from ..mote.families import FAMILIES
from ..settings import Training, Variant
from .batches import PairChunk

if TYPE_CHECKING:
    from accelerate import Accelerator, PartialState


UNSPLIT = 2**40  # tokens that no padding saves


class Prepared(NamedTuple):
    """What the loop trains with."""

    model: Any  # the prepared `PairEncoder`: a module, or DeepSpeed's engine around it
    optimizer: Any
    whole: Callable[[], None]  # call it on every rank after the last step: the encoder has all its weights again


def join() -> "PartialState":
    """This process among those of its launch, joined by gloo where there is no accelerator.

    Accelerate's own `PartialState()` would count each process of such a launch as the only one, and would make plain
    DDP of FSDP where there is no GPU; torch shards over gloo too.
    """
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or PartialState._shared_state:
        return PartialState()
    on_cpus = _asked_for("CPU") or torch.accelerator.current_accelerator(check_available=True) is None
    if on_cpus and _asked_for("DEEPSPEED"):
        return PartialState(backend="gloo")  # cpu=True would make plain DDP of it
    state = PartialState(cpu=on_cpus)
    if on_cpus and _asked_for("FSDP"):
        state.distributed_type = DistributedType.FSDP
    return state


def _asked_for(what: str) -> bool:
    """Whether `accelerate launch`, or the user, set ACCELERATE_USE_…"""
    return os.environ.get(f"ACCELERATE_USE_{what}", "").lower() in ("1", "true", "yes", "on")


def make_accelerator(training: Training, variant: Variant, **options: Any) -> "Accelerator":
    """The Accelerator of a training; the environment says how its processes work together.

    Args:
        training: Precision and micro-batches.
        variant: Whether each process may use other experts.
        options: More of `Accelerator`'s own.

    Raises:
        ValueError: If the environment asks for FSDP of the first version, for ZeRO 3, for DeepSpeed and
            ACCELERATE_USE_CPU together, which Accelerate takes for plain DDP, or for FSDP or DeepSpeed where each
            process may use other experts.
    """
    from accelerate import Accelerator
    from accelerate.utils import (
        DistributedDataParallelKwargs,
        FullyShardedDataParallelPlugin,
        GradientAccumulationPlugin,
    )

    if _asked_for("FSDP") and os.environ.get("FSDP_VERSION", "1") != "2":
        raise ValueError("FSDP must be of version 2 (fsdp_version: 2 in the file of configs/accelerate)")
    if _asked_for("DEEPSPEED") and _asked_for("CPU"):
        raise ValueError(
            "ACCELERATE_USE_CPU makes plain DDP of DeepSpeed: leave it out, there is no need where no GPU is"
        )
    if _asked_for("DEEPSPEED") and (stage := os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")) not in ("1", "2"):
        raise ValueError(f"zero_stage must be 1 or 2, got {stage}; to shard the weights too, use fsdp2.yaml")
    if (_asked_for("FSDP") or _asked_for("DEEPSPEED")) and variant.ranks_may_differ:
        raise ValueError(
            f"{variant.label}: each process may use other experts, for which FSDP2 and DeepSpeed would wait; use ddp"
        )
    join()
    accelerator = Accelerator(
        mixed_precision=mixed_precision(training.precision),
        # Without the plugin an environment variable would take the place of the setting.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=micro_batches(training)),
        # a step uses the experts of its own task only; a router may leave one out
        kwargs_handlers=[
            DistributedDataParallelKwargs(find_unused_parameters=bool(variant.experts or variant.token_routing))
        ],
        **options,
    )
    if accelerator.distributed_type.name == "FSDP" and accelerator.device.type == "cpu":
        accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin()  # Accelerate sets it beside a GPU
    return accelerator


def micro_batches(training: Training) -> int:
    """How many batches of negatives one optimiser step has."""
    return training.batch_size // (training.micro_batch_size or training.batch_size)


def prepare(
    accelerator: "Accelerator", encoder: Encoder, pairs: nn.Module, optimizer: torch.optim.Optimizer, training: Training
) -> Prepared:
    """Model and optimiser for the loop.

    Args:
        accelerator: As `make_accelerator` returns it.
        encoder: What is trained.
        pairs: The `PairEncoder` around it.
        optimizer: Of its trained parameters.
        training: Batch size and gradient clipping, which DeepSpeed does itself.

    Raises:
        ValueError: If it is to be sharded and no blocks of its family are known.
    """
    if accelerator.distributed_type.name == "FSDP":
        plugin = accelerator.state.fsdp_plugin
        plugin.transformer_cls_names_to_wrap = block_classes(encoder.backbone)
        plugin.mixed_precision_policy = None  # `forward` has an autocast
        plain = _without_weights(encoder.backbone)
        model, prepared = accelerator.prepare(pairs, optimizer)
        _start(prepared.optimizer)
        return Prepared(model, prepared, lambda: _gather(encoder, plain))
    if accelerator.distributed_type.name == "DEEPSPEED":
        config = accelerator.state.deepspeed_plugin.deepspeed_config
        config["train_micro_batch_size_per_gpu"] = training.batch_size // (
            micro_batches(training) * accelerator.num_processes
        )
        config["gradient_accumulation_steps"] = micro_batches(training)
        config["gradient_clipping"] = training.max_grad_norm
        if accelerator.mixed_precision == "bf16":  # under autocast, as elsewhere: the engine's own bf16 rounds weights
            config["torch_autocast"] = {"enabled": True, "dtype": "bfloat16", "lower_precision_safe_modules": []}
        config["bf16"] = {"enabled": False}
        engine, prepared = accelerator.prepare(pairs, optimizer)
        return Prepared(engine, prepared, lambda: _release(engine, encoder))
    model, prepared = accelerator.prepare(pairs, optimizer)
    return Prepared(model, prepared, lambda: None)


def forward(accelerator: "Accelerator", model: nn.Module) -> Callable[[Any], dict[str, Tensor]]:
    """The model's forward pass in the training's precision."""
    if accelerator.distributed_type.name != "FSDP" or accelerator.mixed_precision != "bf16":
        return model  # of the others Accelerate and DeepSpeed have wrapped it

    def embed(chunk: Any) -> dict[str, Tensor]:
        # Without its cache, which would keep casts of blocks that are resharded.
        with torch.autocast(accelerator.device.type, torch.bfloat16, cache_enabled=False):
            return model(chunk)

    return embed


def pass_cost(accelerator: "Accelerator", model: nn.Module, encoder: Encoder) -> int:
    """What one more forward pass costs, in tokens, on every process what it costs on the first; leaves `model.eval()`.

    Under FSDP2 so much that nothing is split: each pass gathers the weights of all ranks, which must make as many.

    Args:
        accelerator: As `make_accelerator` returns it.
        model: As prepared.
        encoder: The one in the model.
    """
    from accelerate.utils import broadcast_object_list

    if accelerator.distributed_type.name == "FSDP":
        return UNSPLIT
    model.eval()
    embed = forward(accelerator, model)
    with torch.no_grad():
        found = [of_device(encoder, lambda chunk: embed(PairChunk([chunk], [chunk])), encoder.routes[0])]
    return broadcast_object_list(found)[0]


def backward(
    accelerator: "Accelerator", model: nn.Module, pieces: int
) -> tuple[Callable[[Tensor], Any], Callable[[], AbstractContextManager]]:
    """For `cached_backward`: the backward pass of a piece, and what to do around those of all pieces but the last.

    Args:
        accelerator: Knows whether this micro-batch is the step's last.
        model: As prepared.
        pieces: How often the backward pass will be called.
    """
    if accelerator.distributed_type.name != "DEEPSPEED":
        return accelerator.backward, lambda: accelerator.no_sync(model)
    left = iter(range(pieces - 1, -1, -1))

    def step_at_the_last(piece: Tensor) -> None:
        last = next(left) == 0
        accelerator.deepspeed_engine_wrapped.backward(piece, sync_gradients=accelerator.sync_gradients and last)

    return step_at_the_last, nullcontext  # the engine refuses no_sync, and adds up the pieces itself


def block_classes(backbone: Any) -> list[str]:
    """Names of the classes of an encoder's blocks, its vision tower's included.

    Raises:
        ValueError: If its family is unknown.
    """
    model = backbone.base_model.model if hasattr(backbone, "peft_config") else getattr(backbone, "model", backbone)
    family, images = FAMILIES.get(model.config.model_type), IMAGE_FAMILIES.get(model.config.model_type)
    if family is None:
        raise ValueError(
            f"FSDP2 shards by block, and those of model_type {model.config.model_type!r} are not known; use ddp. "
            f"Known: {', '.join(FAMILIES)}"
        )
    lists = [family.blocks, *([f"{images.tower}.blocks"] if images else [])]
    return sorted({type(block).__name__ for path in lists for block in model.get_submodule(path).children()})


def _without_weights(model: nn.Module) -> Any:
    """A copy of the modules whose parameters have no memory."""
    same: dict[int, Any] = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
        for p in model.parameters()
    }
    return copy.deepcopy(model, same)


def _start(optimizer: torch.optim.Optimizer) -> None:
    """Give every weight the state that Adam gives it at its first gradient: a sharded checkpoint is read for all."""
    for group in optimizer.param_groups:
        for weight in group["params"]:
            moments = {name: torch.zeros_like(weight, requires_grad=False) for name in ("exp_avg", "exp_avg_sq")}
            optimizer.state[weight] = {"step": torch.zeros((), device=weight.device), **moments}


def _gather(encoder: Encoder, plain: Any) -> None:
    """Give the encoder unsharded modules on the CPU, with the weights of all ranks; a collective call."""
    from torch.distributed.tensor import DTensor

    weights = {}
    for name, tensor in encoder.backbone.state_dict().items():
        weights[name] = (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().cpu()
    plain.load_state_dict(weights, assign=True)
    encoder.backbone = plain.cpu()


def _release(engine: Any, encoder: Encoder) -> None:
    """Give the weights memory of their own: the engine has them behind each other in one tensor."""
    for parameter in encoder.backbone.parameters():
        parameter.data = parameter.data.clone()
    engine.destroy()
