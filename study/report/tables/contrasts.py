"""Tables of contrasts: a row per contrast and group, or a column per group; what those of notebook 28 say."""

import math

import pandas as pd

from ...analysis.factorial import EXPERTS, INSTRUCTION, INTERACTION
from ...analysis.shares import Share
from ..figures.words import number
from ..method_styles import METHODS
from ..style import MISSING
from .claims import design
from .write import bounds, gain_interval, margin


def full(rows: pd.DataFrame, *, name: str = "Contrast") -> pd.DataFrame:
    """A row per contrast and group: difference, both intervals, what could have been seen, seeds × datasets.

    Args:
        rows: As `analysis.contrasts.contrast_rows` returns it.
        name: Heading of the first column.
    """
    return pd.DataFrame(
        {
            name: rows.contrast,
            "Over": rows.group,
            "Difference": [gain_interval(r.gain, r.low, r.high, 1) for r in rows.itertuples()],
            "For other datasets, too": [bounds(r.low_beyond, r.high_beyond, 1) for r in rows.itertuples()],
            "Minimum detectable": [margin(value, 1) for value in rows.detectable],
            "Design": [design(r.seeds, r.datasets) for r in rows.itertuples()],
        }
    )


def wide(rows: pd.DataFrame, *, name: str = "Contrast", digits: int = 1) -> pd.DataFrame:
    """A row per contrast, a column per group: the difference with its interval for another training on these datasets.

    The intervals for other datasets, too, are in the numbers behind the table.

    Args:
        rows: As `analysis.contrasts.contrast_rows` returns it.
        name: Heading of the first column.
        digits: After the point.
    """
    cells: dict[str, dict[str, str]] = {}
    for row in rows.itertuples():
        line = cells.setdefault(row.contrast, {name: row.contrast})
        line[f"{row.group} ({row.datasets})"] = gain_interval(row.gain, row.low, row.high, digits)
    seeds = rows.groupby("contrast", sort=False).seeds.min()
    return pd.DataFrame([line | {"seeds": seeds[contrast]} for contrast, line in cells.items()])


def means(rows: pd.DataFrame) -> pd.DataFrame:
    """A row per method, a column per group: mean score of the group's datasets.

    Args:
        rows: As `analysis.contrasts.group_means` returns it.
    """
    cells: dict[str, dict[str, str]] = {}
    for row in rows.itertuples():
        line = cells.setdefault(row.method, {"Method": METHODS[row.method].label})
        line[f"{row.group} ({row.datasets})"] = f"{row.score:.1f}"
        line["seeds"] = str(row.seeds)
    frame = pd.DataFrame(list(cells.values()))
    return frame[[*(column for column in frame if column != "seeds"), "seeds"]]


def share_text(share: Share) -> str:
    """A share in per cent with its interval; a dash where it has no size.

    >>> share_text(Share(0.27, 0.1, 0.5)), share_text(Share(math.nan, math.nan, math.nan))
    ('27 % [10, 50]', '–')
    """
    if math.isnan(share.value):
        return MISSING
    low, high = (MISSING if math.isnan(end) else number(100 * end, 0) for end in (share.low, share.high))
    return f"{number(100 * share.value, 0)} % [{low}, {high}]"


def conclusion(effects: pd.DataFrame) -> str:
    """Main effects and interaction of instruction and experts over all datasets, as text with no verdict.

    Args:
        effects: `analysis.contrasts.contrast_rows` of `analysis.factorial.EFFECTS`.
    """
    everything = effects[effects.group == "all"].set_index("contrast")
    parts = [
        f"{name} {gain_interval(*everything.loc[name, ['gain', 'low', 'high']], 1)} points"
        for name in (INSTRUCTION, EXPERTS, INTERACTION)
    ]
    larger = max((INSTRUCTION, EXPERTS), key=lambda name: everything.gain[name])
    return (
        f"**The larger effect over all datasets is that of the {larger.split(',')[0]}:** {'; '.join(parts)} "
        "(in brackets: 95 % interval for another training on these datasets)."
    )
