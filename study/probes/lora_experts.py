"""What MoE-LoRA's routers do: which experts a task uses, and whether similar routing means similar meaning.

EANS takes routing similarity as a proxy for semantic similarity. Here that is measured, on held-out pairs of all tasks
together, layer by layer, and beside it the same of random routers on the same model.
"""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from tsembed.contrastive.eans import signature_similarity
from tsembed.encoder.precision import autocast
from tsembed.encoder.text import Encoder
from tsembed.tasks import TASKS
from tsembed.training.batches import inputs_of

if TYPE_CHECKING:
    import datasets
    import pandas as pd


PAIRS = 8  # of each dataset
ALL_LAYERS = "all"  # layers, or tasks


class Observed(NamedTuple):
    """One side of the pairs."""

    signatures: torch.Tensor  # (pairs, layers, experts)
    vectors: torch.Tensor  # (pairs, dim), unit norm


@torch.inference_mode()
def observe(
    encoder: Encoder,
    inputs: Sequence[Any],
    routes: Sequence[str],
    *,
    max_tokens: int,
    token_budget: int = 1536,
    precision: str = "fp32",
) -> tuple[Observed, list[str]]:
    """Routing signatures and embeddings of inputs under their routes, and the adapted layers by name."""
    from tsembed.moe_lora import routing

    encoder.eval()
    parts, _ = encoder.prepare(inputs, routes, max_tokens=max_tokens, token_budget=token_budget)
    signatures, vectors, names = [], [], []
    with autocast(encoder.device, precision):
        for part in parts:
            with routing.routing_record() as record:
                vectors.append(encoder.embed_chunk(part).cpu())
            signatures.append(routing.signatures(record).float().cpu())
            names = [layer_routing.layer for layer_routing in record]
    order = torch.cat([part.positions for part in parts]).argsort()
    return Observed(torch.cat(signatures)[order], torch.cat(vectors)[order]), names


def measure(
    encoder: Encoder, tables: "dict[str, datasets.Dataset]", tasks: dict[str, str], *, seed: int = 0, **encode: Any
) -> tuple["pd.DataFrame", "pd.DataFrame"]:
    """Use of the experts, and routing as a proxy, on `PAIRS` pairs of each dataset.

    Args:
        encoder: With a MoE-LoRA adapter.
        tables: Held-out pairs by dataset: columns query, document, group, and pictures where there are some.
        tasks: Dataset -> task.
        seed: Of the random routers.
        encode: As in `Encoder.encode`.

    Returns:
        use: task, dataset, side, layer (its name), expert, share (mean gate, 0 to 1).
        proxy: router ("trained" or "random"), layer (its index, or "all"), pool ("all" pairs of a query and a document
            that is not its own, or those of the "same task"), reference ("embedding": cosine of the embeddings;
            "answer": whether the document answers the query too), correlation (Spearman's), pairs.
    """
    import pandas as pd

    names, groups, sides = [], [], {"query": [], "document": []}
    for name, table in tables.items():
        rows = table[: min(PAIRS, len(table))]
        names += [name] * len(rows["group"])
        groups += rows["group"]
        for side, side_inputs in sides.items():
            side_inputs += inputs_of(rows, side)
    trained: dict[str, Observed] = {}
    random: dict[str, Observed] = {}
    randomised = with_random_routers(encoder, seed)
    layers: list[str] = []
    for side, inputs in sides.items():
        routes = [getattr(TASKS[tasks[name]], f"{side}_route") for name in names]
        trained[side], layers = observe(encoder, inputs, routes, **encode)
        random[side], _ = observe(randomised, inputs, routes, **encode)
    use = [
        {"task": tasks[name], "dataset": name, "side": side, "layer": layer, "expert": expert, "share": share}
        for side, observed in trained.items()
        for name in tables
        for layer, gates in zip(layers, observed.signatures[[n == name for n in names]].mean(0).tolist(), strict=True)
        for expert, share in enumerate(gates)
    ]
    of_task = np.array([tasks[name] for name in names])
    reference = (trained["query"].vectors @ trained["document"].vectors.T).numpy()
    rows = []
    for router, observed_sides in (("trained", trained), ("random", random)):
        rows += _proxy(observed_sides, reference, of_task, np.array(groups), router)
    return pd.DataFrame(use), pd.DataFrame(rows)


def with_random_routers(encoder: Encoder, seed: int) -> Encoder:
    """A copy of which every router weight is drawn anew, with the trained one's mean and deviation."""
    generator = torch.Generator().manual_seed(seed)
    randomised = copy.deepcopy(encoder)
    with torch.no_grad():
        for name, weight in randomised.named_parameters():
            if "moe_lora_router" in name:
                drawn = torch.randn(weight.shape, generator=generator).to(weight)
                weight.copy_(weight.mean() + weight.std() * drawn)
    return randomised


def _proxy(observed: dict[str, Observed], reference: np.ndarray, tasks: np.ndarray, groups: np.ndarray, router: str):
    apart = ~np.eye(len(tasks), dtype=bool)
    answers = (groups[:, None] == groups[None, :]).astype(float)
    same = tasks[:, None] == tasks[None, :]
    query, document = observed["query"].signatures, observed["document"].signatures
    rows = []
    for layer in (ALL_LAYERS, *range(query.shape[1])):
        layers = slice(None) if layer == ALL_LAYERS else slice(layer, layer + 1)
        similarity = signature_similarity(query[:, layers], document[:, layers]).numpy()
        for pool, pairs in (("all", apart), ("same task", apart & same)):
            for name, target in (("embedding", reference), ("answer", answers)):
                correlation = spearman(similarity[pairs], target[pairs])
                row = {"router": router, "layer": str(layer), "pool": pool, "reference": name}
                rows.append(row | {"correlation": correlation, "pairs": int(pairs.sum())})
    return rows


def spearman(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    """Spearman's rank correlation; nan where one side is constant.

    >>> spearman(np.array([1.0, 2.0, 9.0]), np.array([0.0, 0.1, 0.2]))
    1.0
    """
    from scipy.stats import rankdata

    ranks = [rankdata(x) for x in (a, b)]
    if min(np.ptp(r) for r in ranks) == 0:
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1].round(12))
