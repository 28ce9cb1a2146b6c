"""Settings: frozen, strict, with the paper's values as defaults and the place in the paper beside each.

A *preset* says how large the study is, a *variant* what is compared. `resolve` joins both with a seed into the
`RunSettings` that are saved with every result.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, model_validator

import tsembed.settings
from tsembed.settings import Backbone, Training, Variant
from tsembed.strict import Positive, Strict, check

from . import paths
from .former_names import current_name, current_negatives
from .selection import Selection, chosen, selection_of
from .variant_rows import load_variants, read_yaml

Suite = Literal["docstrings", "icd10"]
SOURCES_WITHOUT_PATH = ("embedded", "digits", "glyphs")  # sources that come with the installed packages
SOURCES_OF_HUB = ("hub", "hub_filtered", "hub_filtered_disjoint", "mmeb")
NAMES_ALONE = ("variant.label",)  # settings that name a run and change no number of it: a run may be renamed
OWN_EXPERIMENT = "all"  # name of the preset's own experiment where its runs share a process


class Data(tsembed.settings.Data):
    """Which text, or which text and images, and how much of it."""

    source: Literal[
        "embedded", "local", "hub", "hub_filtered", "hub_filtered_disjoint", "digits", "glyphs", "local_images", "mmeb"
    ] = "hub"
    suites: Annotated[tuple[Literal["docstrings", "icd10"], ...], Field(min_length=1)] = (
        "docstrings",
    )  # of "embedded"
    revision: str | None = None  # commit of the hub dataset

    @model_validator(mode="after")
    def _hub_is_pinned(self):
        if self.source in SOURCES_OF_HUB and self.path is None and not self.revision:
            raise ValueError("a hub source needs a pinned `revision` (or the `path` of a mirror)")
        return self

    @model_validator(mode="after")
    def _suites_are_embedded(self):
        if len(set(self.suites)) < len(self.suites):
            raise ValueError(f"suites: each at most once, not {', '.join(self.suites)}")
        if self.source != "embedded" and self.suites != ("docstrings",):
            raise ValueError(f"suites: only the source 'embedded' has them, not {self.source!r}")
        return self


class Evaluation(Strict):
    """What is scored after training."""

    benchmark: str | None = "MTEB(eng, v1)"  # Table 1; None: the prepared evaluation sets
    without: tuple[str, ...] = ()  # tasks of the benchmark that are left out
    sets_per_type: Positive | None = None  # only the first so many tasks of each type (smoke tests)
    max_tokens: Positive = 512
    token_budget: Positive = 16384  # tokens of one forward pass


class Experiment(Strict):
    """Variants that share backbone, data, training and evaluation.

    Runs of seconds can share a process too (`share_process`), where starting one would cost more than the run.
    """

    backbone: Backbone = Backbone()
    data: Data
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    variants: dict[str, Positive]  # variant -> number of seeds, from `Preset.first_seed` on
    # All variants of a seed in one process, one after the other.
    share_process: bool = Field(False, validation_alias=AliasChoices("share_process", "together"))


class Preset(Experiment):
    """How large the study is; `experiments` are further ones, each with the sections that differ from the preset's."""

    name: str
    about: str
    judged: bool = True  # False: a test of the machinery, whose numbers say nothing and get no verdict
    # Of all variants: a reference that confirms has seeds that nobody has looked at.
    first_seed: Annotated[int, Field(ge=0)] = 0
    # Source -> its evaluation sets where it has several: they count as one in every mean over datasets.
    same_source: dict[str, Annotated[tuple[str, ...], Field(min_length=2)]] = {}
    # Evaluation sets that nobody had looked at when settings and hypotheses were written: reported apart, too.
    confirmation: tuple[str, ...] = ()
    experiments: dict[str, Experiment] = Field({}, validation_alias=AliasChoices("experiments", "also"))
    # Runs at once on a machine without a GPU, each with its share of the cores.
    parallel_runs: Positive = Field(1, validation_alias=AliasChoices("parallel_runs", "side_by_side"))

    @model_validator(mode="after")
    def _a_set_has_one_source(self):
        names = [name for group in self.same_source.values() for name in group]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"same_source: {', '.join(twice)} must have one source")
        return self

    @model_validator(mode="after")
    def _something_is_compared(self):
        if empty := [name or "the preset itself" for name, each in self.all_experiments.items() if not each.variants]:
            raise ValueError(f"variants: at least one is needed; {', '.join(empty)} has none")
        return self

    @property
    def all_experiments(self) -> dict[str, Experiment]:
        """All experiments by name; the preset's own is ""."""
        return {"": self, **self.experiments}

    def experiment_of(self, variant: str) -> str:
        """Name of the experiment that has the variant; the preset's own for one that is in none."""
        return next((name for name, each in self.all_experiments.items() if variant in each.variants), "")

    def node_name(self, variant: str) -> str:
        """What trains a variant: a run of its own name, or that of its experiment, whose runs share a process."""
        experiment = self.experiment_of(variant)
        return (experiment or OWN_EXPERIMENT) if self.all_experiments[experiment].share_process else variant

    def variants_of_node(self, name: str, seed: int) -> list[str]:
        """The variants that a node of this name trains."""
        experiment = self.experiments.get(name, self) if name in (*self.experiments, OWN_EXPERIMENT) else None
        if experiment is not None and experiment.share_process:
            return [variant for variant, seeds in experiment.variants.items() if seed - self.first_seed < seeds]
        return [name]

    def experiment_with_same_data(self, experiment: str) -> str:
        """The first experiment with the same data, which is the one that they are prepared for."""
        data = self.all_experiments[experiment].data
        return next(name for name, each in self.all_experiments.items() if each.data == data)

    def seed_of_weights(self, variant: str, seed: int) -> int:
        """The seed of the run of `variant` whose weights a run of `seed` takes: the same, or its only one.

        >>> load_preset("gpu").seed_of_weights("vl_base", 1), load_preset("gpu").seed_of_weights("mote", 1)
        (0, 1)
        """
        return self.first_seed if resolve(self, variant, seed).draws_nothing else seed

    def runs(self, experiment: str | None = None) -> list[tuple[str, int]]:
        """All (variant, seed) of the preset or of one experiment, seed by seed: an early stop leaves whole seeds."""
        planned = self.all_experiments.values() if experiment is None else [self.all_experiments[experiment]]
        counts = {v: n for each in planned for v, n in each.variants.items()}
        seeds = range(self.first_seed, self.first_seed + max(counts.values(), default=0))
        return [(v, s) for s in seeds for v, n in counts.items() if s < self.first_seed + n]


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

    @property
    def draws_nothing(self) -> bool:
        """Whether the weights are those of the backbone as it was downloaded: one run stands for every seed."""
        untrained = not self.variant.trained or self.training.steps == 0
        return untrained and not self.variant.others and not self.backbone.name.startswith("random:")

    @model_validator(mode="before")
    @classmethod
    def _current_names(cls, content: Any) -> Any:
        """The names of today of the variants, in settings that were saved under former ones."""
        if not isinstance(content, dict) or not isinstance(variant := content.get("variant"), dict):
            return content
        partners = {key: current_name(variant[key]) for key in ("starts_from", "weights_of") if variant.get(key)}
        name = content.get("variant_name")
        if isinstance(variant.get("merge"), dict):
            partners["merge"] = {current_name(key): share for key, share in variant["merge"].items()}
        if isinstance(negatives := variant.get("negatives"), dict):
            partners["negatives"] = current_negatives(negatives)
        names = {"variant_name": current_name(name)} if isinstance(name, str) else {}
        return content | names | {"variant": variant | partners}


def load_preset(name: str, path: Path | str | None = None, *, whole: bool = False) -> Preset:
    """The preset `configs/presets/<name>.yaml`.

    An experiment on a folder's images is left out where the folder has none (no `images` in it), so that `local` is
    for folders of text too. Without a path, prepared data say that there are some.

    Args:
        name: The file's, without its ending.
        path: Folder of a local source or of a mirror, in place of the `data.path` of every experiment that reads one.
        whole: All of it, whatever part was chosen by `--only` and `--seeds`.

    Raises:
        ValueError: With file, key, rule and value, if anything in it is not allowed.
    """
    file = paths.CONFIGS / "presets" / f"{name}.yaml"
    _check_name(name)
    content = {"name": name} | read_yaml(file)
    shared = {key: content[key] for key in ("backbone", "data", "training", "evaluation") if key in content}
    if "also" in content:  # the key's former name
        content.setdefault("experiments", content.pop("also"))
    further = content.get("experiments")
    if isinstance(further, dict):
        further = {key: shared | source if isinstance(source, dict) else source for key, source in further.items()}
        content["experiments"] = further
    for section in [content, *(further.values() if isinstance(further, dict) else ())]:
        data = section.get("data") if isinstance(section, dict) else None
        if path is not None and isinstance(data, dict) and data.get("source") not in SOURCES_WITHOUT_PATH:
            section["data"] = data | {"path": path}
    preset = check(Preset, content, str(file))
    _check_variants(preset, str(file))
    present = {key: source for key, source in preset.experiments.items() if _has_its_images(preset, key)}
    return _selected(preset.model_copy(update={"experiments": present}), Selection() if whole else selection_of(name))


def remarks(preset: Preset) -> list[str]:
    """What is allowed and yet hardly meant, a line each, with the experiment's name."""
    lines = []
    for name, each in preset.all_experiments.items():
        training, place = each.training, f"experiment {name}: " if name else ""
        if training.steps and training.warmup_steps >= training.steps:
            warm = f"warmup_steps {training.warmup_steps} are not fewer than the {training.steps} steps"
            lines.append(f"{place}{warm}: the learning rate never reaches {training.learning_rate:g}")
    return lines


def _check_name(name: str) -> None:
    """That Snakemake and notebooks, which get the name as a word of a command line, read it as a text."""
    rule = "begins with a letter, has letters, digits, '_' and '-' only, and reads as no number or truth value"
    is_value = name.lower() in (
        *("nan", "inf", "infinity"),
        *("true", "false", "none", "null", "yes", "no", "on", "off"),
    )
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name) or is_value:
        raise ValueError(f"{name!r} cannot be the name of a preset: one {rule}; rename its file in configs/presets")


def _selected(preset: Preset, selection: Selection) -> Preset:
    """The chosen part of a preset; experiments of which nothing is chosen are left out."""
    if selection == Selection():
        return preset
    variants = load_variants()
    counts = {name: seeds for each in preset.all_experiments.values() for name, seeds in each.variants.items()}
    parts = {
        name: each.model_copy(update={"variants": chosen(each.variants, selection, variants, counts)})
        for name, each in preset.all_experiments.items()
    }
    own = parts.pop("")
    present = {name: each for name, each in parts.items() if each.variants}
    return own.model_copy(update={"experiments": present})


def _has_its_images(preset: Preset, experiment: str) -> bool:
    data = preset.experiments[experiment].data
    if data.source != "local_images":
        return True
    if data.path is not None:
        return (data.path / "images").is_dir()
    return (paths.data_dir(preset.name, preset.experiment_with_same_data(experiment)) / "manifest.json").is_file()


def _check_variants(preset: Preset, file: str) -> None:
    """That each variant is known, is in one experiment, and has no more seeds than the one whose weights it takes.

    Of weights that nobody trains there is one run for all seeds.
    """
    variants = load_variants()
    counts: dict[str, int] = {}
    for name, experiment in preset.all_experiments.items():
        place = f"{file}: " + (f"experiments: {name}: variants" if name else "variants")
        if unknown := set(experiment.variants) - set(variants):
            raise ValueError(f"{place}: {sorted(unknown)} are not in configs/variants; known: {', '.join(variants)}")
        if name in variants or name == OWN_EXPERIMENT:
            rule = f"an experiment must not have the name of a variant, nor {OWN_EXPERIMENT!r}"
            raise ValueError(f"{file}: experiments: {name}: {rule}")
        if twice := set(experiment.variants) & set(counts):
            raise ValueError(f"{place}: {sorted(twice)} are in another experiment too")
        counts |= experiment.variants
    for name, seeds in counts.items():
        for partner in variants[name].others:
            one_is_enough = partner in counts and resolve(preset, partner, preset.first_seed).draws_nothing
            if counts.get(partner, 0) < (1 if one_is_enough else seeds):
                raise ValueError(f"{file}: variants: {name} has {seeds} seeds of {partner}'s weights, which has fewer")


def resolve(preset: Preset, variant: str, seed: int) -> RunSettings:
    """The complete settings of one run.

    Raises:
        ValueError: If the variant is unknown.
    """
    variants = load_variants()
    if variant not in variants:
        raise ValueError(f"variant {variant!r} is not in configs/variants; known: {', '.join(variants)}")
    experiment, row = preset.all_experiments[preset.experiment_of(variant)], variants[variant]
    rate = experiment.training.learning_rate * row.learning_rate_scale
    if row.supervision is None and experiment.training.supervision != "both":
        row = row.model_copy(update={"supervision": experiment.training.supervision})
    return RunSettings(
        preset=preset.name,
        variant_name=variant,
        seed=seed,
        backbone=experiment.backbone,
        data=experiment.data,
        training=experiment.training.model_copy(update={"learning_rate": rate}),
        evaluation=experiment.evaluation,
        variant=row,
    )
