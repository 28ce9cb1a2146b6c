"""What a training may be told: backbone, optimiser run, variant. Frozen, strict, the paper's values as defaults."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from .strict import Positive, Strict, renamed
from .tasks import CAPTIONING, IMAGE_ROUTES, OTHER_SETS, ROUTES, TASK_OF_IMAGE_TYPE, TASK_OF_TYPE, TASKS, TEXT_TASKS

Supervision = Literal["pairs", "labels", "both"]
Block = Annotated[int, Field(ge=0)]
BACKBONE = "backbone"  # in `Variant.merge`: the pre-trained model that every variant starts from


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


class Adapter(Strict):
    """Low-rank adapters on a frozen backbone: one per layer (LoRA), or experts with a router (MoE-LoRA, TSEmbed).

    The summaries of TSEmbed that we had give no numbers: r and lora_alpha are VLM2Vec's, the rest is our choice.
    """

    kind: Literal["lora", "moe_lora"] = "moe_lora"
    r: Positive = 16  # rank, of each expert
    lora_alpha: Positive = 64
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: tuple[str, ...] | None = None  # None: all linear layers of the blocks, vision left alone
    num_experts: Positive = 4
    router: Literal["token", "sequence", "question", "task"] = "token"
    top_k: Positive | None = None  # None: all experts, weighted
    load_balancing: Annotated[float, Field(ge=0)] = 0.0
    # Weight of a loss that makes the experts that a sequence takes say what it is of: its task, or its training set.
    information_loss: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    information_of: Literal["task", "set"] = "task"
    shared_experts: Annotated[int, Field(ge=0)] = 0
    # Of the routers of "moe_lora", times the others' rate: a softmax of small weights hardly moves at the rate of LoRA.
    router_learning_rate_scale: Annotated[float, Field(gt=0)] = 30.0
    scale_gates: bool = False  # times the experts that a token takes: an expert's step is LoRA's, not a fraction of it

    @model_validator(mode="after")
    def _enough_experts(self):
        if self.top_k is not None and self.top_k > self.num_experts:
            raise ValueError(f"top_k {self.top_k} must be <= num_experts {self.num_experts}")
        return self

    @model_validator(mode="after")
    def _has_routers(self):
        if self.information_loss and (self.kind == "lora" or self.router == "task"):
            raise ValueError(f"information_loss {self.information_loss} needs the learned routers of kind 'moe_lora'")
        return self


class Negatives(Strict):
    """How the in-batch negatives are weighted in the second stage: EANS (TSEmbed), or what it is compared with.

    Formula and numbers are our choice (docs/deviations.md); the pool of negatives is the same for all.
    """

    weights: Literal["eans", "hardness", "random"] = "eans"  # by routing | by embedding (LLaVE) | EANS's, permuted
    beta: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10.0
    # The unit of beta: 1 / that, the latter of a query's negatives.
    beta_unit: Literal["similarity", "deviation"] = renamed("similarity", "beta_unit", "beta_per")
    top_k: Positive | None = None  # keep only so many negatives per query
    signature: Literal["mean", "last"] = "mean"  # routing of all tokens, or of the last one
    similarity: Literal["cosine", "kl"] = "cosine"
    # Whose signature a negative's is compared with: the query's, which is of another modality where pictures answer
    # texts, or that of its positive, a document like the negatives.
    compared_with: Literal["query", "positive"] = "query"
    centered: bool = False  # compare signatures by their difference from the batch's mean, of queries and of documents
    # How long the first stage is: until the experts have specialised, or its share of the steps.
    first_stage: Literal["specialised"] | Annotated[float, Field(ge=0, lt=1)] = renamed(
        "specialised", "first_stage", "stage_one"
    )
    # Its share of the steps where the experts do not specialise.
    first_stage_max: Annotated[float, Field(gt=0, le=1)] = renamed(0.6, "first_stage_max", "at_most")
    window: Positive = 8  # steps over which specialisation is measured
    # Specialised: above the untrained routers by so many times their noise, and growing by no more than their noise.
    margin: Annotated[float, Field(ge=0)] = 3.0

    @model_validator(mode="after")
    def _consistent(self):
        of_routing = ("centered", "compared_with", "signature", "similarity", "top_k")
        ignored = [name for name in of_routing if getattr(self, name) != type(self).model_fields[name].default]
        if self.weights == "hardness" and ignored:
            raise ValueError(f"weights by embedding (hardness) know no routing: take out {', '.join(ignored)}")
        if self.centered and self.similarity == "kl":
            raise ValueError("centered signatures are no probabilities, so similarity must be cosine")
        return self


class Variant(Strict):
    """One row of the comparison. The defaults are IC with TA-CL."""

    label: str
    instruction: bool = True
    instructions: dict[str, str] | None = None  # route -> what is put before its inputs; None: the base model's own
    experts: dict[str, str] | None = None  # route -> expert; None: a dense model
    # What a route of `experts` is: a task's, or a training set by name. Sets without one have the shared experts alone;
    # without `experts` each training set gets one of its own (`with_expert_per_set`).
    routed_by: Literal["task", "set"] = "task"
    token_routing: TokenRouting | None = None  # experts chosen by a learned router instead (Table 5)
    # Which blocks have experts (Table 6).
    blocks: Literal["every", "every_other", "last_half", "last"] | tuple[Block, ...] = "every"
    adapter: Adapter | None = None  # train low-rank adapters instead of the backbone (TSEmbed)
    negatives: Negatives | None = None  # weights on the negatives in a second stage; None: plain InfoNCE throughout
    tasks: tuple[str, ...] = TEXT_TASKS  # an SEM has one
    batching: Literal["task_aware", "homogeneous", "heterogeneous", "mixed"] = "task_aware"
    temperature: Literal["task_aware"] | Annotated[float, Field(gt=0)] = "task_aware"
    learning_rate_scale: Annotated[float, Field(gt=0)] = 1.0  # times the study's rate: a baseline at its own best
    trained: bool = True  # False: the backbone as it is, or the weights of another variant
    starts_from: str | None = None  # train on from the trained weights of another variant, of the same seed
    weights_of: str | None = None  # score the trained weights of another variant, of the same seed
    average: bool = False  # of `weights_of`: average its experts into a dense model (App. B)
    # Variants, or "backbone" -> shares of a weighted mean of their weights, of the same seed.
    merge: dict[str, Annotated[float, Field(gt=0, le=1)]] = {}
    supervision: Supervision | None = None  # which training data, in place of `Training.supervision`
    task_of_type: dict[str, str] = {}  # MTEB type -> task in place of the paper's (§5.3); then only these are scored
    probe: bool = False  # measure gradient conflict, expert drift and similarity by layer

    @model_validator(mode="after")
    def _consistent(self):
        if self.experts is not None and self.token_routing is not None:
            raise ValueError("experts (routed by task) and token_routing exclude each other")
        if self.batching in ("heterogeneous", "mixed") and self.temperature == "task_aware" and self.trained:
            raise ValueError(f"{self.batching} batches hold several tasks, so temperature must be a number")
        if self.weights_of is not None and self.trained:
            raise ValueError(f"weights_of {self.weights_of!r} is not trained again: set trained: false")
        if self.average and self.weights_of is None:
            raise ValueError("average needs weights_of, the variant of which the experts are averaged")
        if self.starts_from is not None and self.weights_of is not None:
            raise ValueError("starts_from and weights_of exclude each other")
        return self

    @model_validator(mode="after")
    def _merge_is_a_mean(self):
        if not self.merge:
            return self
        if self.trained or self.weights_of is not None or self.starts_from is not None or self.adapter is not None:
            raise ValueError("merge: set trained: false, without weights_of, starts_from and adapter")
        if len(self.merge) < 2 or abs(sum(self.merge.values()) - 1) > 1e-6:
            raise ValueError(f"merge needs two or more shares with the sum 1, got {self.merge}")
        return self

    @model_validator(mode="after")
    def _instructions_are_of_all_routes(self):
        if self.instructions is None:
            return self
        if not self.instruction or self.of_images:
            raise ValueError("instructions: only a variant of text with instruction: true has them")
        if set(self.instructions) != set(self.routes):
            raise ValueError(f"instructions: need the routes {', '.join(self.routes)}, got {list(self.instructions)}")
        return self

    @model_validator(mode="after")
    def _adapter_fits(self):
        by_set = self.routed_by == "set"
        if by_set and not (self.adapter and self.adapter.router == "task" and self.adapter.shared_experts):
            raise ValueError(
                "routed_by 'set' needs an adapter with router 'task' and shared_experts for all other sets"
            )
        has_experts = self.experts is not None or by_set
        if self.adapter is not None and has_experts != (self.adapter.router == "task"):
            raise ValueError("experts are given with an adapter if, and only if, its router is 'task'")
        if self.adapter is not None and self.token_routing is not None:
            raise ValueError("adapter and token_routing exclude each other")
        if self.adapter is not None and self.adapter.information_loss and self.adapter.information_of == "task":
            if self.batching not in ("heterogeneous", "mixed"):
                raise ValueError(f"information_of 'task' needs batches of several tasks, not {self.batching!r} ones")
        if self.negatives is not None and (self.adapter is None or self.adapter.kind != "moe_lora"):
            if self.negatives.weights != "hardness":
                raise ValueError(f"negatives by {self.negatives.weights!r} need the routing of a moe_lora adapter")
            if self.negatives.first_stage == "specialised":
                rule = "first_stage 'specialised' is measured on a moe_lora adapter; give its share of the steps"
                raise ValueError(rule)
        return self

    @model_validator(mode="after")
    def _known_types(self):
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
        if len({task in TEXT_TASKS for task in self.tasks}) > 1:
            raise ValueError(f"tasks {list(self.tasks)} are of text and of images; a variant has one kind")
        if CAPTIONING in self.tasks and len(self.tasks) > 1:
            raise ValueError(f"{CAPTIONING} is trained alone, not with {', '.join(self.tasks)}")
        if self.experts is not None and self.routed_by == "task":
            if unknown := set(self.experts) - set(self.routes):
                routes = ", ".join(self.routes)
                raise ValueError(f"experts has routes {sorted(unknown)}, which are unknown; known: {routes}")
            if missing := set(self.routes) - set(self.experts):
                raise ValueError(f"experts has no expert for {sorted(missing)}")
        return self

    def with_expert_per_set(self, sets: Iterable[str]) -> "Variant":
        """The same variant; where it is routed by set and names no experts, with one for each of these sets."""
        if self.routed_by == "task" or self.experts is not None:
            return self
        return self.model_copy(update={"experts": {name: name for name in sets}})

    @property
    def learns_routing(self) -> bool:
        """Whether the experts of a MoE-LoRA adapter are chosen by routers that are trained."""
        adapter = self.adapter
        return adapter is not None and adapter.kind == "moe_lora" and adapter.router != "task"

    @property
    def ranks_may_differ(self) -> bool:
        """Whether a step may give some weights a gradient in one process and none in another: experts of its own pairs.

        Adapters are stacked, so all experts of a layer have one.
        """
        by_task = self.experts is not None and self.batching in ("heterogeneous", "mixed")
        return self.token_routing is not None or (by_task and self.adapter is None)

    @property
    def of_images(self) -> bool:
        """Whether the inputs have images."""
        return self.tasks[0] not in TEXT_TASKS

    @property
    def routes(self) -> tuple[str, ...]:
        """The routes of the variant's kind of input, in the order of their indices."""
        if self.routed_by == "set":
            return (*(self.experts or {}), OTHER_SETS)
        return IMAGE_ROUTES if self.of_images else ROUTES

    @property
    def others(self) -> tuple[str, ...]:
        """The variants whose weights this one takes."""
        partners = (self.starts_from, self.weights_of, *(name for name in self.merge if name != BACKBONE))
        return tuple(name for name in partners if name is not None)

    @property
    def task_types(self) -> tuple[str, ...]:
        """Types of evaluation that this variant is scored on: those that its tasks serve (Tables 2 and 3)."""
        if self.of_images:
            return tuple(TASK_OF_IMAGE_TYPE)  # unseen meta-tasks too
        if self.task_of_type:
            return tuple(self.task_of_type)
        return tuple(t for t, task in TASK_OF_TYPE.items() if task in self.tasks)


class Backbone(Strict):
    """The pre-trained encoder that every variant starts from."""

    name: str = "nomic-ai/nomic-bert-2048"  # MoTE §4, footnote 3. Or a folder, embedded:…, random:… (backbones.py)
    revision: str | None = None  # commit on the hub; None only for a folder or the embedded weights
    key_mapping: dict[str, str] = {}  # checkpoint key prefix -> ours, e.g. {"^bert\\.": ""} for nomic-bert-2048
    # None: what a sentence-transformers folder says, else the mean (Nussbaum et al. 2024).
    pooling: Literal["mean", "cls", "last"] | None = None
    num_layers: Positive | None = None  # keep only the first blocks (smoke tests)
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None  # None keeps the checkpoint's
    min_pixels: Positive | None = None  # of a picture, which keeps its proportions; None: the image processor's own
    max_pixels: Positive | None = None
    patch_size: Positive = 14  # pixels; of a random backbone


class Data(Strict):
    """Which part of the data, and how much of it."""

    path: Path | None = None  # the user's folder; of a source on the hub, a mirror of its files
    train_rows: Positive | None = None  # at most so many pairs per training dataset
    eval_rows: Positive | None = None  # at most so many queries / texts per evaluation set
    validation_rows: Annotated[int, Field(ge=0)] = 0  # pairs held out of each training dataset, for choosing settings
    seed: int = 0  # of every draw made while preparing
    task_of_pairs: dict[str, Literal["retrieval", "classification", "clustering"]] = {}  # set of pairs -> its task


class Training(Strict):
    """One optimiser run. Defaults: MoTE §4 and App. D."""

    # None: one epoch (§4); 0: none, the weights as they are. Of all tasks together; an SEM takes its task's share
    steps: Annotated[int, Field(ge=0)] | None = None
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
    # Gradient cache: pairs per forward pass of a batch that counts as one.
    grad_cache_chunk_size: Positive | None = renamed(None, "grad_cache_chunk_size", "cached_pairs")
    # Queries whose scores are in memory at once; None: the whole batch's.
    loss_chunk_size: Positive | None = renamed(None, "loss_chunk_size", "loss_rows")
    gradient_checkpointing: bool = False
    # Hard negatives of a pair that are used, the first ones, where the data have them; 0: none. Not in the papers
    hard_negatives: Annotated[int, Field(ge=0)] = 0
    # Leading dimensions of which the loss is taken too (Kusupati et al. 2022); the sum, that of all dimensions included
    matryoshka_dims: tuple[Positive, ...] = ()
    # Processes per rank that make batches ahead of their step; None: 2 beside a GPU, 0 where training needs the CPU
    num_workers: Annotated[int, Field(ge=0)] | None = None
    task_sampling: Literal["balanced", "proportional"] = "proportional"  # App. D.2: "sampling tasks"
    # Data of a task that has two kinds: natural pairs (title and body, as in the paper), or texts that share a label
    supervision: Supervision = "both"
    checkpoint_every: Positive = 500  # steps
    log_every: Positive = 1  # steps
