"""Inter-task similarity: how far apart a model puts the same text under two routes (MoTE §5.2, Figs. 1 and 3)."""

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

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


def load_similarity(preset: str, methods: Sequence[str]) -> "pd.DataFrame":
    """Similarities of a preset's runs: method, seed, text, pair ("first–second"), similarity."""
    import pandas as pd

    from .scores import run_folders

    frames = []
    for (variant, seed), folder in run_folders(preset).items():
        if variant in methods:
            rows = pd.read_csv(folder / "similarity.csv")
            rows = rows.assign(method=variant, seed=seed, pair=rows["first"] + "–" + rows["second"])
            frames.append(rows.rename(columns={"cosine": "similarity"}))
    return pd.concat(frames, ignore_index=True)[["method", "seed", "text", "pair", "similarity"]]


def per_text(similarities: "pd.DataFrame", method: str, pairs: Sequence[str]) -> np.ndarray:
    """Mean similarity over some pairs of routes: (seeds, texts)."""
    rows = similarities[(similarities.method == method) & similarities.pair.isin(pairs)]
    return rows.pivot_table(index="seed", columns="text", values="similarity", aggfunc="mean").to_numpy()
