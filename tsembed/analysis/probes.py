"""What the probes of a trained model share: where a parameter stands, and their files of a preset's runs."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..mote.experts import FAMILIES
from . import statistics

if TYPE_CHECKING:
    import pandas as pd

Part = Literal["attention", "feed_forward", "embeddings"]


def place(name: str, model_type: str) -> tuple[str, Part]:
    """Block and part of a parameter: ("0", "attention"), …, ("embeddings", "embeddings") outside the blocks.

    The feed-forward part is what makes up an expert in MoTE, norms included, so that the parts of a dense model and
    of one with experts hold the same parameters. All else of a block counts as attention.

    Args:
        name: The parameter's name in the model, or in a module around it.
        model_type: A key of `mote.experts.FAMILIES`.

    Raises:
        ValueError: For an unknown family.

    >>> place("encoder.layer.3.output.dense.weight", "bert")
    ('3', 'feed_forward')
    >>> place("encoder.layer.3.attention.output.dense.weight", "bert")
    ('3', 'attention')
    """
    family = FAMILIES.get(model_type)
    if family is None:
        raise ValueError(f"the blocks of model_type {model_type!r} are not known; known: {', '.join(FAMILIES)}")
    found = re.search(rf"(?:^|\.){re.escape(family.blocks)}\.(\d+)\.(.+)", name)
    if found is None:
        return "embeddings", "embeddings"
    block, inside = found.groups()
    expert = any(inside.startswith(f"{module}.") for module in family.expert)
    return block, "feed_forward" if expert else "attention"


def read(preset: str, methods: Sequence[str], file: str, *, studies: Sequence[str] = (), **read) -> "pd.DataFrame":
    """Rows of a CSV file of the runs of some of a preset's studies, with the columns method and seed in front.

    Args:
        methods: Variants; every one must have a finished run.
        file: Its name in the folder of a run.
        studies: Keys of `Preset.studies`; none: the preset's own.
        read: Keywords of `pandas.read_csv`.

    Raises:
        ValueError: If a method has no run, or a run has no such file.
    """
    import pandas as pd

    from .scores import run_folders

    folders = {run: folder for run, folder in run_folders(preset, *studies).items() if run[0] in methods}
    if missing := [method for method in methods if method not in {variant for variant, _ in folders}]:
        raise ValueError(f"preset {preset} has no run of {', '.join(missing)}")
    frames = []
    for (variant, seed), folder in folders.items():
        if not (folder / file).is_file():
            raise ValueError(f"{folder} has no {file}: was it measured for variant {variant!r}?")
        rows = pd.read_csv(folder / file, **read)
        rows.insert(0, "method", variant)
        rows.insert(1, "seed", seed)
        frames.append(rows)
    return pd.concat(frames, ignore_index=True)


def intervals(rows: "pd.DataFrame", value: str, by: Sequence[str], over: Sequence[str] = ()) -> "pd.DataFrame":
    """Mean of a column and its 95 % hierarchical bootstrap interval over seeds, and over `over` crossed with them.

    Args:
        rows: Columns seed, `value`, and those of `by` and `over`.
        by: One row of the result each, in the order of appearance.
        over: What is drawn with replacement beside the seeds, as text or batch. With none, seeds alone are drawn,
            and one seed has an interval of width 0.

    Returns:
        Columns of `by`, then mean, low, high, seeds.
    """
    import pandas as pd

    found = []
    for key, group in rows.groupby(list(by), sort=False):
        table = group.assign(all="").pivot_table(index="seed", columns=[*over, "all"], values=value).to_numpy()
        interval = statistics.bootstrap(table, rng=np.random.default_rng(0))
        found.append(dict(zip(by, key, strict=True)) | interval._asdict() | {"seeds": len(table)})
    return pd.DataFrame(found)
