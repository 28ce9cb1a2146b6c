"""The tuner: which layers get experts, and the context of a forward pass."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from peft.config import PeftConfig
from peft.tuners.tuners_utils import BaseTuner, _maybe_include_all_linear_layers, check_target_module_exists
from torch import Tensor, nn

from .config import NO_EXPERT, MoeLoraConfig
from .context import THREAD, checkpoint_contexts, forward_pass
from .layer import MoeLoraLinear
from .question import NAME as QUESTION_ROUTER
from .question import QuestionGates, QuestionRouter, text_tokens
from .tuner_layer import MoeLoraLayer

PICTURE_TOKENS = ("image", "video", "vision_start", "vision_end")  # in the config: <name>_token_id
_BERT = ("query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense")
_QWEN = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
# All linear layers of the blocks, by config.model_type. A vision tower's are named otherwise, or left out below.
TARGET_MODULES: dict[str, tuple[str, ...]] = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "mpnet": ("attn.q", "attn.k", "attn.v", "attn.o", "intermediate.dense", "output.dense"),
    "distilbert": ("q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2"),
    "modernbert": ("Wqkv", "Wo", "Wi"),
    "nomic_bert": _QWEN,
    "qwen2": _QWEN,
    "qwen3": _QWEN,
    "qwen2_vl": _QWEN,
    "qwen2_vl_text": _QWEN,
    "qwen2_5_vl": _QWEN,
}


class MoeLoraModel(BaseTuner):
    """A model whose linear layers have LoRA experts; `get_peft_model` makes it and PEFT's `PeftModel` wraps it.

    A call takes `routes=` for task-routed adapters: one route for all, or its index in the adapter's routes per
    sequence, int64 (batch,), on the CPU. Everything else goes to the base model, whose `attention_mask` (batch, seq),
    if there is one, says which tokens count. Hooks on the base model set the context of its forward pass: `PeftModel`
    calls the base model itself, past this class, where there is no task type.

    Args:
        model: The base model; its layers are replaced in place.
        peft_config: Settings per adapter.
        adapter_name: The adapter to begin with.

    Raises:
        ValueError: If the model type has no default target modules, or an entry of target_modules matches nothing.
    """

    prefix = "moe_lora_"
    tuner_layer_cls = MoeLoraLayer
    target_module_mapping = {family: list(names) for family, names in TARGET_MODULES.items()}

    def __init__(self, model: nn.Module, peft_config: PeftConfig | dict[str, PeftConfig], adapter_name: str, **kwargs):
        super().__init__(model, peft_config, adapter_name, **kwargs)
        self._positional = tuple(inspect.signature(model.forward).parameters)
        self._context_hooks = (
            model.register_forward_pre_hook(self._enter_forward, with_kwargs=True),
            model.register_forward_hook(self._leave_forward, always_call=True),
        )

    def _enter_forward(self, _: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        routes = kwargs.get("routes")
        kwargs = {name: value for name, value in kwargs.items() if name != "routes"}
        inputs = dict(zip(self._positional, args, strict=False)) | kwargs
        mask = _mask(inputs)
        given = {} if routes is None else self._resolve(routes, mask)
        THREAD.forward = forward_pass(mask, given, self._ask(inputs, mask))
        return args, kwargs

    def _leave_forward(self, *_) -> None:
        THREAD.forward = None

    def _resolve(self, routes: str | Tensor, mask: Tensor | None) -> dict[str, int | Tensor]:
        """Per task-routed active adapter: the expert, or one-hot gates (batch, 1, experts)."""
        configs = {name: _moe_lora(self.peft_config[name]) for name in self.active_adapters}
        task_routed = {name: config for name, config in configs.items() if config.router == "task"}
        if not task_routed:
            routers = ", ".join(sorted({config.router for config in configs.values()}))
            raise ValueError(f"routes are for adapters with router='task'; the active ones have router: {routers}")
        if isinstance(routes, str):
            return {name: config.expert_of(routes) for name, config in task_routed.items()}
        if routes.dim() != 1 or (mask is not None and len(routes) != len(mask)):
            batch = "batch" if mask is None else len(mask)
            raise ValueError(f"routes must be a name or indices of shape ({batch},), got shape {tuple(routes.shape)}")
        return {name: _one_hot(routes, config, mask) for name, config in task_routed.items()}

    def _ask(self, inputs: dict[str, Any], mask: Tensor | None) -> dict[str, QuestionGates]:
        """Per question-routed active adapter: what its router chooses for the sequences of the call.

        Raises:
            ValueError: If the call has no `input_ids`, or no mask of their shape.
        """
        router = getattr(self.model, QUESTION_ROUTER, None)
        if router is None:
            return {}
        asked = [name for name in self.active_adapters if name in router.settings]
        if not asked:
            return {}
        ids = inputs.get("input_ids")
        if ids is None or mask is None:
            raise ValueError("router='question' reads the words of a text: call the model with input_ids (batch, seq)")
        with torch.no_grad():
            words = self.model.get_input_embeddings()(ids)
        is_text = text_tokens(ids, mask, torch.tensor(self._of_pictures, device=ids.device))
        return {name: router(words, is_text, name) for name in asked}

    @property
    def _of_pictures(self) -> list[int]:
        """Ids of the tokens that stand for pictures, or around them."""
        config = self.model.config
        ids = [getattr(config, f"{name}_token_id", None) for name in PICTURE_TOKENS]
        return [token for token in ids if token is not None]

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None, **kwargs
    ) -> None:
        """Recompute activations in the backward pass, in the context of their own forward pass.

        Args:
            gradient_checkpointing_kwargs: For `torch.utils.checkpoint`, without `context_fn`.
            kwargs: For the base model's `activation_checkpointing_enable`.

        Raises:
            ValueError: For `use_reentrant=True`, which has no contexts.
        """
        options = dict(gradient_checkpointing_kwargs or {})
        if options.setdefault("use_reentrant", False):
            raise ValueError("gradient checkpointing of MoE-LoRA needs use_reentrant=False, got True")
        options["context_fn"] = checkpoint_contexts
        self.model.activation_checkpointing_enable(activation_checkpointing_kwargs=options, **kwargs)

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: dict[str, Any] | None = None, **kwargs
    ) -> None:
        """The new name, in transformers 5, of `gradient_checkpointing_enable`."""
        self.gradient_checkpointing_enable(activation_checkpointing_kwargs, **kwargs)

    def _prepare_adapter_config(self, peft_config: PeftConfig, model_config: dict) -> MoeLoraConfig:
        peft_config = _moe_lora(peft_config)
        if peft_config.target_modules is None:
            model_type = model_config.get("model_type")
            if model_type not in TARGET_MODULES:
                families = ", ".join(TARGET_MODULES)
                raise ValueError(f"give target_modules: model_type {model_type!r} has no default; known: {families}")
            peft_config.target_modules = TARGET_MODULES[model_type]
        return peft_config

    def _prepare_model(self, peft_config: PeftConfig, model: nn.Module) -> None:
        """Resolve "all-linear" and check the entries of a list, before anything in the model is changed."""
        config = _moe_lora(peft_config)
        targets = config.target_modules
        if isinstance(targets, str):
            if targets.lower() == "all-linear":
                linear_layers = _moe_lora(_maybe_include_all_linear_layers(config, model)).target_modules or ()
                config.target_modules = tuple(sorted(name for name in linear_layers if not _in_vision_tower(name)))
            return
        assert targets is not None  # `_prepare_adapter_config` has filled it in
        names = [name for name, _ in model.named_modules()]
        if unknown := [t for t in targets if not any(_ends_in(name, t) for name in names)]:
            linear = {
                n.rpartition(".")[2] for n, m in model.named_modules() if isinstance(m, nn.Linear | MoeLoraLinear)
            }
            raise ValueError(
                f"target_modules {unknown} match no module of {type(model).__name__}; its linear layers are named "
                f"{', '.join(sorted(linear))}"
            )

    @staticmethod
    def _check_target_module_exists(peft_config: PeftConfig, key: str):
        is_target = check_target_module_exists(peft_config, key)
        if (
            is_target
            and _in_vision_tower(key)
            and not _names_vision_tower(_moe_lora(peft_config).target_modules or (), key)
        ):
            return False
        return is_target

    def _create_and_replace(
        self,
        peft_config: PeftConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        config = _moe_lora(peft_config)
        if config.has_question_router:
            self._add_question_router(adapter_name, config)
        if isinstance(target, MoeLoraLinear):
            target.update_layer(adapter_name, config)
            return
        if not isinstance(target, nn.Linear):
            raise ValueError(f"MoE-LoRA adapts linear layers, but target {current_key} is a {type(target).__name__}")
        layer = MoeLoraLinear(target, adapter_name, config, current_key)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)
        self._replace_module(parent, target_name, layer, target)

    def _add_question_router(self, adapter_name: str, config: MoeLoraConfig) -> None:
        """The adapter's router, once: this is called for every adapted layer."""
        if not hasattr(self.model, QUESTION_ROUTER):
            self.model.add_module(QUESTION_ROUTER, QuestionRouter(self.model.get_input_embeddings()))
        router = getattr(self.model, QUESTION_ROUTER)
        if adapter_name not in router.settings:
            router.update_layer(adapter_name, config)
            router.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def _unload_and_optionally_merge(self, *args, **kwargs) -> Any:  # PEFT's says None and returns the model
        base = super()._unload_and_optionally_merge(*args, **kwargs)
        for hook in self._context_hooks:
            hook.remove()
        if hasattr(base, QUESTION_ROUTER):
            delattr(base, QUESTION_ROUTER)
        return base


def _moe_lora(config: PeftConfig) -> MoeLoraConfig:
    """The same settings: PEFT hands them over as those of any method, and this tuner gets its own alone."""
    assert isinstance(config, MoeLoraConfig)
    return config


def _mask(inputs: dict[str, Any]) -> Tensor | None:
    """The (batch, seq) mask of a call: its attention mask, or ones; None if it has another form or no known input."""
    mask = inputs.get("attention_mask")
    if mask is not None:
        return mask if isinstance(mask, Tensor) and mask.dim() == 2 else None
    tokens = inputs.get("input_ids")
    tokens = inputs.get("inputs_embeds") if tokens is None else tokens
    return None if tokens is None else torch.ones(tokens.shape[:2], device=tokens.device)


def _one_hot(routes: Tensor, config: MoeLoraConfig, mask: Tensor | None) -> Tensor:
    """Gates (batch, 1, experts) of route indices."""
    routes, last = routes.cpu(), len(config.route_names) - 1  # DistributedDataParallel moves them to its own device
    if not torch.compiler.is_compiling() and len(routes) and not 0 <= int(routes.min()) <= int(routes.max()) <= last:
        raise ValueError(f"route index out of range: must be in 0..{last}, got {routes.tolist()}")
    experts = torch.tensor(config.route_experts)[routes]
    chosen = nn.functional.one_hot(experts.clamp_min(0), config.num_experts).float() * (experts != NO_EXPERT)[:, None]
    gates = chosen.unsqueeze(1)  # (batch, 1, experts)
    return gates if mask is None else gates.to(mask.device)


def _ends_in(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _in_vision_tower(name: str) -> bool:
    return any(part.startswith(("visual", "vision")) for part in name.split("."))


def _names_vision_tower(targets: Sequence[str], name: str) -> bool:
    """Whether the user's own words name the vision tower that a module is in."""
    if isinstance(targets, str):
        return "visual" in targets or "vision" in targets
    return any(_in_vision_tower(target) and _ends_in(name, target) for target in targets)
