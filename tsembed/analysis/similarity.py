"""Inter-task similarity: how far apart a model puts the same text under two routes (MoTE §5.2, Figs. 1 and 3)."""

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from ..encoder import Encoder
from ..tasks import ROUTES

if TYPE_CHECKING:
    import pandas as pd

PAIRS = tuple(combinations(ROUTES, 2))


def inter_task_similarity(encoder: Encoder, texts: Sequence[str], **encode) -> "pd.DataFrame":
    """Cosine similarity of every text's embeddings under every pair of routes: columns text, first, second, cosine.

    Args:
        texts: The paper takes 128 articles.
        encode: Keywords of `Encoder.encode`.
    """
    import pandas as pd

    vectors = {route: encoder.encode(texts, route, **encode) for route in ROUTES}
    frames = []
    for first, second in PAIRS:
        cosine = (vectors[first] * vectors[second]).sum(axis=1)
        frames.append(pd.DataFrame({"text": range(len(texts)), "first": first, "second": second, "cosine": cosine}))
    return pd.concat(frames, ignore_index=True)
