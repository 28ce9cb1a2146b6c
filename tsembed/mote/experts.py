"""MoTE: up-cycle a dense encoder into task experts, and go back to dense (MoTE §3.1, Fig. 2).

An expert of a block is {norm, MLP, norm} where the block is post-norm and {norm, MLP} where it is pre-norm. A whole
sequence goes through the expert of its route. Sequences are sorted by expert once, at the model's entrance; every
block then works on contiguous slices, and a batch of one expert takes exactly the dense path.

    model = upcycle(AutoModel.from_pretrained(...), {"search_query": "query", "search_document": "document"})
    model("search_query", input_ids=..., attention_mask=...).last_hidden_state
"""

import copy
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .checkpoint import check_weights, expert_of, load_weights, local_folder, read_settings, shapes
from .families import (
    FAMILIES,
    block_indices,
    blocks_of,
    check_no_task_head,
    dense_model,
    drop_pooling_head,
    new_encoder,
)
from .per_expert import PerExpert, SequencesPerExpert, checkpoint_contexts

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


class TaskRouted(nn.Module):
    """An encoder with task experts, routed by sequence. Made by `upcycle` or `from_pretrained`.

    Attributes:
        model: The encoder with `PerExpert` modules inside.
        routes: Route -> expert name, in the order of the routes' indices.
        blocks: Indices of the blocks that have experts.
    """

    def __init__(self, model: "PreTrainedModel", routes: Mapping[str, str], blocks: Sequence[int]):
        super().__init__()
        self.model = model
        self.routes = dict(routes)
        self.blocks = tuple(blocks)
        self.expert_names = tuple(dict.fromkeys(self.routes.values()))
        self._expert_of_route = torch.tensor([self.expert_names.index(e) for e in self.routes.values()])

    @property
    def config(self) -> "PreTrainedConfig":
        """The dense encoder's config."""
        return self.model.config

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are stored in: that of the first, as transformers has it."""
        return next(self.model.parameters()).dtype

    def num_parameters(self, only_trainable: bool = False) -> int:
        """How many weights there are, those of all experts included."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad or not only_trainable)

    def forward(self, routes: str | Sequence[str] | Tensor, *, pool: Callable | None = None, **inputs: Any):
        """The encoder's output under the routes, in the order of the inputs.

        Args:
            routes: One route for all, a route per sequence, or its index in `self.routes` per sequence: int64 (batch,),
                best on the CPU.
            pool: `pool(last_hidden_state, attention_mask) -> (batch, dim)`. With it only the pooled vectors are
                brought back into the inputs' order and returned; without it the whole output of one-expert batches,
                and an output with `last_hidden_state` alone of mixed ones.
            inputs: The encoder's own, every tensor with the batch first.

        Raises:
            ValueError: If a route is unknown, no input is a tensor, or more than the last hidden states is asked of a
                mixed batch.
        """
        tensors = {name: x for name, x in inputs.items() if isinstance(x, Tensor)}
        if not tensors:
            raise ValueError(f"no tensor among the inputs {', '.join(inputs) or '(none)'}; input_ids is one, by name")
        first = next(iter(tensors.values()))
        order, counts = self._sort(routes, first.shape[0])
        if order is not None:
            if more := [name for name in inputs if name.startswith("output_") and inputs[name]]:
                raise ValueError(
                    f"{', '.join(more)}: of sequences with several experts only last_hidden_state is given"
                )
            order = order.to(first.device)
            inputs |= {name: x[order] for name, x in tensors.items()}
        with SequencesPerExpert(counts):
            output = self.model(**inputs)
        if pool is not None:
            pooled = pool(output.last_hidden_state, inputs["attention_mask"])  # (batch, dim)
            return pooled if order is None else pooled[order.argsort()]
        if order is None:
            return output
        return type(output)(last_hidden_state=output.last_hidden_state[order.argsort()])

    def _sort(self, routes: str | Sequence[str] | Tensor, batch: int) -> tuple[Tensor | None, tuple[int, ...]]:
        """Order that sorts the sequences by expert (None if they are), and the number of sequences per expert."""
        if isinstance(routes, str):
            if routes not in self.routes:
                raise ValueError(f"route {routes!r} has no expert; routes: {', '.join(self.routes)}")
            return None, tuple(batch * (name == self.routes[routes]) for name in self.expert_names)
        if not isinstance(routes, Tensor):
            index_of = {route: index for index, route in enumerate(self.routes)}
            for position, route in enumerate(routes):
                if route not in index_of:
                    raise ValueError(
                        f"route {route!r} of sequence {position} has no expert; routes: {', '.join(self.routes)}"
                    )
            routes = torch.tensor([index_of[route] for route in routes], dtype=torch.int64)
        routes = routes.cpu()  # DistributedDataParallel moves every tensor of its inputs to its own device
        if routes.shape != (batch,):
            raise ValueError(f"routes has shape {tuple(routes.shape)} for a batch of {batch} sequences")
        if batch and not 0 <= int(routes.min()) <= int(routes.max()) < len(self.routes):
            raise ValueError(f"route index out of range: must be in 0..{len(self.routes) - 1}, got {routes.tolist()}")
        experts = self._expert_of_route[routes]
        counts = tuple(torch.bincount(experts, minlength=len(self.expert_names)).tolist())
        in_order = bool((experts.diff() >= 0).all())
        return (None if in_order else experts.argsort(stable=True)), counts

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: Mapping[str, Any] | None = None, **settings: Any
    ) -> None:
        """Recompute activations in the backward pass, under the routes of their own forward pass.

        Args:
            gradient_checkpointing_kwargs: Of `torch.utils.checkpoint.checkpoint`, for example determinism_check="none".
            settings: As of transformers' `activation_checkpointing_enable`: `every_n_layers`, `offload`.

        Raises:
            ValueError: For use_reentrant=True or a context_fn: the routes of a pass come back through our own.
        """
        options = dict(gradient_checkpointing_kwargs or {})
        if options.get("use_reentrant") or options.get("context_fn"):
            raise ValueError(f"task experts need use_reentrant=False and their own context_fn, got {options}")
        kwargs = options | {"use_reentrant": False, "context_fn": checkpoint_contexts}
        self.model.activation_checkpointing_enable(activation_checkpointing_kwargs=kwargs, **settings)

    def dense_state_dict(self, expert: str) -> dict[str, Tensor]:
        """The weights of one expert and all that is shared, under the dense encoder's names."""
        named = [(*expert_of(name), tensor) for name, tensor in self.model.state_dict().items()]
        return {dense: tensor for owner, dense, tensor in named if owner in (None, expert)}

    def extract_expert(self, route: str) -> "PreTrainedModel":
        """The plain dense encoder of a route, with weights of its own; it needs no code of ours.

        Raises:
            ValueError: If the route is unknown.
        """
        if route not in self.routes:
            raise ValueError(f"route {route!r} has no expert; routes: {', '.join(self.routes)}")
        return dense_model(self.config, type(self.model), self.dense_state_dict(self.routes[route]))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json, model.safetensors and mote.json (routes and blocks)."""
        from safetensors.torch import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = copy.deepcopy(self.config)
        config.dtype = self.dtype
        config.save_pretrained(folder)
        weights = {name: tensor.contiguous() for name, tensor in self.model.state_dict().items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "mote.json").write_text(json.dumps({"routes": self.routes, "blocks": self.blocks}, indent=2) + "\n")

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        commit_message: str = "Upload task experts",
    ) -> str:
        """The address of the commit that puts what `save_pretrained` writes on the hub; makes the repository if needed.

        Args:
            repo_id: "organisation/model".
            private: Of a new repository; by default what the organisation has as its own.
            token: By default the one that `hf auth login` stored.
            revision: The branch, by default main.
            commit_message: Shown in the history on the hub.

        Raises:
            OSError, httpx.HTTPError: If the hub cannot be reached or refuses; nothing was uploaded then.
        """
        from huggingface_hub import HfApi

        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            hub = HfApi(token=token)
            repo_id = hub.create_repo(repo_id, private=private, exist_ok=True).repo_id
            commit = hub.upload_folder(
                repo_id=repo_id, folder_path=folder, revision=revision, commit_message=commit_message
            )
        return commit.commit_url

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, revision: str | None = None) -> "TaskRouted":
        """The encoder that `save_pretrained` wrote, in evaluation mode as transformers' own `from_pretrained`.

        Args:
            folder: A folder, or "organisation/model" of the hub.
            revision: Branch, tag or commit on the hub.

        Raises:
            ValueError: If there is no such folder or model, it is no MoTE checkpoint, mote.json is malformed, or the
                weights are of another family, task map, choice of blocks or size than config.json and mote.json say.
        """
        from safetensors.torch import load_file

        folder = local_folder(folder, revision)
        config, routes, blocks = read_settings(folder)
        try:
            routed = upcycle(new_encoder(config), routes, blocks)
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from None
        weights = load_file(folder / "model.safetensors")
        check_weights(
            folder / "model.safetensors",
            shapes(weights),
            shapes(routed.model.state_dict()),
            model_type=config.model_type,
            blocks=FAMILIES[config.model_type].blocks,
        )
        load_weights(routed.model, weights)
        return routed.eval()


def upcycle(
    model: "PreTrainedModel",
    routes: Mapping[str, str] | Sequence[str],
    blocks: str | Sequence[int] = "every",
) -> TaskRouted:
    """The encoder with task experts, every expert a copy of the dense one (MoTE §3.1.1). Changes `model`.

    At initialisation the result equals the dense encoder exactly, whatever the routes. A pooling head, as BERT has one,
    is taken out: embeddings are pooled from the last hidden states, and it would be trained by nothing.

    Args:
        model: A Hugging Face encoder of one of `FAMILIES`.
        routes: Route -> expert name; several routes may share an expert. A list gives each route its own.
        blocks: Which blocks get experts: "every" (EB), "every_other" (EOB: 1, 3, 5, …; Table 6), "last_half", "last",
                or indices.

    Raises:
        ValueError: For an unknown family, a model with a task head, no routes, a name that no module can have, a block
            out of range, or a model that has experts already.
    """
    if not hasattr(model, "config"):
        raise ValueError(f"upcycle takes a Hugging Face encoder, not {type(model).__name__}; AutoModel loads one")
    family = FAMILIES.get(model.config.model_type)
    if family is None:
        raise ValueError(f"no MoTE for model_type {model.config.model_type!r}; known: {', '.join(FAMILIES)}")
    check_no_task_head(model)
    if isinstance(routes, str):
        raise ValueError(f"routes must be a list of routes, or route -> expert, not one text: [{routes!r}]")
    routes = dict(routes) if isinstance(routes, Mapping) else {route: route for route in routes}
    if not routes:
        raise ValueError("upcycle needs at least one route")
    if others := [name for pair in routes.items() for name in pair if not isinstance(name, str)]:
        raise ValueError(f"routes and experts are named by texts, not by {others[0]!r}")
    if any(isinstance(module, PerExpert) for module in model.modules()):
        raise ValueError("this model has task experts already")
    layers = blocks_of(model)
    indices = block_indices(blocks, len(layers))
    names = tuple(dict.fromkeys(routes.values()))
    if wrong := [name for name in names if not name or "." in name or hasattr(nn.ModuleDict(), name)]:
        raise ValueError(f"an expert's name must not be empty, hold a dot or be a word of ModuleDict, got {wrong}")
    drop_pooling_head(model)  # all is checked: from here on the model changes
    for index in indices:
        for path in family.expert:
            parent, _, name = path.rpartition(".")
            owner = layers[index].get_submodule(parent)
            setattr(owner, name, PerExpert(getattr(owner, name), names))
    return TaskRouted(model, routes, indices)
