"""A list of texts ranked against one text, under every route."""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from tsembed.tasks import TASKS, TEXT_TASKS

from ..figures.words import number

if TYPE_CHECKING:
    from tsembed.encoder.text import Encoder

# Route of the text -> route of the texts that it is compared with. A query meets documents; all others their like.
DOCUMENT_ROUTES = {TASKS[name].query_route: TASKS[name].document_route for name in TEXT_TASKS}
DOCUMENT_ROUTES |= {TASKS[name].document_route: TASKS[name].document_route for name in TEXT_TASKS}
LONGEST = 60  # characters of a text that a sentence quotes


def rankings(encoder: "Encoder", text: str, texts: Sequence[str]) -> pd.DataFrame:
    """Rank and cosine of every text under every route: columns route, against, rank (from 1), text, cosine.

    Args:
        encoder: Of text.
        text: What the texts are compared with.
        texts: At least one; repeated ones count once.

    Raises:
        ValueError: If the text or the list is empty.
    """
    texts = list(dict.fromkeys(line.strip() for line in texts if line.strip()))
    if not text.strip() or not texts:
        raise ValueError("a ranking needs a text and, a line each, texts to rank")
    vectors = {route: encoder.encode(texts, route) for route in dict.fromkeys(DOCUMENT_ROUTES.values())}
    rows = []
    for route, against in DOCUMENT_ROUTES.items():
        cosines = vectors[against] @ encoder.encode(text.strip(), route)
        for rank, place in enumerate(sorted(range(len(texts)), key=lambda i: -cosines[i]), start=1):
            rows.append((route, against, rank, texts[place], float(cosines[place])))
    return pd.DataFrame(rows, columns=["route", "against", "rank", "text", "cosine"])


def sentence(rows: pd.DataFrame) -> str:
    """Whether the routes rank alike, in words.

    Args:
        rows: As `rankings` returns them.
    """
    orders = {route: tuple(group.sort_values("rank").text) for route, group in rows.groupby("route", sort=False)}
    if len(set(orders.values())) == 1:
        return "All routes rank the texts alike."
    by_first: dict[str, list[str]] = {}
    for route, order in orders.items():
        by_first.setdefault(order[0], []).append(route)
    if len(by_first) == 1:
        return f"All routes put “{_short(next(iter(by_first)))}” first; below it their orders differ."
    parts = [f"{' and '.join(routes)} put{'s' * (len(routes) == 1)} “{_short(t)}”" for t, routes in by_first.items()]
    return f"The routes disagree on the first place: {'; '.join(parts)}."


def table(rows: pd.DataFrame) -> str:
    """The rankings side by side as HTML: a column per route, the nearest text first.

    Args:
        rows: As `rankings` returns them.
    """
    head, columns = [], []
    for (route, against), group in rows.groupby(["route", "against"], sort=False):
        below = "like with like" if route == against else f"against {against}"
        head.append(f'<th style="{CELL}">{route}<br><span style="font-weight:normal">{below}</span></th>')
        columns.append([_cell(row) for row in group.sort_values("rank").itertuples()])
    lines = "".join(
        f"<tr><td>{rank}</td>{''.join(line)}</tr>" for rank, line in enumerate(zip(*columns, strict=True), start=1)
    )
    return (
        f'<table class="data rankings" style="border-collapse:collapse;table-layout:fixed;width:100%">'
        f'<colgroup><col style="width:2em"></colgroup><thead><tr><th></th>{"".join(head)}</tr></thead>'
        f"<tbody>{lines}</tbody></table><p>{html.escape(sentence(rows))}</p>"
    )


CELL = "text-align:left;vertical-align:top;white-space:normal;line-height:1.35;padding:4px 8px"


def _cell(row) -> str:
    """A text with its cosine, and a bar as long as the cosine is high."""
    width = 100 * min(1.0, max(0.0, row.cosine))
    bar = f'<div style="height:3px;width:{width:.0f}%;background:#7A8794"></div>'
    return f'<td style="{CELL}">{html.escape(row.text)} <small>{number(row.cosine, 2)}</small>{bar}</td>'


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
