"""What MoE-LoRA's routers do: which experts a task uses, and whether similar routing means similar meaning.

EANS takes routing similarity as a proxy for semantic similarity. Here that is measured, on held-out pairs of all tasks
together, layer by layer, and beside it the same of random routers on the same model. What routers tell of a sequence's
task and set has two baselines: the adapter as it was before training, and random routers of the trained ones' scale.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from tsembed.contrastive.eans import signature_similarity
from tsembed.contrastive.information import information_of, noise
from tsembed.encoder.precision import autocast
from tsembed.encoder.text import Encoder
from tsembed.tasks import TASKS, route_of_set
from tsembed.training.batches import inputs_of

if TYPE_CHECKING:
    import datasets
    import pandas as pd


TRAINED, RANDOM, UNTRAINED = ROUTERS = ("trained", "random", "untrained")
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
) -> tuple["pd.DataFrame", "pd.DataFrame", "pd.DataFrame"]:
    """Use of the experts, routing as a proxy, and information in routing, on `PAIRS` pairs of each dataset.

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
        information: router ("trained", "random" or "untrained"), label ("task" or "set"), layer (its index, or "all":
            the mean), information (mutual, of label and expert, in nats), noise (its standard deviation over samples of
            the sequences; of "all" alone).
    """
    import pandas as pd

    names, groups, sides = [], [], {"query": [], "document": []}
    for name, table in tables.items():
        rows = table[: min(PAIRS, len(table))]
        names += [name] * len(rows["group"])
        groups += rows["group"]
        for side, side_inputs in sides.items():
            side_inputs += inputs_of(rows, side)
    found: dict[str, dict[str, Observed]] = {}
    layers: list[str] = []
    for router in ROUTERS:
        model = encoder if router == TRAINED else _other(encoder, router, seed)
        found[router] = {}
        for side, inputs in sides.items():
            routes = [
                route_of_set(encoder.routes, name, getattr(TASKS[tasks[name]], f"{side}_route")) for name in names
            ]
            found[router][side], layers = observe(model, inputs, routes, **encode)
    trained = found[TRAINED]
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
    for router in (TRAINED, RANDOM):
        rows += _proxy(found[router], reference, of_task, np.array(groups), router)
    labels = {
        "task": [list(TASKS).index(task) for task in of_task],
        "set": [list(tables).index(name) for name in names],
    }
    information = [row for router, observed in found.items() for row in _information(observed, labels, router, seed)]
    return pd.DataFrame(use), pd.DataFrame(rows), pd.DataFrame(information)


def _other(encoder: Encoder, router: str, seed: int) -> Encoder:
    return with_random_routers(encoder, seed) if router == RANDOM else with_untrained_adapters(encoder)


def _information(
    observed: dict[str, Observed], labels: dict[str, list[int]], router: str, seed: int
) -> Iterator[dict[str, Any]]:
    """Rows of the table `information`, over the sequences of both sides."""
    signatures = torch.cat([observed[side].signatures for side in ("query", "document")]).double()
    for label, of_pairs in labels.items():
        numbers = torch.tensor(of_pairs).repeat(2)
        by_layer = information_of(signatures, numbers)
        spread = noise(signatures, numbers, generator=torch.Generator().manual_seed(seed))
        row = {"router": router, "label": label}
        yield row | {"layer": ALL_LAYERS, "information": float(by_layer.mean()), "noise": spread}
        for layer, value in enumerate(by_layer.tolist()):
            yield row | {"layer": str(layer), "information": value, "noise": float("nan")}


def with_random_routers(encoder: Encoder, seed: int) -> Encoder:
    """A copy of which every router weight is drawn anew, with the trained one's mean and deviation."""
    generator = torch.Generator().manual_seed(seed)
    randomised = copy.deepcopy(encoder)
    with torch.no_grad():
        for name, weight in randomised.named_parameters():
            if "moe_lora_router" in name and weight.ndim == 2:  # no temperature
                drawn = torch.randn(weight.shape, generator=generator).to(weight)
                weight.copy_(weight.mean() + weight.std() * drawn)
    return randomised


def with_untrained_adapters(encoder: Encoder) -> Encoder:
    """A copy with the adapter as it was before its training: its weights are a function of the seed that it keeps.

    Raises:
        ValueError: If the adapter has no seed of its own.
    """
    from tsembed.moe_lora.tuner_layer import MoeLoraLayer

    untrained = copy.deepcopy(encoder)
    for module in untrained.modules():
        if isinstance(module, MoeLoraLayer):
            for adapter, settings in module.settings.items():
                if settings.init_seed is None:
                    raise ValueError(f"adapter {adapter!r} has no init_seed: how it began is not known")
                module.update_layer(adapter, settings)
    return untrained


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
