"""Which models a person can look at: finished runs, short trainings of the notebook, the untrained backbone.

The best comes first: the preset that was trained on the most pairs, in it MoTE before IC before the rest. A preset
that only tests the machinery (`judged: false`) comes after every other, what is not trained comes last.
"""

import html
import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ... import paths
from ...former_names import current_name
from ...presets import load_preset, resolve
from ...runs.short_training import FOLDER, PRESET
from ...variant_rows import load_variants, read_yaml

if TYPE_CHECKING:
    from tsembed.encoder.text import Encoder

FINISHED, SHORT, UNJUDGED, UNTRAINED = KINDS = ("finished", "short", "unjudged", "untrained")  # the best first
FIRST_VARIANTS = ("mote", "tsembed", "ic")
IMAGE_EXPERIMENT = "captions"  # of the presets with an image model that starts from random weights


class Model(NamedTuple):
    """A model that can be loaded.

    Attributes:
        kind: One of `KINDS`.
        folder: Its run's; None: the backbone as it is, with untrained experts where the variant has some.
        steps: Of its training; None: an epoch, or none.
        pairs: That it was trained on, as far as the settings say.
        score: Mean over its evaluation sets, 0 where there is none.
    """

    kind: str
    preset: str
    variant: str
    seed: int = 0
    folder: Path | None = None
    steps: int | None = None
    pairs: float = 0.0
    score: float = 0.0

    @property
    def label(self) -> str:
        """The variant's label."""
        return load_variants()[self.variant].label

    @property
    def of_images(self) -> bool:
        """Whether it embeds images."""
        return load_variants()[self.variant].of_images

    @property
    def name(self) -> str:
        """What a list of models shows."""
        if self.kind == UNTRAINED:
            return f"{self.label}, not trained (backbone of {self.preset})"
        if self.kind == SHORT:
            return f"{self.label}, short training {self.seed} ({self.steps} steps)"
        return f"{self.label}, seed {self.seed}, preset {self.preset}"


def models(*, of_images: bool = False) -> list[Model]:
    """All models of text, or of images, the best first; the untrained ones always among them."""
    preset = load_preset(PRESET)
    untrained = [Model(UNTRAINED, PRESET, variant) for variant in ("mote", "ic")]
    if of_images:
        untrained = [Model(UNTRAINED, PRESET, name) for name in preset.experiments[IMAGE_EXPERIMENT].variants]
    found = [model for model in (*_finished(), *_short()) if model.of_images == of_images]
    return sorted([*found, *untrained], key=_order)


def choose(candidates: Sequence[Model], preset: str = "best", variant: str = "best") -> Model:
    """The first of the models that has the preset and the variant; of a preset without one, its untrained model.

    Args:
        candidates: As `models` returns them.
        preset: A name in configs/presets, or "best": any.
        variant: A name in configs/variants, or "best": any.

    Raises:
        ValueError: If the preset or the variant is not in configs.
    """
    if variant != "best" and variant not in load_variants():
        raise ValueError(f"variant {variant!r} is not in configs/variants; known: {', '.join(load_variants())}")
    if preset != "best":
        load_preset(preset)  # a wrong name is an error that names the known ones
    of_preset = [model for model in candidates if preset in ("best", model.preset)]
    of_both = [model for model in of_preset if variant in ("best", model.variant)]
    if of_both:
        return of_both[0]
    untrained = candidates[-1]
    if untrained.of_images:  # the adapters of the others start from a trained model
        return untrained
    no_text = preset == "best" or load_preset(preset).backbone.name.startswith("random:")
    return Model(UNTRAINED, PRESET if no_text else preset, "mote" if variant == "best" else variant)


def beside(model: Model, candidates: Iterable[Model]) -> Model:
    """The IC model that a model is compared with: of its preset and seed, of its preset, or untrained."""
    rows = [m for m in candidates if m.variant == "ic" and m.preset == model.preset and m.kind == model.kind]
    rows.sort(key=lambda m: m.seed != model.seed)
    return rows[0] if rows else Model(UNTRAINED, model.preset, "ic")


@lru_cache(maxsize=4)
def load(model: Model) -> "Encoder":
    """The encoder, on the accelerator if there is one."""
    from tsembed.encoder.build import best_device, build
    from tsembed.encoder.build import load as load_encoder

    if model.folder is not None:
        return load_encoder(model.folder / "model").eval()
    settings = resolve(load_preset(model.preset), model.variant, model.seed)
    texts: list[str] = []
    if settings.backbone.name.startswith("random:"):  # its tokenizer knows the words of the data
        from .images import training_texts

        texts = training_texts(model)
    return build(settings.backbone, settings.variant, texts=texts).to(best_device()).eval()


def notice(model: Model) -> str:
    """What one must know of a model before one reads anything off it, as HTML: yellow where it shows no result."""
    name = html.escape(model.name)
    if model.kind == UNTRAINED:
        experts = load_variants()[model.variant].experts
        same = " Every expert still equals the layer that it was copied from." if experts else ""
        text = (
            f"<b>Not trained.</b> {html.escape(model.label)} on the backbone of <code>{model.preset}</code> as it "
            f"is.{same} Train one below, or run <code>./run_all.sh cpu</code>."
        )
        return _box(text, warns=True)
    place = html.escape(str(model.folder.relative_to(paths.ROOT) if model.folder else ""))
    if model.kind == UNJUDGED:
        steps = f" after {model.steps} steps" if model.steps is not None else ""
        text = (
            f"<b>Only a test.</b> {name} comes from a preset that tests the machinery{steps}; what it ranks says "
            f"nothing about the method (<code>{place}</code>)."
        )
        return _box(text, warns=True)
    if model.kind == SHORT:
        text = f"<b>A short training.</b> {name}: what some minutes change, and no result (<code>{place}</code>)."
        return _box(text, warns=False)
    return _box(f"<b>Trained.</b> {name} (<code>{place}</code>).", warns=False)


def _box(text: str, *, warns: bool) -> str:
    ground, edge = ("#FFF3B0", "#C99700") if warns else ("#EDF1F5", "#7A8794")
    word = "Caution: " if warns else ""
    return (
        f'<div class="{"caution" if warns else "model"}" style="background:{ground};color:#222;line-height:1.4;'
        f'border-left:5px solid {edge};padding:6px 10px;margin:4px 0">{word}{text}</div>'
    )


def _order(model: Model) -> tuple:
    places = {name: place for place, name in enumerate(FIRST_VARIANTS)}
    variant = places.get(model.variant, len(places)), model.variant
    newest_first = -model.seed if model.kind == SHORT else model.seed
    return KINDS.index(model.kind), -model.pairs, *variant, -model.score, newest_first


def _finished() -> list[Model]:
    """Finished runs whose weights are there."""
    found = []
    for done in sorted(paths.RUNS.glob("*/*/seed*/done.json")):
        run = done.parent
        variant, preset = current_name(run.parent.name), run.parent.parent.name
        if variant in load_variants() and any((run / "model").glob("*.safetensors")):
            seed = int(run.name.removeprefix("seed"))
            kind = FINISHED if _is_judged(preset) else UNJUDGED
            found.append(Model(kind, preset, variant, seed, run, *_training(run), _mean_score(run)))
    return found


def _short() -> list[Model]:
    """Short trainings, whole ones."""
    places = [done.parent for done in sorted((paths.RUNS / FOLDER).glob("*/*/done.json"))]
    return [Model(SHORT, PRESET, run.parent.name, int(run.name), run, *_training(run)) for run in places]


def _is_judged(preset: str) -> bool:
    known = (paths.CONFIGS / "presets" / f"{preset}.yaml").is_file()
    return not known or load_preset(preset).judged


def _training(run: Path) -> tuple[int | None, float]:
    """Steps and pairs of a run's training, by its settings."""
    training = read_yaml(run / "config.yaml")["training"] if (run / "config.yaml").is_file() else {}
    steps, batch_size = training.get("steps"), training.get("batch_size", 0)
    return steps, float("inf") if steps is None else float(steps * batch_size)


def _mean_score(run: Path) -> float:
    path = run / "scores.json"
    scores = [row["score"] for row in json.loads(path.read_text())] if path.is_file() else []
    return sum(scores) / len(scores) if scores else 0.0
