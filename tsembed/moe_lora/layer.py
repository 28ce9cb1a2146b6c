"""A linear layer with LoRA experts and their router."""

import math
import warnings
import zlib

import torch
from jaxtyping import Float
from peft.tuners.tuners_utils import check_adapters_to_merge
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from .config import NO_EXPERT, MoeLoraConfig
from .context import THREAD, ForwardPass
from .routing import LayerRouting, gate
from .tuner_layer import MoeLoraLayer


def weigh(
    hidden: Float[Tensor, "*tokens ranks"], gates: Float[Tensor, "*gated experts"], *, shared: int, scaling: float
) -> Float[Tensor, "*tokens ranks"]:
    """The hidden units of the stacked experts, each times its expert's gate (1 if shared) and the scaling.

    Examples:
        >>> weigh(torch.ones(1, 4), torch.tensor([[0.5]]), shared=1, scaling=2.0).tolist()
        [[1.0, 1.0, 2.0, 2.0]]
    """
    if shared:
        gates = pad(gates, (0, shared), value=1.0)
    gates = (gates * scaling).to(hidden.dtype)
    per_expert = hidden.unflatten(-1, (gates.shape[-1], -1))  # (..., experts, r)
    return (per_expert * gates.unsqueeze(-1)).flatten(-2)


def add_product(
    result: Float[Tensor, "tokens out"],
    hidden: Float[Tensor, "*tokens ranks"],
    B: Float[Tensor, "out ranks"],
    *,
    in_place: bool,
) -> Float[Tensor, "tokens out"]:
    """result + hidden B^T, in one GEMM where the dtypes are one, and in the dtype of `result`.

    Args:
        result: What is added to, flat: (tokens, out).
        hidden: The hidden units of all stacked experts, gates included; its leading axes are flattened to `tokens`.
        B: The stacked second matrices, (out, ranks).
        in_place: Write the sum into `result`, where nobody else needs it: one copy and one buffer less.
    """
    hidden = hidden.reshape(-1, B.shape[1])
    if hidden.dtype != result.dtype:
        return (result + linear(hidden, B)).to(result.dtype)
    B = B.to(hidden.dtype)  # autocast leaves in-place products alone
    return result.addmm_(hidden, B.T) if in_place else torch.addmm(result, hidden, B.T)


class MoeLoraLinear(nn.Module, MoeLoraLayer):
    """y = W x + (lora_alpha / r) * sum_e p_e(x) B_e A_e x, with all A and all B stacked: one GEMM each.

    With `scale_gates` it is k p_e(x) in place of p_e(x), k the experts that a token takes.

    The experts of an adapter are `moe_lora_A` (ranks, in) and `moe_lora_B` (out, ranks), where ranks are those of the
    routed experts, in order, then those of the shared ones. `moe_lora_router` is (experts, in), without bias. A and
    router start kaiming-uniform, as PEFT's A does, and B at zero: the layer then equals its base layer exactly.

    Being stacked, an expert that no token of a batch takes gets a gradient of zero, where MoTE's experts get none.

    Args:
        base_layer: An `nn.Linear`, also a quantised one.
        adapter_name: The first adapter.
        config: Its settings.
        name: The layer's path in the base model, under which it records its routing.
    """

    adapter_layer_names = ("moe_lora_A", "moe_lora_B", "moe_lora_router")
    in_features: int
    out_features: int
    other_param_names = ("moe_lora_dropout", "settings")

    def __init__(self, base_layer: nn.Linear, adapter_name: str, config: MoeLoraConfig, name: str):
        super().__init__()
        self.base_layer, self.name = base_layer, name
        self.in_features, self.out_features = base_layer.in_features, base_layer.out_features
        self.moe_lora_A, self.moe_lora_B = nn.ParameterDict(), nn.ParameterDict()
        self.moe_lora_router = nn.ParameterDict()
        self.moe_lora_dropout = nn.ModuleDict()
        self.settings: dict[str, MoeLoraConfig] = {}
        self.merged_adapters = []
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, config)

    def update_layer(self, adapter_name: str, config: MoeLoraConfig) -> None:
        """Add an adapter, with new weights."""
        self.settings[adapter_name] = config
        self.moe_lora_dropout[adapter_name] = nn.Dropout(config.lora_dropout) if config.lora_dropout else nn.Identity()
        generator = None
        if config.init_seed is not None:
            seed = zlib.crc32(f"{config.init_seed} {self.name}".encode())
            generator = torch.Generator().manual_seed(seed)
        ranks = (config.num_experts + config.shared_experts) * config.r
        self.moe_lora_A[adapter_name] = self._kaiming_uniform(ranks, generator)
        self.moe_lora_B[adapter_name] = nn.Parameter(torch.zeros(self.out_features, ranks))
        if config.has_router:
            self.moe_lora_router[adapter_name] = self._kaiming_uniform(config.num_experts, generator)
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def _kaiming_uniform(self, rows: int, generator: torch.Generator | None) -> nn.Parameter:
        """(rows, in) weights; each row is drawn as that of a matrix of its own, so stacking changes nothing."""
        weight = torch.empty(rows, self.in_features)
        return nn.Parameter(nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator))

    def forward(self, x: Float[Tensor, "*tokens in"], *args, **kwargs) -> Float[Tensor, "*tokens out"]:
        """The base layer's output plus the experts' of every active adapter.

        Raises:
            RuntimeError: If a router needs the forward pass under way and there is none.
            ValueError: If a task-routed adapter was given no route, or the input does not fit the router.
        """
        if self.disable_adapters and self.merged:
            self.unmerge()
        active = [] if self.disable_adapters or self.merged else self.active_adapters
        adapters = [name for name in active if name in self.moe_lora_A]
        if not adapters:
            return self.base_layer(x, *args, **kwargs)
        base = self.base_layer
        plain_linear = type(base) is nn.Linear and not base._forward_hooks and not base._forward_pre_hooks
        # A product of flat tokens is no view of another tensor, so that autograd takes sums in place.
        result = base(x.reshape(-1, self.in_features) if plain_linear else x, *args, **kwargs)
        flat = result.reshape(-1, self.out_features)  # (tokens, out)
        for adapter in adapters:
            flat = self._add_experts(flat, x, adapter, in_place=plain_linear)
        return flat.view(*x.shape[:-1], self.out_features)

    def _add_experts(self, result: Tensor, x: Tensor, adapter: str, *, in_place: bool) -> Tensor:
        config, A, B = self.settings[adapter], self.moe_lora_A[adapter], self.moe_lora_B[adapter]
        forward, autocast = THREAD.forward, torch.is_autocast_enabled(x.device.type)
        dropout = self.moe_lora_dropout[adapter]
        dropped = dropout(x)
        if not autocast:
            dropped = self._cast_input_dtype(dropped, A.dtype)
        hidden = logits = None
        if config.router == "token" and config.has_router and not autocast and _is_joint(dropout, A):
            router = self.moe_lora_router[adapter]
            hidden, logits = linear(dropped, torch.cat([A, router])).split([len(A), len(router)], dim=-1)
        with torch.autocast(x.device.type, enabled=False):
            gates, probabilities = self._gates(x, adapter, forward, logits)
            if forward is not None and forward.record is not None and forward.fits(x):
                forward.record.append(LayerRouting(self.name, gates, probabilities, config, forward))
        if isinstance(gates, int):  # the other experts have gate 0
            A, B = self._of_expert(A, gates, config, axis=0), self._of_expert(B, gates, config, axis=1)
        if hidden is None:
            hidden = linear(dropped, A)  # (..., ranks)
        if isinstance(gates, int):
            hidden = hidden * config.scaling
        else:
            scaled = gates if config.gate_scale == 1 else gates * config.gate_scale
            hidden = weigh(hidden, scaled, shared=config.shared_experts, scaling=config.scaling)
        return add_product(result, hidden, B, in_place=in_place)

    def _of_expert(self, stacked: Tensor, expert: int, config: MoeLoraConfig, *, axis: int) -> Tensor:
        """The part of A or B that is a routed expert's, and the shared ones'."""
        routed = 0 if expert == NO_EXPERT else 1
        part = stacked.narrow(axis, max(expert, 0) * config.r, routed * config.r)
        if not config.shared_experts:
            return part
        shared = stacked.narrow(axis, config.num_experts * config.r, config.shared_experts * config.r)
        return torch.cat([part, shared], dim=axis)

    def _gates(
        self, x: Tensor, adapter: str, forward: ForwardPass | None, logits: Tensor | None
    ) -> tuple[int | Float[Tensor, "*gated experts"], int | Float[Tensor, "*gated experts"]]:
        """Gates, and the softmax over all experts, at least in fp32; or twice the expert that all sequences take.

        Those of all routers but "token" are the same for all tokens of a sequence: (batch, 1, experts).
        """
        config = self.settings[adapter]
        if config.router == "task":
            gates = self._task_gates(x, adapter, forward)
            return gates, gates
        if config.has_question_router:
            if forward is None:
                raise RuntimeError(self._no_forward_pass("question"))
            return forward.questions[adapter]
        if config.num_experts == 1:
            gates = torch.ones((*x.shape[:-1], 1), device=x.device)
            return gates, gates
        if logits is None:
            router_input = self._mean(x, forward) if config.router == "sequence" else _at_least_fp32(x)
            logits = linear(router_input, self.moe_lora_router[adapter].to(router_input.dtype))
        probabilities, gates = gate(logits, config.top_k)
        return gates, probabilities

    def _task_gates(self, x: Tensor, adapter: str, forward: ForwardPass | None) -> int | Tensor:
        if forward is None:
            raise RuntimeError(self._no_forward_pass("task"))
        if adapter not in forward.routes:
            names = ", ".join(self.settings[adapter].route_names)
            raise ValueError(f"adapter {adapter!r} has router='task': call the model with routes=, one of {names}")
        gates = forward.routes[adapter]
        if isinstance(gates, Tensor) and (x.dim() != 3 or len(gates) != len(x)):
            raise ValueError(
                f"a route per sequence needs input ({len(gates)}, seq, dim), layer {self.name} got {tuple(x.shape)}"
            )
        return gates

    def _mean(self, x: Tensor, forward: ForwardPass | None) -> Float[Tensor, "batch 1 in"]:
        """Mean over the tokens of every sequence, at least in fp32."""
        if forward is None:
            raise RuntimeError(self._no_forward_pass("sequence"))
        if not forward.fits(x):
            mask = None if forward.mask is None else tuple(forward.mask.shape)
            raise ValueError(
                "router='sequence' needs input (batch, seq, dim) and an attention_mask (batch, seq), "
                f"layer {self.name} got {tuple(x.shape)} and {mask}"
            )
        x = _at_least_fp32(x)
        return torch.bmm(forward.weights.to(x.dtype).unsqueeze(1), x)

    def _no_forward_pass(self, router: str) -> str:
        return (
            f"layer {self.name} has router={router!r} and is computed outside a forward pass of its model: call the "
            "model, and enable gradient checkpointing with its gradient_checkpointing_enable(), not on the model inside"
        )

    def get_delta_weight(self, adapter: str) -> Float[Tensor, "out in"]:
        """What the adapter adds to the base weight, where its gates do not depend on the input: with one expert.

        Raises:
            ValueError: If there are more.
        """
        config = self.settings[adapter]
        if config.num_experts > 1:
            raise ValueError(
                f"adapter {adapter!r} cannot be merged: its {config.num_experts} experts have gates that depend on the "
                f"input (router={config.router!r}); tsembed.moe_lora.to_lora freezes them first"
            )
        A, B = _at_least_fp32(self.moe_lora_A[adapter]), _at_least_fp32(self.moe_lora_B[adapter])
        return config.scaling * (B @ A)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Add the adapters' weights to the base weight.

        Args:
            safe_merge: Leave the base weight as it is if the sum is not finite.
            adapter_names: None for the active ones.

        Raises:
            ValueError: If an adapter's gates depend on the input, the base weight is quantised, or the sum not finite.
        """
        for adapter in check_adapters_to_merge(self, adapter_names):
            if adapter in self.moe_lora_A:
                self._add_to_base(self.get_delta_weight(adapter), check_finite=safe_merge)
                self.merged_adapters.append(adapter)

    def unmerge(self) -> None:
        """Take the merged adapters' weights out of the base weight again."""
        if not self.merged:
            warnings.warn("Already unmerged. Nothing to do.", stacklevel=2)
        while self.merged_adapters:
            self._add_to_base(-self.get_delta_weight(self.merged_adapters.pop()))

    @torch.no_grad()
    def _add_to_base(self, delta: Tensor, *, check_finite: bool = False) -> None:
        weight = self.base_layer.weight
        if type(self.base_layer) is not nn.Linear or type(weight) is not nn.Parameter:
            raise ValueError(f"layer {self.name}: cannot merge into a quantised {type(self.base_layer).__name__}")
        merged = weight + delta.to(weight.dtype)
        if check_finite and not merged.isfinite().all():
            raise ValueError(f"layer {self.name}: the merged weight is not finite")
        weight.copy_(merged)

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        """Whether PEFT's `convert_to_lora` can be used; `tsembed.moe_lora.to_lora` always can."""
        return self.settings[adapter_name].num_experts == 1


def _is_joint(dropout: nn.Module, A: Tensor) -> bool:
    """Whether router and experts see the same input in a precision good for both: then one GEMM serves them."""
    active = isinstance(dropout, nn.Dropout) and dropout.training
    return not active and A.dtype in (torch.float32, torch.float64)


def _at_least_fp32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
