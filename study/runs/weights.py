"""Where the model of a run comes from: its own training, that of another run, or a mean of several.

A training ends with the folder `model/`, which gets its name when it is whole.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tsembed.files import write_folder

from ..former_names import former_name
from ..presets import RunSettings, load_preset
from . import starts

if TYPE_CHECKING:
    from accelerate import PartialState


def weights_to_score(settings: RunSettings, folder: Path) -> Path:
    """Folder of the model that is scored: the run's own, or that of the run whose weights it takes as they are.

    Raises:
        ValueError: If that run is not finished.
    """
    variant = settings.variant
    if variant.weights_of is None:
        return folder / "model"
    return folder / "model" if variant.average else model_of(variant.weights_of, settings, folder)


def model_of(variant: str, settings: RunSettings, folder: Path) -> Path:
    """The model of another variant's run, of the same preset as the run of `folder`, and of its seed if it has several.

    Raises:
        ValueError: If that run is not finished, or only its results are there.
    """
    runs, seed = folder.parent.parent, load_preset(settings.preset).seed_of_weights(variant, settings.seed)
    run, former = (runs / name / f"seed{seed}" for name in (variant, former_name(variant)))
    if (former / "done.json").is_file() and not run.is_dir():
        run = former
    if not (run / "done.json").is_file():
        raise ValueError(f"{folder.parent.name} takes the weights of {run}, which is not finished; run that first")
    if not any((run / "model").glob("*.safetensors")):
        raise ValueError(
            f"{folder.parent.name} takes the weights of {run}, of which only the results are kept; "
            "delete it to train it anew"
        )
    return run / "model"


def make(
    model: Path, settings: RunSettings, manifest: dict, data: Path, folder: Path, resume: bool, state: "PartialState"
) -> bool:
    """Train the model, unless it is there or an equal training has made it; whether it is whole."""
    from tsembed.data.manifest import load_table, training_tasks

    start = starts.key(settings, manifest, state.num_processes) if starts.is_start(settings.variant_name) else None
    if start and state.is_main_process and not model.is_dir():
        starts.take(start, folder)
    state.wait_for_everyone()
    saved = model.is_dir()
    state.wait_for_everyone()  # a rank that looks later would find what the first has saved, and leave it waiting
    if saved:
        return True
    training_tables = (load_table(data, "train", name) for name in training_tasks(manifest, "train"))
    texts = (text for table in training_tables for side in ("query", "document") for text in table[side])
    tasks = training_tasks(manifest, "train", settings.variant)
    tables = {name: load_table(data, "train", name) for name in tasks}
    if not _train(settings, tables, tasks, texts, folder, resume):
        return False
    if start and state.is_main_process:
        starts.keep(start, folder)
    return True


def _train(
    settings: RunSettings, tables: dict, tasks: dict[str, str], texts: Iterable[str], folder: Path, resume: bool
) -> bool:
    """Train and save the model by rename; whether it is whole."""
    from tsembed.encoder.build import build
    from tsembed.encoder.text import Encoder
    from tsembed.mote.average import average_experts, average_models
    from tsembed.settings import BACKBONE
    from tsembed.training.lengths import cut_texts
    from tsembed.training.loop import train
    from tsembed.training.processes import join

    variant = settings.variant.with_expert_per_set(tasks)
    if variant.average:
        encoder = Encoder.load(model_of(variant.weights_of, settings, folder), "cpu")
        encoder.backbone = average_experts(encoder.backbone)
    elif variant.merge:
        encoder = build(settings.backbone, variant, seed=settings.seed, texts=texts)
        names = [name for name in variant.merge if name != BACKBONE]
        models = {name: Encoder.load(model_of(name, settings, folder), "cpu").backbone for name in names}
        parts = [models.get(name, encoder.backbone) for name in variant.merge]
        encoder.backbone.load_state_dict(average_models(parts, list(variant.merge.values())))
    else:
        start = model_of(variant.starts_from, settings, folder) if variant.starts_from else None
        encoder = build(settings.backbone, variant, seed=settings.seed, texts=texts, start=start)
    for setting in ("training.max_query_tokens", "training.max_document_tokens", "evaluation.max_tokens"):
        section, _, name = setting.partition(".")
        encoder.check_max_tokens(getattr(getattr(settings, section), name), setting)
    learns = variant.trained and settings.training.steps != 0
    limits = {"query": settings.training.max_query_tokens, "document": settings.training.max_document_tokens}
    for line in cut_texts(encoder, tables, tasks, limits) if learns else ():
        print(line, flush=True)
    if learns and not train(
        encoder, tables, tasks, folder, training=settings.training, variant=variant, seed=settings.seed, resume=resume
    ):
        return False
    state = join()
    if state.is_main_process:
        with write_folder(folder / "model") as partial:
            encoder.save(partial)
    state.wait_for_everyone()
    return True
