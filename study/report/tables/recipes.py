"""The tables and the conclusion about recipes, merges, and the memory of experts."""

import math

import pandas as pd

from ...analysis.recipes import MODELS, RECIPES, ROWS
from ...analysis.shares import Share
from ..method_styles import METHODS
from ..style import MISSING
from .claims import design
from .contrasts import share_text, wide
from .write import gain, gain_interval

NO_SIZE, ONE_SEED = "undefined (MoTE − IC may be zero)", "undefined (1 seed)"


def levels_table(levels: pd.DataFrame) -> pd.DataFrame:
    """A row per recipe and group: mean score of EM, IC and MoTE.

    Args:
        levels: `analysis.contrasts.group_means` of `analysis.recipes.ROWS`.
    """
    recipe = {variant: name for variant, name in zip(ROWS, _repeated(RECIPES.values()), strict=True)}
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for line in levels.itertuples():
        key = (recipe[line.method], line.group)
        row = rows.setdefault(key, {"Recipe": key[0], "Over": f"{line.group} ({line.datasets})"})
        row[METHODS[line.method.split("_")[0]].label] = f"{line.score:.1f}"
        row["seeds"] = str(min(int(row.get("seeds", line.seeds)), line.seeds))
    frame = pd.DataFrame(list(rows.values()))
    return frame[[*(column for column in frame if column != "seeds"), "seeds"]]


def _repeated(names) -> list[str]:
    return [name for name in names for _ in MODELS]


def sections_table(rows: pd.DataFrame) -> pd.DataFrame:
    """`contrasts.wide` of rows with a section, which heads the name of a row."""
    return wide(rows.assign(contrast=rows.section + ", " + rows.contrast), name="Difference")


def share_table(shares: pd.DataFrame) -> pd.DataFrame:
    """A row per task type and group: both gains, the share for these datasets and for others, or why there is none.

    Args:
        shares: As `analysis.recipes.shares_by_type` returns it.
    """
    return pd.DataFrame(
        {
            "Over": [f"{r.group} ({r.datasets})" for r in shares.itertuples()],
            "EA − IC": [gain(value, 1) for value in shares.part],
            "MoTE − IC": [gain_interval(r.whole, r.whole_low, r.whole_high, 1) for r in shares.itertuples()],
            "share": [_share(r.seeds, Share(r.share, r.low, r.high)) for r in shares.itertuples()],
            "share for other datasets, too": [_beyond(r) for r in shares.itertuples()],
            "Design": [design(r.seeds, r.datasets) for r in shares.itertuples()],
        }
    )


def _share(seeds: int, share: Share) -> str:
    if math.isnan(share.value):
        return ONE_SEED if seeds < 2 else NO_SIZE
    return share_text(share)


def _beyond(row) -> str:
    if row.datasets < 2:
        return "undefined (1 dataset)"
    return _share(row.seeds, Share(row.share_beyond, row.low_beyond, row.high_beyond))


def memory_table(memory: pd.DataFrame) -> pd.DataFrame:
    """A row per series and size: parameters, megabytes, and per group the gain over IC with its interval.

    Args:
        memory: As `analysis.recipes.memory` returns it.
    """
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for r in memory.itertuples():
        first = {
            "Experts": f"{r.series.removeprefix('experts ')}: {r.label}",
            "parameters": f"{r.parameters:,}",
            "MB": f"{r.megabytes:.1f}",
        }
        row = rows.setdefault((r.series, r.label), first)
        row[f"{r.group} ({r.datasets})"] = MISSING if r.method == "ic" else gain_interval(r.gain, r.low, r.high, 1)
        row["seeds"] = str(r.seeds)
    frame = pd.DataFrame(list(rows.values()))
    return frame[[*(column for column in frame if column != "seeds"), "seeds"]]


def conclusion(gains: pd.DataFrame, shares: pd.DataFrame, memory: pd.DataFrame) -> str:
    """Gains per recipe, the share of EA, and gains per size over all datasets, as text with no verdict."""
    everything = gains[gains.group == "all"]
    parts = [
        f"{section} is {', '.join(f'{gain(r.gain, 1)} ({r.contrast})' for r in rows.itertuples())}"
        for section, rows in everything.groupby("section", sort=False)
    ]
    whole = shares[shares.group == "all"].iloc[0]
    ea = _share(whole.seeds, Share(whole.share, whole.low, whole.high))
    sized = memory[(memory.group == "all") & (memory.method != "ic")]
    costs = [
        f"{series}: {', '.join(f'{gain(r.gain, 1)} at {r.megabytes:.1f} MB ({r.label})' for r in rows.itertuples())}"
        for series, rows in sized.groupby("series", sort=False)
    ]
    return (
        f"Over all datasets, in points, {'; '.join(parts)}. EA's share of MoTE's gain over IC is {ea}. "
        f"The gain over IC by size is, for {'; for '.join(costs)}."
    )
