"""Which notebooks read the results of a preset: the graph runs them, the reference has them, the site shows them."""

from . import paths
from .presets import Preset

ANALYSES = "[2349]*.ipynb"  # 00 and 10 read no results
# Notebook -> the experiment, under `experiments` of a preset, whose runs it is about. A preset without it does not have
# the notebook, so no cell asks whether there is anything to show. A notebook that is not here is part of every preset.
NEEDS = {"30_tsembed": "images", "31_expert_routing": "images", "32_text_adapters": "text_adapters"}


def analyses_of(preset: Preset) -> list[str]:
    """Names of the notebooks that read results and whose runs the preset has, in the order of their numbers."""
    names = sorted(path.stem for path in paths.NOTEBOOKS.glob(ANALYSES))
    absent = absent_from(preset)
    return [name for name in names if name not in absent]


def absent_from(preset: Preset) -> dict[str, str]:
    """Notebook -> the experiment that it is about and that the preset does not have."""
    return {name: experiment for name, experiment in NEEDS.items() if experiment not in preset.experiments}
