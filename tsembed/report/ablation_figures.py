"""Figures of the ablations: averages per seed (Figures 4 and 6), and which experts learned routers choose."""

from typing import TYPE_CHECKING

from .figures import COLUMN, FULL, _drawing, _note, seeds_text
from .looks import METHODS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def seed_averages(means: "pd.DataFrame", *, datasets: int, difference: str) -> "Figure":
    """Average score per method: a point per seed, a line at their mean (Figures 4 and 6).

    Args:
        means: Columns method, seed, score.
        datasets: Number of datasets in an average.
        difference: The paired difference of the methods with its interval, for the note.
    """
    methods = list(dict.fromkeys(means.method))
    with _drawing(COLUMN, 2.1, "average score per method") as figure:
        axes = figure.add_subplot()
        for x, method in enumerate(methods):
            scores, look = means.score[means.method == method], METHODS[method]
            axes.plot([x] * len(scores), scores, look.marker, color=look.colour, alpha=0.8)
            axes.hlines(scores.mean(), x - 0.2, x + 0.2, color=look.colour)
            axes.annotate(f"{scores.mean():.2f}", (x + 0.24, scores.mean()), va="center")
        axes.set_xticks(range(len(methods)), [METHODS[m].label for m in methods])
        axes.set(ylabel=f"average score over\n{datasets} datasets (points)", xlim=(-0.5, len(methods) - 0.3))
        axes.margins(y=0.3)
        axes.grid(False, axis="x")
        seeds = seeds_text(means.groupby("method").seed.nunique())
        _note(figure, f"{seeds}: points; line: their mean; {difference}")
    return figure


def expert_shares(shares: "pd.DataFrame", *, seeds: str, texts: int) -> "Figure":
    """Share of tokens per expert under each instruction, a panel per route, blocks from left to right.

    Args:
        shares: Columns route, block, expert, share, and seed; the first seed is shown, since experts have no names.
        seeds: Number of seeds that were trained, as text ("1 to 2 seeds").
        texts: Number of texts behind the shares.
    """
    routes, blocks = list(dict.fromkeys(shares.route)), sorted(shares.block.unique())
    experts = sorted(shares.expert.unique())
    shown = shares[shares.seed == shares.seed.min()]
    with _drawing(FULL, 1.7, "share of tokens per expert and route") as figure:
        panels = figure.subplots(1, len(routes), sharey=True)
        for axes, route in zip(panels, routes, strict=True):
            table = shown[shown.route == route].pivot(index="expert", columns="block", values="share")
            image = axes.imshow(table.to_numpy(), cmap="cividis", vmin=0, vmax=1, aspect="auto")
            axes.set(title=route, xlabel="block")
            axes.set_xticks(range(len(blocks)), [b + 1 for b in blocks])
            axes.set_yticks(range(len(experts)), [e + 1 for e in experts])
            axes.grid(False)
        panels[0].set_ylabel("expert")
        figure.colorbar(image, ax=panels, label="share of tokens", shrink=0.9)
        _note(figure, f"seed {int(shown.seed.iloc[0])} of {seeds}; {texts} texts; no interval")
    return figure
