"""Inter-task similarity: how far apart a model puts the same text under two routes (MoTE §5.2, Figs. 1 and 3).

`similarity_by_layer` asks the same of the hidden states: from which block on the routes part (not in the paper).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from tsembed.encoder.chunks import chunks
from tsembed.encoder.precision import autocast
from tsembed.encoder.text import Encoder
from tsembed.mote.families import FAMILIES
from tsembed.tasks import ROUTES

if TYPE_CHECKING:
    import pandas as pd


PAIRS = tuple(combinations(ROUTES, 2))


def inter_task_similarity(encoder: Encoder, texts: Sequence[str], **encode) -> "pd.DataFrame":
    """Cosine similarity of every text's embeddings under every pair of routes: columns text, first, second, cosine.

    Args:
        encoder: One whose embeddings depend on the route.
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


@torch.inference_mode()
def similarity_by_layer(
    encoder: Encoder,
    texts: Sequence[str],
    *,
    max_tokens: int = 512,
    token_budget: int = 1536,
    precision: str = "fp32",
) -> "pd.DataFrame":
    """Mean cosine similarity of a text's pooled hidden states over the six pairs of routes, layer by layer.

    Hidden states are pooled as the encoder pools its last ones, so the last layer has the mean of
    `inter_task_similarity`. Layer 0 is what enters the first block: there the instruction alone sets routes apart.

    Args:
        encoder: One whose embeddings depend on the route.
        texts: Every one is embedded under every route.
        max_tokens: As in `Encoder.encode`.
        token_budget: As in `Encoder.encode`.
        precision: As in `Encoder.encode`.

    Returns:
        Columns layer (0 .. number of blocks), text, cosine (rounded to five digits: it is kept with the results).
    """
    import pandas as pd

    was_training = encoder.training
    encoder.eval()
    states = {route: _layers(encoder, texts, route, max_tokens, token_budget, precision) for route in ROUTES}
    encoder.train(was_training)
    cosine = sum((states[first] * states[second]).sum(axis=2) for first, second in PAIRS) / len(PAIRS)
    layers, count = cosine.shape
    return pd.DataFrame(
        {
            "layer": np.repeat(np.arange(layers), count),
            "text": np.tile(np.arange(count), layers),
            "cosine": cosine.ravel().astype(float).round(5),
        }
    )


def _layers(encoder: Encoder, texts: Sequence[str], route: str, max_tokens: int, token_budget: int, precision: str):
    """Unit-norm pooled hidden states under a route: (layers, texts, dim)."""
    tokens = encoder.tokenize(texts, route, max_tokens=max_tokens)
    parts = chunks(
        tokens,
        route,
        pad_id=encoder.tokenizer.pad_token_id,
        max_tokens=token_budget,
        padding_side=encoder.tokenizer.padding_side,
    )
    rows = []
    with autocast(encoder.device, precision), _hidden_states(encoder) as states:
        for part in parts:
            states.clear()
            mask = part.attention_mask.to(encoder.device)
            last = encoder(part.input_ids.to(encoder.device), mask, route)
            pooled = [torch.nn.functional.normalize(encoder.pool(state, mask), dim=-1) for state in states]
            rows.append(torch.stack([*pooled[:-1], last]).cpu())  # a norm may follow the last block
    order = torch.cat([part.positions for part in parts]).argsort()
    return torch.cat(rows, dim=1)[:, order].numpy()


@contextmanager
def _hidden_states(encoder: Encoder) -> "Iterator[list[Tensor]]":
    """A list that every forward pass appends to: what enters the first block, then what leaves each."""
    path = FAMILIES[encoder.backbone.config.model_type].blocks
    blocks = getattr(encoder.backbone, "model", encoder.backbone).get_submodule(path)
    states: list[Tensor] = []

    def enter(_, args, kwargs):
        states.append(args[0] if args else kwargs["hidden_states"])

    def leave(_, __, output):
        states.append(output[0] if isinstance(output, tuple) else output)

    hooks = [blocks[0].register_forward_pre_hook(enter, with_kwargs=True)]
    hooks += [block.register_forward_hook(leave) for block in blocks]
    try:
        yield states
    finally:
        for hook in hooks:
            hook.remove()
