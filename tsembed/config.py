"""Settings: frozen, strict, with the paper's values as defaults and the place in the paper beside each.

A *preset* says how large the study is, a *variant* what is compared. `resolve` joins both with a seed into the
`RunSettings` that are saved with every result.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from . import paths
from .tasks import ROUTES, TASK_OF_TYPE, TASKS

Positive = Annotated[int, Field(gt=0)]
Block = Annotated[int, Field(ge=0)]


class Strict(BaseModel):
    """Base of all settings: unknown keys and later changes are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Backbone(Strict):
    """The pre-trained encoder that every variant starts from."""

    name: str = "nomic-ai/nomic-bert-2048"  # MoTE §4, footnote 3. Hub name, folder, or embedded:all-MiniLM-L6-v2
    revision: str | None = None  # commit on the hub; None only for a folder or the embedded weights
    key_mapping: dict[str, str] = {}  # checkpoint key prefix -> ours, e.g. {"^bert\\.": ""} for nomic-bert-2048
    pooling: Literal["mean", "last"] = "mean"  # Nussbaum et al. 2024
    num_layers: Positive | None = None  # keep only the first blocks (smoke tests)
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None  # None keeps the checkpoint's


class Data(Strict):
    """Which text is used, and how much of it."""

    source: Literal["embedded", "local", "hub"] = "hub"
    path: Path | None = None  # the folder of a local source, or a mirror of the hub files
    revision: str | None = None  # commit of the hub dataset
    train_rows: Positive | None = None  # at most so many pairs per training dataset
    eval_rows: Positive | None = None  # at most so many queries / texts per evaluation set
    validation_rows: Annotated[int, Field(ge=0)] = 0  # pairs held out of each training dataset, for choosing settings
    seed: int = 0  # of every draw made while preparing

    @model_validator(mode="after")
    def _hub_is_pinned(self):
        if self.source == "hub" and self.path is None and not self.revision:
            raise ValueError("a hub source needs a pinned `revision` (or the `path` of a mirror)")
        return self


class Training(Strict):
    """One optimiser run. Defaults: MoTE §4 and App. D."""

    steps: Positive | None = None  # None: one epoch (§4). Steps of all tasks together; an SEM takes its task's share
    batch_size: Positive = 6144  # §4, App. D.3: global batch, in pairs
    learning_rate: Annotated[float, Field(gt=0)] = 5e-6  # §4
    weight_decay: Annotated[float, Field(ge=0)] = 0.1  # §4; not on tensors with ndim < 2 (contrastors)
    warmup_steps: Annotated[int, Field(ge=0)] = 700  # not in the paper; contrastors' contrastive_pretrain.yaml
    schedule: Literal["linear", "cosine"] = "cosine"  # not in the paper; contrastors
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0  # contrastors
    max_query_tokens: Positive = 2048  # not in the paper; contrastors
    max_document_tokens: Positive = 2048
    precision: Literal["auto", "fp32", "bf16"] = "bf16"  # auto: bf16 where the processor has it
    micro_batch_size: Positive | None = None  # pairs per accumulation step; None: the whole batch at once (App. D.3)
    gradient_checkpointing: bool = False
    task_sampling: Literal["balanced", "proportional"] = "proportional"  # App. D.2: "sampling tasks"
    checkpoint_every: Positive = 500  # steps
    log_every: Positive = 1  # steps


class Evaluation(Strict):
    """What is scored after training."""

    benchmark: str | None = "MTEB(eng, v1)"  # Table 1; None: the prepared evaluation sets
    without: tuple[str, ...] = ()  # tasks of the benchmark that are left out
    sets_per_type: Positive | None = None  # only the first so many tasks of each type (smoke tests)
    max_tokens: Positive = 512
    token_budget: Positive = 16384  # tokens of one forward pass


class TokenRouting(Strict):
    """Learned routing of single tokens, the baseline of Table 5. What §6 leaves open follows Fedus et al. 2022."""

    num_experts: Positive = 4  # §6: "keeping the number of experts constant"
    top_k: Positive = 1  # not in the paper; 1 makes the active parameters equal
    load_balancing: Annotated[float, Field(ge=0)] = 0.01  # not in the paper; factor of the auxiliary loss

    @model_validator(mode="after")
    def _enough_experts(self):
        if self.top_k > self.num_experts:
            raise ValueError(f"top_k {self.top_k} must be <= num_experts {self.num_experts}")
        return self


class Variant(Strict):
    """One row of the comparison. The defaults are IC with TA-CL."""

    label: str
    instruction: bool = True
    experts: dict[str, str] | None = None  # route -> expert; None: a dense model
    token_routing: TokenRouting | None = None  # experts chosen by a learned router instead (Table 5)
    blocks: Literal["every", "every_other"] | tuple[Block, ...] = "every"  # which blocks have experts (Table 6)
    tasks: tuple[str, ...] = tuple(TASKS)  # an SEM has one
    batching: Literal["task_aware", "homogeneous", "heterogeneous"] = "task_aware"
    temperature: Literal["task_aware"] | Annotated[float, Field(gt=0)] = "task_aware"
    trained: bool = True  # False: the backbone as it is, or the weights of another variant
    weights_of: str | None = None  # score the trained weights of another variant, of the same seed
    average: bool = False  # of `weights_of`: average its experts into a dense model (App. B)
    task_of_type: dict[str, str] = {}  # MTEB type -> task in place of the paper's (§5.3); then only these are scored
    probe: bool = False  # measure gradient conflict, expert drift and similarity by layer

    @model_validator(mode="after")
    def _consistent(self):
        if self.experts is not None and self.token_routing is not None:
            raise ValueError("experts (routed by task) and token_routing exclude each other")
        if self.batching == "heterogeneous" and self.temperature == "task_aware" and self.trained:
            raise ValueError("heterogeneous batches hold all tasks, so temperature must be a number")
        if self.weights_of is not None and self.trained:
            raise ValueError(f"weights_of {self.weights_of!r} is not trained again: set trained: false")
        if self.average and self.weights_of is None:
            raise ValueError("average needs weights_of, the variant of which the experts are averaged")
        if unknown := set(self.task_of_type) - set(TASK_OF_TYPE):
            raise ValueError(f"task_of_type has unknown types {sorted(unknown)}; known: {', '.join(TASK_OF_TYPE)}")
        if unknown := set(self.task_of_type.values()) - set(TASKS):
            raise ValueError(f"task_of_type has unknown tasks {sorted(unknown)}; known: {', '.join(TASKS)}")
        return self

    @model_validator(mode="after")
    def _known_names(self):
        if unknown := set(self.tasks) - set(TASKS):
            raise ValueError(f"tasks {sorted(unknown)} are unknown; known: {', '.join(TASKS)}")
        if not self.tasks:
            raise ValueError("a variant needs at least one task")
        if self.experts is not None:
            if unknown := set(self.experts) - set(ROUTES):
                raise ValueError(f"experts has routes {sorted(unknown)}, which are unknown; known: {', '.join(ROUTES)}")
            if missing := set(ROUTES) - set(self.experts):
                raise ValueError(f"experts has no expert for {sorted(missing)}")
        return self

    @property
    def task_types(self) -> tuple[str, ...]:
        """MTEB types that this variant is scored on: those that its tasks serve (Tables 2 and 3)."""
        if self.task_of_type:
            return tuple(self.task_of_type)
        return tuple(t for t, task in TASK_OF_TYPE.items() if task in self.tasks)


class Preset(Strict):
    """How large the study is."""

    name: str
    about: str
    backbone: Backbone = Backbone()
    data: Data
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    variants: dict[str, Positive]  # variant -> number of seeds (0, 1, …)
    side_by_side: Positive = 1  # runs at once on a machine without a GPU, each with its share of the cores

    def runs(self) -> list[tuple[str, int]]:
        """All (variant, seed) of the preset, seed by seed, so that an early stop leaves whole seeds."""
        return [(v, s) for s in range(max(self.variants.values())) for v, n in self.variants.items() if s < n]


class RunSettings(Strict):
    """Everything that decides one run's result."""

    preset: str
    variant_name: str
    seed: int
    backbone: Backbone
    data: Data
    training: Training
    evaluation: Evaluation
    variant: Variant


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise ValueError(f"{path.stem!r} is not in {path.parent}; known: {names}")
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must hold keys and values, not {type(content).__name__}")
    return content


def check(model: type[Strict], content: Any, place: str):
    """Validate with one line per fault: place, key, rule, value."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, e['loc'])) or '(all)'}: {e['msg']} (got {e['input']!r:.80})" for e in error.errors()
        ]
        raise ValueError(f"{place}: " + "; ".join(faults)) from None


def load_preset(name: str, **data: Any) -> Preset:
    """The preset `configs/presets/<name>.yaml`; `data` overrides keys of its `data` section (as `path`).

    Raises:
        ValueError: With file, key, rule and value, if anything in it is not allowed.
    """
    path = paths.CONFIGS / "presets" / f"{name}.yaml"
    content = {"name": name} | _read(path)
    if data:
        content["data"] = content.get("data", {}) | data
    preset = check(Preset, content, str(path))
    known = load_variants()
    if unknown := set(preset.variants) - set(known):
        raise ValueError(f"{path}: variants: {sorted(unknown)} are not in configs/variants; known: {', '.join(known)}")
    for name, seeds in preset.variants.items():
        other = known[name].weights_of
        if other is not None and preset.variants.get(other, 0) < seeds:
            raise ValueError(f"{path}: variants: {name} has {seeds} seeds of {other}'s weights, which has fewer")
    return preset


def load_variants() -> dict[str, Variant]:
    """All rows of `configs/variants/*.yaml` by name."""
    found: dict[str, Variant] = {}
    for path in sorted((paths.CONFIGS / "variants").glob("*.yaml")):
        for name, row in _read(path).items():
            if name in found:
                raise ValueError(f"{path}: {name}: this variant is defined twice")
            found[name] = check(Variant, row, f"{path}: {name}")
    return found


def resolve(preset: Preset, variant: str, seed: int) -> RunSettings:
    """The complete settings of one run."""
    variants = load_variants()
    if variant not in variants:
        raise ValueError(f"variant {variant!r} is not in configs/variants; known: {', '.join(variants)}")
    return RunSettings(
        preset=preset.name, variant_name=variant, seed=seed, backbone=preset.backbone, data=preset.data,
        training=preset.training, evaluation=preset.evaluation, variant=variants[variant],
    )  # fmt: skip
