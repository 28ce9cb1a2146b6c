"""How many training texts are longer than what is read of them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..tasks import TASKS
from .batches import inputs_of

if TYPE_CHECKING:
    import datasets

    from ..encoder.text import Encoder

LOOKED_AT = 1000  # rows of a set, the first ones


def cut_texts(
    encoder: "Encoder", tables: Mapping[str, "datasets.Dataset"], tasks: Mapping[str, str], limits: Mapping[str, int]
) -> list[str]:
    """A line per set and side of which texts are cut: how many of the first `LOOKED_AT`, and at how many tokens.

    Args:
        encoder: Of texts; its tokenizer and instructions count.
        tables: Training sets by name; rows with pictures are passed over.
        tasks: Set -> training task.
        limits: Tokens of a "query" and of a "document".
    """
    lines = []
    for name, table in tables.items():
        if "query_image" in table.column_names:
            continue
        rows, task = table[:LOOKED_AT], TASKS[tasks[name]]
        for side, route in (("query", task.query_route), ("document", task.document_route)):
            texts = inputs_of(rows, side)
            route = route if route in encoder.routes else encoder.routes[0]
            found = encoder.tokenize(texts, route, max_tokens=limits[side] + 1)
            if cut := sum(len(ids) > limits[side] for ids in found):
                plural = {"query": "queries", "document": "documents"}[side]
                lines.append(f"{name}: {cut:,} of {len(texts):,} {plural} are cut at {limits[side]} tokens")
    return lines
