"""Settings: frozen, strict, with the paper's values as defaults and the place in the paper beside each.

A *preset* says how large the study is, a *variant* what is compared. `resolve` joins both with a seed into the
`RunSettings` that are saved with every result.
"""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, model_validator

from tsembed.settings import Backbone, Positive, Strict, Training, Variant, check

from . import paths

PATHLESS = ("embedded", "digits")  # sources that come with the installed packages
OWN = "all"  # name of the preset's own study where its runs share a process


class Data(Strict):
    """Which text, or which text and images, and how much of it."""

    source: Literal["embedded", "local", "hub", "digits", "local_images", "mmeb"] = "hub"
    path: Path | None = None  # the folder of a local source, or a mirror of the hub files
    revision: str | None = None  # commit of the hub dataset
    train_rows: Positive | None = None  # at most so many pairs per training dataset
    eval_rows: Positive | None = None  # at most so many queries / texts per evaluation set
    validation_rows: Annotated[int, Field(ge=0)] = 0  # pairs held out of each training dataset, for choosing settings
    seed: int = 0  # of every draw made while preparing

    @model_validator(mode="after")
    def _hub_is_pinned(self):
        if self.source in ("hub", "mmeb") and self.path is None and not self.revision:
            raise ValueError("a hub source needs a pinned `revision` (or the `path` of a mirror)")
        return self


class Evaluation(Strict):
    """What is scored after training."""

    benchmark: str | None = "MTEB(eng, v1)"  # Table 1; None: the prepared evaluation sets
    without: tuple[str, ...] = ()  # tasks of the benchmark that are left out
    sets_per_type: Positive | None = None  # only the first so many tasks of each type (smoke tests)
    max_tokens: Positive = 512
    token_budget: Positive = 16384  # tokens of one forward pass


class Study(Strict):
    """Variants that share backbone, data, training and evaluation.

    Runs of seconds can share a process too (`together`), where starting one would cost more than the run.
    """

    backbone: Backbone = Backbone()
    data: Data
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    variants: dict[str, Positive]  # variant -> number of seeds (0, 1, …)
    together: bool = False  # all variants of a seed in one process, one after the other


class Preset(Study):
    """How large the study is; `also` are further studies, each with the sections that differ from the preset's."""

    name: str
    about: str
    also: dict[str, Study] = {}
    side_by_side: Positive = 1  # runs at once on a machine without a GPU, each with its share of the cores

    @property
    def studies(self) -> dict[str, Study]:
        """All studies by name; the preset's own is ""."""
        return {"": self, **self.also}

    def study_of(self, variant: str) -> str:
        """Name of the study that has the variant; the preset's own for one that is in none."""
        return next((name for name, study in self.studies.items() if variant in study.variants), "")

    def job_of(self, variant: str) -> str:
        """What trains a variant: a run of its own name, or that of its study, whose runs share a process."""
        study = self.study_of(variant)
        return (study or OWN) if self.studies[study].together else variant

    def members(self, name: str, seed: int) -> list[str]:
        """The variants that a job of this name trains."""
        study = self.also.get(name, self) if name in (*self.also, OWN) else None
        if study is not None and study.together:
            return [variant for variant, seeds in study.variants.items() if seed < seeds]
        return [name]

    def data_of(self, study: str) -> str:
        """The first study with the same data, which is the one that they are prepared for."""
        return next(name for name, other in self.studies.items() if other.data == self.studies[study].data)

    def runs(self, study: str | None = None) -> list[tuple[str, int]]:
        """All (variant, seed) of the preset or of one study, seed by seed, so that an early stop leaves whole seeds."""
        experiments = self.studies.values() if study is None else [self.studies[study]]
        counts = {v: n for experiment in experiments for v, n in experiment.variants.items()}
        return [(v, s) for s in range(max(counts.values())) for v, n in counts.items() if s < n]


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
        content = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must hold keys and values, not {type(content).__name__}")
    return content


def load_preset(name: str, path: Path | str | None = None) -> Preset:
    """The preset `configs/presets/<name>.yaml`.

    A study of a folder's pictures is left out where the folder has none (no `images` in it), so that `local` is for
    folders of text too. Without a path, prepared data say that there are some.

    Args:
        path: Folder of a local source or of a mirror, in place of the `data.path` of every study that reads one.

    Raises:
        ValueError: With file, key, rule and value, if anything in it is not allowed.
    """
    file = paths.CONFIGS / "presets" / f"{name}.yaml"
    content = {"name": name} | _read(file)
    shared = {key: content[key] for key in ("backbone", "data", "training", "evaluation") if key in content}
    also = content.get("also")
    if isinstance(also, dict):
        also = {key: shared | source if isinstance(source, dict) else source for key, source in also.items()}
        content["also"] = also
    for section in [content, *(also.values() if isinstance(also, dict) else ())]:
        data = section.get("data") if isinstance(section, dict) else None
        if path is not None and isinstance(data, dict) and data.get("source") not in PATHLESS:
            section["data"] = data | {"path": path}
    preset = check(Preset, content, str(file))
    _check_variants(preset, str(file))
    present = {key: source for key, source in preset.also.items() if _has_its_pictures(preset, key)}
    return preset.model_copy(update={"also": present})


def _has_its_pictures(preset: Preset, study: str) -> bool:
    data = preset.also[study].data
    if data.source != "local_images":
        return True
    if data.path is not None:
        return (data.path / "images").is_dir()
    return (paths.data_dir(preset.name, preset.data_of(study)) / "manifest.json").is_file()


def _check_variants(preset: Preset, file: str) -> None:
    """That each variant is known, is in one study, and has the seeds of the one whose weights it takes."""
    variants = load_variants()
    counts: dict[str, int] = {}
    for study, experiment in preset.studies.items():
        place = f"{file}: " + (f"also: {study}: variants" if study else "variants")
        if unknown := set(experiment.variants) - set(variants):
            raise ValueError(f"{place}: {sorted(unknown)} are not in configs/variants; known: {', '.join(variants)}")
        if study in variants or study == OWN:
            raise ValueError(f"{file}: also: {study}: a study must not have the name of a variant, nor {OWN!r}")
        if twice := set(experiment.variants) & set(counts):
            raise ValueError(f"{place}: {sorted(twice)} are in another study too")
        counts |= experiment.variants
    for name, seeds in counts.items():
        partner = variants[name].other
        if partner is not None and counts.get(partner, 0) < seeds:
            raise ValueError(f"{file}: variants: {name} has {seeds} seeds of {partner}'s weights, which has fewer")


class Look(Strict):
    """How a variant is drawn in figures. What is not given is picked by `study.report.method_styles`."""

    label: str | None = None  # where a figure has no room for the variant's label
    colour: Annotated[str, Field(pattern=r"^#[0-9A-Fa-f]{6}$")] | None = None
    marker: Annotated[str, Field(min_length=1, max_length=1)] | None = None  # as matplotlib names it


def load_variants() -> dict[str, Variant]:
    """All rows of `configs/variants/*.yaml` by name."""
    return {name: variant for name, (variant, _) in _load_rows().items()}


def load_looks() -> dict[str, Look]:
    """The `look` of all rows of `configs/variants/*.yaml` by name.

    It is no field of `Variant`: a run's settings, and so its identity, do not depend on a colour.
    """
    return {name: look for name, (_, look) in _load_rows().items()}


def _load_rows() -> dict[str, tuple[Variant, Look]]:
    files = sorted((paths.CONFIGS / "variants").glob("*.yaml"))
    return _rows_of(tuple((path, path.stat().st_mtime_ns) for path in files))


@lru_cache(maxsize=4)
def _rows_of(files: tuple[tuple[Path, int], ...]) -> dict[str, tuple[Variant, Look]]:
    """The rows of files in their state of some times: reading them anew for every run of a study takes seconds."""
    rows: dict[str, tuple[Variant, Look]] = {}
    for path, _ in files:
        for name, row in _read(path).items():
            if name in rows:
                raise ValueError(f"{path}: {name}: this variant is defined twice")
            look = row.get("look", {}) if isinstance(row, dict) else {}
            settings = {key: value for key, value in row.items() if key != "look"} if isinstance(row, dict) else row
            rows[name] = check(Variant, settings, f"{path}: {name}"), check(Look, look, f"{path}: {name}: look")
    return rows


def resolve(preset: Preset, variant: str, seed: int) -> RunSettings:
    """The complete settings of one run.

    Raises:
        ValueError: If the variant is unknown.
    """
    variants = load_variants()
    if variant not in variants:
        raise ValueError(f"variant {variant!r} is not in configs/variants; known: {', '.join(variants)}")
    study, row = preset.studies[preset.study_of(variant)], variants[variant]
    rate = study.training.learning_rate * row.learning_rate_scale
    return RunSettings(
        preset=preset.name,
        variant_name=variant,
        seed=seed,
        backbone=study.backbone,
        data=study.data,
        training=study.training.model_copy(update={"learning_rate": rate}),
        evaluation=study.evaluation,
        variant=row,
    )
