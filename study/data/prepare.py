"""The data of a preset's experiment, prepared: which module reads each origin, and what it takes from the preset."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tsembed.data.prepare
from tsembed.data.prepare import settings_of
from tsembed.data.scorable import FEWEST

from ..presets import Preset

ORIGINS = {  # `data.source` of a preset -> the module whose `specs` and `fingerprint` read it
    "embedded": "study.suites.embedded",
    "digits": "study.suites.digits.suite",
    "glyphs": "study.suites.glyphs.suite",
    "local": "tsembed.data.folder.text",
    "local_images": "tsembed.data.folder.images",
    "hub": "study.data.hub.embedding_training_data",
    "mmeb": "study.data.hub.mmeb",
}


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
    return tsembed.data.prepare.prepare(
        module.specs(data),
        folder,
        data,
        settings_of(data, getattr(module, "fingerprint", lambda data: [])(data)),
        source=data.source,
        fewest=FEWEST if data.source == "local" else 0,
        remedy=f"`./run_all.sh clean {preset.name}` removes them and the runs made with them; then start again",
        report=report,
    )
