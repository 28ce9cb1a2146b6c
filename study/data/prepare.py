"""The data of a preset's experiment, prepared: which module reads each origin, and what it takes from the preset."""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tsembed.data.prepare
from tsembed.data.prepare import settings_of
from tsembed.data.schema import DatasetSpec
from tsembed.data.scorable import FEWEST

from ..presets import Preset

ORIGINS = {  # `data.source` of a preset -> the module whose `specs` and `fingerprint` read it
    "embedded": "study.suites.embedded",
    "digits": "study.suites.digits.suite",
    "glyphs": "study.suites.glyphs.suite",
    "local": "tsembed.data.folder.text",
    "local_images": "tsembed.data.folder.images",
    "hub": "study.data.hub.embedding_training_data",
    "hub_filtered": "study.data.hub.filtered_pairs",
    "hub_filtered_disjoint": "study.data.hub.filtered_pairs",
    "mmeb": "study.data.hub.mmeb",
}


def prepare_part(preset: Preset, folder: Path, part: tuple[int, int], *, experiment: str = "") -> None:
    """Make a part of the shards of an experiment's data, and no manifest: the work of one job among several.

    Args:
        preset: As in `prepare`.
        folder: As in `prepare`; the jobs share it.
        part: (i, n), 0 <= i < n.
        experiment: A key of `preset.all_experiments`.

    Raises:
        ValueError: If the data are not made of shards, or one of them cannot be made.
    """
    data = preset.all_experiments[experiment].data
    module = importlib.import_module(ORIGINS[data.source])
    if not hasattr(module, "make_shards"):
        raise ValueError(f"the source {data.source!r} is not made of shards, so it has no parts")
    key = tsembed.data.prepare.key_of(settings_of(data, module.fingerprint(data)))
    module.make_shards(data, folder, key, part=part, report=print)


def prepare(
    preset: Preset, folder: Path, *, experiment: str = "", report: Callable[[dict], Any] = lambda entry: None
) -> dict:
    """The manifest of the data of a preset's experiment in `folder`, after writing whatever is missing there.

    Args:
        preset: Of which one experiment's data are prepared.
        folder: Made if it is not there; a folder with data of other settings is refused.
        experiment: A key of `preset.all_experiments`.
        report: Called with each manifest entry as soon as its dataset is complete.

    Raises:
        ValueError: As `tsembed.data.prepare.prepare`.
    """
    data = preset.all_experiments[experiment].data
    module = importlib.import_module(ORIGINS[data.source])
    settings = settings_of(data, getattr(module, "fingerprint", lambda data: [])(data))

    def in_shards(key: str) -> Iterator[DatasetSpec]:
        module.make_shards(data, folder, key, report=print)
        yield from module.specs(data, folder, key)

    return tsembed.data.prepare.prepare(
        in_shards if hasattr(module, "make_shards") else module.specs(data),
        folder,
        data,
        settings,
        source=data.source,
        fewest=FEWEST if data.source == "local" else 0,
        remedy=f"`./run_all.sh clean {preset.name}` removes them and the runs made with them; then start again",
        report=report,
    )
