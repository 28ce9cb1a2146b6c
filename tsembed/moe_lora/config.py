"""Settings of a MoE-LoRA adapter."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from peft.config import PeftConfig
from peft.utils import PeftType

ROUTERS = ("token", "sequence", "question", "task")
NO_EXPERT = -1  # the index of a route that takes the shared experts alone
Names = list[str] | tuple[str, ...] | str  # of modules, or a regular expression


def _extend_peft_type(name: str) -> None:
    """Add a member to PEFT's closed enum of methods, which `register_peft_method` demands."""
    if name in PeftType.__members__:
        return
    member = str.__new__(PeftType, name)
    member._name_, member._value_, member._sort_order_ = name, name, len(PeftType)  # type: ignore[attr-defined]  # enum's own, not in its stub
    type.__setattr__(PeftType, name, member)  # Python 3.12 reads members as attributes of the class
    PeftType._member_names_.append(name)
    PeftType._member_map_[name] = member
    PeftType._value2member_map_[name] = member


_extend_peft_type("MOE_LORA")


@dataclass
class MoeLoraConfig(PeftConfig):
    """Settings of a MoE-LoRA adapter; fields named as in `LoraConfig` mean what they mean there.

    Args:
        num_experts: Routed experts per adapted layer, >= 1. With `router="task"` it follows from `routes`.
        r: Rank of one expert, >= 1.
        lora_alpha: Experts are scaled by lora_alpha / r.
        top_k: Experts that a token takes, their gates a softmax over these; None for all of them.
        target_modules: Names (or their ends) of the linear layers to adapt, one regular expression, or "all-linear".
            None: all linear layers of the blocks, for the families in `model.TARGET_MODULES`. A vision tower (a path
            with a part that starts with "visual" or "vision") is adapted only where an entry, or the expression,
            names it so.
        exclude_modules: Names, or a regular expression, of layers not to adapt.
        lora_dropout: Of the experts' input, in [0, 1). The router sees the input without dropout (our choice), so that
            dropout does not blur the routing signature.
        router: What the gates depend on. "token": a softmax of a linear map of the layer's input, per token.
            "sequence": the same of the input's mean over the tokens of the mask. "question": the words of the
            sequence's text, the same gates in all layers (`question.QuestionRouter`). "task": the expert of the route
            that is given with `routes=` at every call; there are no router weights.
        routes: For `router="task"`: route -> expert name; several routes may share an expert, and None takes the shared
            experts alone. A list gives each route its own. Kept as pairs, because JSON would lose the order, which is
            that of the routes' indices.
        load_balancing: Weight of the load-balancing loss, >= 0, for the training loop; no loss is added here.
        shared_experts: Further experts that every token takes, with gate 1, and that no router sees.
        scale_gates: Multiply the routed experts' gates by the number of experts that a token takes. Gates sum to 1, so
            an expert's step is a fraction of LoRA's; scaled, even gates are 1 each. Signatures keep the plain gates.
        modules_to_save: Further modules to train and save whole.
        init_seed: Makes every A and every router a function of this seed and of the layer's name; None draws from
            torch's global generator, as PEFT does.
        layers_to_transform: Blocks to adapt, as in PEFT; only with a list of target_modules.
        layers_pattern: Name of the list of blocks, as in PEFT.

    Raises:
        ValueError: For a setting out of its range, with value and rule.

    Examples:
        >>> MoeLoraConfig(router="task", routes={"query": "q", "document": "d", "passage": "d"}).num_experts
        2
    """

    num_experts: int = field(default=4, metadata={"help": "routed experts per adapted layer"})
    r: int = field(default=16, metadata={"help": "rank of one expert"})
    lora_alpha: float = field(default=64, metadata={"help": "experts are scaled by lora_alpha / r"})
    top_k: int | None = field(default=None, metadata={"help": "experts that a token takes; None: all"})
    target_modules: Names | None = field(default=None, metadata={"help": "linear layers to adapt"})
    exclude_modules: Names | None = field(default=None, metadata={"help": "layers not to adapt"})
    lora_dropout: float = field(default=0.0, metadata={"help": "dropout of the experts' input"})
    router: str = field(default="token", metadata={"help": "token, sequence, question or task"})
    routes: Mapping[str, str | None] | list | None = field(
        default=None, metadata={"help": "route -> expert (router task)"}
    )
    load_balancing: float = field(default=0.0, metadata={"help": "weight of the load-balancing loss"})
    shared_experts: int = field(default=0, metadata={"help": "experts that every token takes"})
    scale_gates: bool = field(default=False, metadata={"help": "even gates are 1 each, not 1 / experts"})
    modules_to_save: list[str] | None = field(default=None, metadata={"help": "modules to train and save whole"})
    init_seed: int | None = field(default=None, metadata={"help": "seed of the initialisation"})
    layers_to_transform: list[int] | int | None = field(default=None, metadata={"help": "blocks to adapt"})
    layers_pattern: list[str] | str | None = field(default=None, metadata={"help": "name of the list of blocks"})

    def __post_init__(self):
        super().__post_init__()
        self.peft_type = PeftType("MOE_LORA")
        # Tuples: PEFT shortens long lists and sets of names to their ends, which may no longer name a vision tower.
        self.target_modules, self.exclude_modules = map(_names, (self.target_modules, self.exclude_modules))
        if self.router not in ROUTERS:
            raise ValueError(f"router must be one of {', '.join(ROUTERS)}, got {self.router!r}")
        self._resolve_routes()
        for name, least in (("num_experts", 1), ("r", 1), ("shared_experts", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
        if self.top_k is not None and not 1 <= self.top_k <= self.num_experts:
            raise ValueError(f"top_k must be in 1..num_experts ({self.num_experts}), got {self.top_k}")
        if not 0 <= self.lora_dropout < 1:
            raise ValueError(f"lora_dropout must be in [0, 1), got {self.lora_dropout}")
        if not (math.isfinite(self.load_balancing) and self.load_balancing >= 0):
            raise ValueError(f"load_balancing must be finite and >= 0, got {self.load_balancing}")
        if isinstance(self.target_modules, str) and self.layers_to_transform is not None:
            raise ValueError(f"layers_to_transform needs a list of target_modules, got {self.target_modules!r}")
        if self.layers_pattern and self.layers_to_transform is None:
            raise ValueError(f"layers_pattern {self.layers_pattern!r} needs layers_to_transform")

    def _resolve_routes(self) -> None:
        if self.router != "task":
            if self.routes is not None:
                raise ValueError(f"routes are for router='task', got routes with router={self.router!r}")
            return
        if not self.routes:
            raise ValueError(f"router='task' needs routes (route -> expert name), got {self.routes!r}")
        if self.top_k is not None or self.load_balancing or self.scale_gates:
            raise ValueError(
                "router='task' has no learned router, so no top_k, load_balancing or scale_gates, got "
                f"top_k={self.top_k}, load_balancing={self.load_balancing}, scale_gates={self.scale_gates}"
            )
        self.routes = _pairs(self.routes)
        if not self.shared_experts and (alone := [route for route, expert in self._route_pairs if expert is None]):
            raise ValueError(
                f"routes {alone} have no expert, so shared_experts must be >= 1, got {self.shared_experts}"
            )
        experts = len(self.expert_names)
        if self.num_experts not in (experts, type(self).num_experts):
            raise ValueError(f"num_experts is {self.num_experts}, but routes name {experts}: {self.expert_names}")
        self.num_experts = experts

    @property
    def scaling(self) -> float:
        """lora_alpha / r, the factor of every expert."""
        return self.lora_alpha / self.r

    @property
    def gate_scale(self) -> int:
        """What a routed expert's gate is multiplied by: the experts that a token takes, or 1 (`scale_gates`)."""
        return (self.top_k or self.num_experts) if self.scale_gates else 1

    @property
    def has_router(self) -> bool:
        """Whether every adapted layer has router weights; one expert alone needs none."""
        return self.router in ("token", "sequence") and self.num_experts > 1

    @property
    def has_question_router(self) -> bool:
        """Whether one router serves all layers."""
        return self.router == "question" and self.num_experts > 1

    @property
    def _route_pairs(self) -> list[list[str | None]]:
        """[route, expert] in the order of the routes' indices; only of router="task"."""
        assert isinstance(self.routes, list)
        return self.routes

    @property
    def route_names(self) -> list[str]:
        """The routes, in the order of their indices."""
        return [str(route) for route, _ in self._route_pairs]

    @property
    def expert_names(self) -> list[str]:
        """The experts of the routes, in the order in which the layers stack them."""
        return list(dict.fromkeys(expert for _, expert in self._route_pairs if expert is not None))

    @property
    def route_experts(self) -> list[int]:
        """The index of the expert of every route; `NO_EXPERT` for one that has none."""
        names = self.expert_names
        return [NO_EXPERT if expert is None else names.index(expert) for _, expert in self._route_pairs]

    def expert_of(self, route: str) -> int:
        """The index of a route's expert, or `NO_EXPERT`.

        Raises:
            ValueError: If the route is unknown.
        """
        if route not in self.route_names:
            raise ValueError(f"route {route!r} has no expert; routes: {', '.join(self.route_names)}")
        return self.route_experts[self.route_names.index(route)]


def _names(names: Iterable[str] | str | None) -> tuple[str, ...] | str | None:
    return names if names is None or isinstance(names, str) else tuple(names)


def _pairs(routes: Mapping[str, str | None] | Iterable) -> list[list[str | None]]:
    """[route, expert] pairs of a map, of a list of routes, or of the pairs themselves.

    Examples:
        >>> _pairs({"b": "x", "a": "x"}), _pairs(["b", "a"])
        ([['b', 'x'], ['a', 'x']], [['b', 'b'], ['a', 'a']])
    """
    if isinstance(routes, Mapping):
        return [[route, expert] for route, expert in routes.items()]
    return [[route, route] if isinstance(route, str) else list(route) for route in routes]
