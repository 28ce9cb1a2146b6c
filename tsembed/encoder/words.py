"""One lookup of the words of a whole step, so that their table has one gradient a step and not one per chunk.

The gradient of an embedding table is as large as the table, half of MiniLM's weights, however few words a chunk has: it
is filled with zeros, and added to that of the chunk before, once per chunk.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def words_looked_up_once(table: nn.Module, ids: Sequence[Tensor]) -> Iterator[None]:
    """Within it the table's forward passes share one lookup of the words in `ids`; values and gradients are the same.

    Each pass reads from the rows of these words, a small table, and gives that its gradient. Ids that are not among
    them are looked up as ever. On an accelerator, under no_grad, of a frozen table, of one that does more than look up,
    or of a single chunk, nothing changes.

    Args:
        table: The backbone's word embeddings.
        ids: Of the chunks that will be embedded, each int64 (batch, seq).
    """
    if not _gains(table) or len(ids) < 2 or not torch.is_grad_enabled():
        yield
        return
    words = torch.cat([part.flatten() for part in ids]).cpu().unique()  # sorted
    rows = table(words)  # (words, dim); a padding word gets no gradient, as ever
    plain = table.forward

    def lookup(part: Tensor) -> Tensor:  # (batch, seq) -> (batch, seq, dim)
        places = torch.searchsorted(words, part).clamp_(max=len(words) - 1)
        return nn.functional.embedding(places, rows) if torch.equal(words[places], part) else plain(part)

    table.forward = lookup
    try:
        yield
    finally:
        del table.forward  # the class's own is back


def _gains(table: nn.Module) -> bool:
    """Whether it is a plain, trained table on the CPU: an accelerator would wait for the comparison of ids."""
    if type(table) is not nn.Embedding or "forward" in vars(table):
        return False
    scaled = table.max_norm is not None or table.scale_grad_by_freq
    return not scaled and table.weight.requires_grad and table.weight.device.type == "cpu"
