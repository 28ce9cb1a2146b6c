"""Token-level routing (TLR), the baseline of MoTE's sequence-level routing (MoTE §6, Table 5).

The experts are those of `experts.py`, {norm, MLP, norm} or {norm, MLP}, up-cycled in the same way. But a learned router
in every block chooses the experts of each token, as in Fedus et al. 2021 (https://arxiv.org/abs/2101.03961): tokens are
sorted by expert at the first module of a block's expert, every module works on contiguous slices, and the last one puts
the tokens back, weighted by their gates.

    model = route_tokens(AutoModel.from_pretrained(...), num_experts=4, top_k=1)
    with routing_record() as record:
        model(input_ids=..., attention_mask=...).last_hidden_state
"""

import copy
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .checkpoint import check_files, read_json
from .families import FAMILIES, block_indices, blocks_of, check_no_task_head, drop_pooling_head, new_encoder
from .per_expert import PerExpert

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


class Routing(NamedTuple):
    """What one block's router decided in one forward pass; `mask` says which tokens are no padding."""

    block: int
    all_probabilities: Float[Tensor, "all experts"]  # with gradient
    all_chosen: Int[Tensor, "all top_k"]
    mask: Int[Tensor, "batch seq"] | None

    @property
    def probabilities(self) -> Float[Tensor, "tokens experts"]:
        """Without padding."""
        return self.all_probabilities[self._kept]

    @property
    def chosen(self) -> Int[Tensor, "tokens top_k"]:
        """Without padding."""
        return self.all_chosen[self._kept]

    @property
    def _kept(self):
        return slice(None) if self.mask is None else self.mask.flatten().bool()


class _Dispatch(NamedTuple):
    """How a block's tokens are sorted by expert."""

    tokens: Int[Tensor, " copies"]  # the token that each of the sorted copies is of
    gates: Float[Tensor, " copies"]
    counts: tuple[int, ...]
    shape: torch.Size  # (batch, seq, dim) of the block


# Set by the first module of a block's expert and read by the others of the same block, also when a checkpointed block
# is computed anew; no state of a module outlives the block.
_DISPATCH: ContextVar[_Dispatch | None] = ContextVar("dispatch", default=None)
_RECORD: ContextVar[list[Routing] | None] = ContextVar("record", default=None)
_MASK: ContextVar[Tensor | None] = ContextVar("mask", default=None)


def _current_dispatch() -> _Dispatch:
    """How the block under way has sorted its tokens: its first module has run."""
    dispatch = _DISPATCH.get()
    assert dispatch is not None
    return dispatch


@contextmanager
def routing_record() -> Iterator[list[Routing]]:
    """A list that the forward passes within the context fill with what their routers decide."""
    record: list[Routing] = []
    token = _RECORD.set(record)
    try:
        yield record
    finally:
        _RECORD.reset(token)


def balance(record: Sequence[Routing]) -> Float[Tensor, "1 blocks columns"]:
    """What `losses.load_balancing_of` needs of all forward passes of a record, padding left out.

    Columns: sum over the tokens of every expert's probability (with gradient), choices per expert, tokens.
    """
    rows = []
    for block in sorted({routing.block for routing in record}):
        passes = [routing for routing in record if routing.block == block]
        probabilities = torch.cat([routing.probabilities for routing in passes]).float()  # (tokens, experts)
        experts = torch.cat([routing.chosen for routing in passes]).flatten()
        counts = torch.bincount(experts, minlength=probabilities.shape[1]).to(probabilities)
        rows.append(torch.cat([probabilities.sum(0), counts, counts.new_tensor([len(probabilities)])]))
    return torch.stack(rows)[None]


class Router(nn.Module):
    """Probabilities of the experts for each token: softmax of a linear map of the normalised residual stream."""

    def __init__(self, dim: int, num_experts: int, generator: torch.Generator):
        super().__init__()
        self.weight = nn.Parameter(0.02 * torch.randn(num_experts, dim, generator=generator))

    def forward(self, hidden: Float[Tensor, "tokens dim"]) -> Float[Tensor, "tokens experts"]:
        """Softmax over the experts for each token, in fp32 also under autocast."""
        with torch.autocast(hidden.device.type, enabled=False):
            normal = nn.functional.layer_norm(hidden.float(), hidden.shape[-1:])
            return nn.functional.linear(normal, self.weight.float()).softmax(-1)


class _TokenExperts(nn.Module):
    """One module of a block, once per expert; tokens arrive sorted by expert."""

    def __init__(self, dense: nn.Module, num_experts: int):
        super().__init__()
        self.experts = nn.ModuleList(copy.deepcopy(dense) for _ in range(num_experts))

    def forward(self, *inputs: Tensor) -> Tensor:  # each (1, copies, ...)
        counts = _current_dispatch().counts
        slices = zip(*(x.split(counts, dim=1) for x in inputs), strict=True)
        parts = [expert(*part) for expert, part, n in zip(self.experts, slices, counts, strict=True) if n]
        return torch.cat(parts, dim=1)


class _Enter(_TokenExperts):
    """The first module of a block's expert: routes the tokens and sorts them."""

    def __init__(self, dense: nn.Module, router: Router, top_k: int, block: int):
        super().__init__(dense, len(router.weight))
        self.router, self.top_k, self.block = router, top_k, block

    def forward(self, *inputs: Float[Tensor, "batch seq dim"]) -> Float[Tensor, "1 copies dim"]:
        (hidden,) = inputs
        flat = hidden.flatten(0, 1)  # (tokens, dim)
        probabilities = self.router(flat)
        gates, experts = probabilities.topk(self.top_k, dim=-1)  # (tokens, top_k)
        # The sum is a constant: one expert's gate is then 1 in value, as up-cycling needs, and still has a gradient.
        gates = gates / gates.sum(-1, keepdim=True).detach()
        order = experts.flatten().argsort(stable=True)
        counts = tuple(torch.bincount(experts.flatten(), minlength=len(self.experts)).tolist())
        tokens = order // self.top_k
        _DISPATCH.set(_Dispatch(tokens, gates.flatten()[order], counts, hidden.shape))
        if (record := _RECORD.get()) is not None:
            record.append(Routing(self.block, probabilities, experts, _MASK.get()))
        return super().forward(flat[tokens].unsqueeze(0))


class _Leave(_TokenExperts):
    """The last module of a block's expert: puts the tokens back, as the sum over their experts, weighted by gate."""

    def forward(self, *inputs: Tensor) -> Float[Tensor, "batch seq dim"]:  # each (1, copies, ...)
        dispatch = _current_dispatch()
        weighted = super().forward(*inputs).squeeze(0) * dispatch.gates.unsqueeze(-1)  # (copies, dim)
        batch, seq, dim = dispatch.shape
        out = torch.zeros(batch * seq, dim, dtype=weighted.dtype, device=weighted.device)
        return out.index_add(0, dispatch.tokens, weighted).view(batch, seq, dim)


class TokenRouted(nn.Module):
    """An encoder whose tokens are routed to experts by learned routers. Made by `route_tokens` or `from_pretrained`.

    Attributes:
        model: The encoder with routers and experts inside.
        num_experts, top_k: Experts per block, and those that each token takes.
        blocks: Indices of the blocks that have experts.
    """

    def __init__(self, model: "PreTrainedModel", num_experts: int, top_k: int, blocks: Sequence[int]):
        super().__init__()
        self.model, self.num_experts, self.top_k, self.blocks = model, num_experts, top_k, tuple(blocks)

    @property
    def config(self) -> "PreTrainedConfig":
        """The dense encoder's config."""
        return self.model.config

    def forward(self, **inputs: Tensor):
        """The encoder's output. An embedding does not depend on its batch-mates: no expert has a capacity."""
        token = _MASK.set(inputs.get("attention_mask"))
        try:
            return self.model(**inputs)
        finally:
            _MASK.reset(token)

    def gradient_checkpointing_enable(self) -> None:
        """Recompute activations in the backward pass."""
        self.model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json, model.safetensors and token_routing.json."""
        from safetensors.torch import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.config.save_pretrained(folder)
        weights = {name: tensor.contiguous() for name, tensor in self.model.state_dict().items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        settings = {"num_experts": self.num_experts, "top_k": self.top_k, "blocks": self.blocks}
        (folder / "token_routing.json").write_text(json.dumps(settings, indent=2) + "\n")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "TokenRouted":
        """The encoder that `save_pretrained` wrote, in evaluation mode.

        Raises:
            ValueError: If the folder is no such checkpoint, or its weights do not fit its token_routing.json.
        """
        from safetensors.torch import load_file
        from transformers import AutoConfig

        folder = Path(folder)
        if not (folder / "token_routing.json").is_file():
            raise ValueError(f"{folder}: no token_routing.json, so this is no checkpoint with token-level routing")
        check_files(folder)
        settings = read_json(place := folder / "token_routing.json")
        try:
            routed = route_tokens(new_encoder(AutoConfig.from_pretrained(folder, trust_remote_code=False)), **settings)
        except TypeError:
            raise ValueError(f"{place}: other settings than those of token-level routing: {settings!r:.200}") from None
        try:
            routed.model.load_state_dict(load_file(folder / "model.safetensors"))
        except RuntimeError as error:
            raise ValueError(f"{folder}: the weights do not fit token_routing.json: {error}") from None
        return routed.eval()


def route_tokens(
    model: "PreTrainedModel",
    *,
    num_experts: int = 4,
    top_k: int = 1,
    blocks: str | Sequence[int] = "every",
    seed: int = 0,
) -> TokenRouted:
    """The encoder with token-level routing, every expert a copy of the dense one. Changes `model`.

    At initialisation the result equals the dense encoder up to the order of additions, whatever the routers say.

    Args:
        model: A Hugging Face encoder of one of `families.FAMILIES`.
        num_experts: Per block.
        top_k: Experts of a token; their gates sum to 1.
        blocks: As in `experts.upcycle`.
        seed: Of the routers' weights.

    Raises:
        ValueError: For an unknown family, top_k outside 1..num_experts, a block out of range, or a model that has
            experts already.
    """
    family = FAMILIES.get(model.config.model_type)
    if family is None:
        raise ValueError(f"no experts for model_type {model.config.model_type!r}; known: {', '.join(FAMILIES)}")
    if not 1 <= top_k <= num_experts:
        raise ValueError(f"top_k must be in 1..num_experts ({num_experts}), got {top_k}")
    if any(isinstance(module, PerExpert | _TokenExperts) for module in model.modules()):
        raise ValueError("this model has experts already")
    check_no_task_head(model)
    drop_pooling_head(model)
    layers = blocks_of(model)
    indices = block_indices(blocks, len(layers))
    generator = torch.Generator().manual_seed(seed)
    last = len(family.expert) - 1
    for index in indices:
        for place, path in enumerate(family.expert):
            parent, _, name = path.rpartition(".")
            owner = layers[index].get_submodule(parent)
            dense = getattr(owner, name)
            if place == 0:
                router = Router(model.config.hidden_size, num_experts, generator)
                setattr(owner, name, _Enter(dense, router, top_k, index))
            else:
                setattr(owner, name, (_Leave if place == last else _TokenExperts)(dense, num_experts))
    return TokenRouted(model, num_experts, top_k, indices)
