"""Which negatives EANS stresses: those of the query's own set, of its task, of other tasks; and how sharply.

On batches in an order that no training run had, mixed as those of the variant were. Beside the weights by the query's
routing stand those by the positive's routing and, as a control, those by the similarity of the embeddings.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from tsembed.contrastive.losses import negatives_of
from tsembed.encoder.precision import autocast
from tsembed.encoder.text import Encoder
from tsembed.settings import Negatives
from tsembed.training.batches import Batch
from tsembed.training.objective import Outputs, PairEncoder, weighting

from ..presets import RunSettings
from .gradients import PROBE_SEED, probe_batches

if TYPE_CHECKING:
    import datasets
    import pandas as pd

ALL, SAME_SET, SAME_TASK, OTHER_TASK = RELATIONS = ("all", "same set", "same task, other set", "other task")
FORMS = ("query", "positive", "embedding")


@torch.no_grad()
def negative_weights_by_relation(
    encoder: Encoder,
    tables: "Mapping[str, datasets.Dataset]",
    tasks: Mapping[str, str],
    settings: RunSettings,
    *,
    batches: int = 3,
    seed: int = PROBE_SEED,
) -> "pd.DataFrame":
    """Weights that the negatives of a query would have, by what they share with it.

    Args:
        encoder: With a MoE-LoRA adapter.
        tables: Training dataset -> table (query, document, group).
        tasks: Training dataset -> task.
        settings: The sharpness of the weights (`variant.negatives`, else its defaults), batching, sizes, precision.
        batches: Batches per task, or as many mixed ones as all tasks have together.
        seed: Of the batches.

    Returns:
        Columns by ("query" or "positive": whose routing a negative's is compared with; "embedding"), relation (one of
        `RELATIONS`), negatives (how many), share (of all negatives), weight (mean; 1 over all), deviation, low and high
        (5th and 95th percentile), correlation (of the weights with the cosine of the embeddings; nan where constant).
    """
    import pandas as pd

    pairs = PairEncoder(encoder.eval(), settings.variant)
    parts: dict[tuple[str, str], list[np.ndarray]] = {}
    cosines: dict[str, list[np.ndarray]] = {relation: [] for relation in RELATIONS}
    for batch in probe_batches(encoder, tables, tasks, settings, batches, seed, batching=settings.variant.batching):
        outputs = _outputs(pairs, batch, settings)
        cosine = outputs["query"] @ outputs["document"].T
        groups = {relation: mask.numpy() for relation, mask in _relations(batch)}
        for relation, mask in groups.items():
            cosines[relation].append(cosine.numpy()[mask])
        for form in FORMS:
            weights = _weights(form, settings.variant.negatives or Negatives(), outputs, groups[ALL])
            for relation, mask in groups.items():
                parts.setdefault((form, relation), []).append(weights[mask])
    found = {key: np.concatenate(values) for key, values in parts.items()}
    joined = {relation: np.concatenate(values) for relation, values in cosines.items()}
    rows = [
        {"by": form, "relation": relation} | _row(weights, joined[relation], len(found[form, ALL]))
        for (form, relation), weights in found.items()
        if len(weights)
    ]
    return pd.DataFrame(rows)


def _outputs(pairs: PairEncoder, batch: Batch, settings: RunSettings) -> Outputs:
    with autocast(pairs.encoder.device, settings.training.precision):
        parts = [pairs(chunk) for chunk in batch.chunks]
    return {name: torch.cat([part[name] for part in parts]).float().cpu() for name in parts[0] if name != "balance"}


def _relations(batch: Batch) -> Iterator[tuple[str, Tensor]]:
    """Which documents are negatives of which queries, all and by what they share."""
    negatives = negatives_of(batch.query_groups, batch.document_groups)
    same_set, same_task = (labels[:, None] == labels[None, :] for labels in (batch.sets, batch.tasks))
    yield ALL, negatives
    yield SAME_SET, negatives & same_set
    yield SAME_TASK, negatives & same_task & ~same_set
    yield OTHER_TASK, negatives & ~same_task


def _weights(form: str, negatives: Negatives, outputs: Outputs, allowed: np.ndarray) -> np.ndarray:
    sharpness = {"beta": negatives.beta, "beta_unit": negatives.beta_unit}
    if form == "embedding":
        chosen = Negatives(weights="hardness", first_stage=0.0, **sharpness)
    else:
        chosen = negatives.model_copy(update={"weights": "eans", "compared_with": form})
    weigh = weighting(chosen, outputs)
    return weigh(slice(None), outputs["document"], torch.from_numpy(allowed)).numpy()


def _row(weights: np.ndarray, cosine: np.ndarray, count: int) -> dict[str, Any]:
    varies = len(weights) > 1 and min(np.ptp(weights), np.ptp(cosine)) > 0
    low, high = np.quantile(weights, (0.05, 0.95))
    return {
        "negatives": len(weights),
        "share": len(weights) / count,
        "weight": float(weights.mean()),
        "deviation": float(weights.std()),
        "low": float(low),
        "high": float(high),
        "correlation": float(np.corrcoef(weights, cosine)[0, 1]) if varies else float("nan"),
    }
