"""Which experts learned routers choose: by instruction and block."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from tsembed.encoder.text import Encoder
from tsembed.mote.token_routing import routing_record
from tsembed.tasks import ROUTES

if TYPE_CHECKING:
    import pandas as pd


def expert_shares(encoder: Encoder, texts: Sequence[str], **encode) -> "pd.DataFrame":
    """Share of tokens that each expert gets: columns route, block, expert, share (of all choices, 0 to 1), texts.

    The texts are the same under every route, so that a difference comes from the instruction alone.

    Args:
        encoder: With token-level routing.
        texts: Every one is encoded under every route.
        encode: Keywords of `Encoder.encode`.
    """
    import pandas as pd

    rows = []
    for route in ROUTES:
        with routing_record() as record:
            encoder.encode(texts, route, **encode)
        for block in sorted({routing.block for routing in record}):
            choices = torch.cat([routing.chosen.flatten() for routing in record if routing.block == block])
            counts = torch.bincount(choices, minlength=encoder.backbone.num_experts)
            rows += [(route, block, expert, n / len(choices)) for expert, n in enumerate(counts.tolist())]
    return pd.DataFrame(rows, columns=["route", "block", "expert", "share"]).assign(texts=len(texts))
