"""What a model is made of, which part of a study is there, and what the notebook ends with."""

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tsembed.tasks import ROUTES

from ... import paths
from ...presets import load_preset
from ...variant_rows import load_variants
from ..figures.words import number, words
from .models import UNTRAINED, Model, load
from .routes import route_cosines

if TYPE_CHECKING:
    from tsembed.encoder.text import Encoder


def parameters(encoder: "Encoder") -> pd.DataFrame:
    """Shared and expert parameters of a model, and how many of them one text meets: rows of a table."""
    backbone = encoder.backbone
    experts = len(getattr(backbone, "expert_names", ()))
    counts = {name: p.numel() for name, p in backbone.named_parameters()}
    total, of_experts = sum(counts.values()), sum(n for name, n in counts.items() if ".experts." in name)
    rows = {
        "experts": experts,
        "parameters": total,
        "of these in experts": of_experts,
        "of these one text meets": total - of_experts + of_experts // max(1, experts),
    }
    return pd.Series({name: f"{count:,}" for name, count in rows.items()}).to_frame("")


def inputs(encoder: "Encoder", text: str) -> pd.DataFrame:
    """What the model reads of a text under each route: its instruction before it."""
    read = {route: encoder.tokenizer.decode(encoder.tokenize([text], route, max_tokens=64)[0]) for route in ROUTES}
    return pd.Series(read).to_frame("the model reads")


def study(preset: str) -> pd.DataFrame:
    """The variants of a preset: columns experiment, variant, label, seeds, finished."""
    labels = {name: variant.label for name, variant in load_variants().items()}
    plan = load_preset(preset)
    rows = []
    for experiment, part in plan.all_experiments.items():
        for name, seeds in part.variants.items():
            places = [paths.run_dir(preset, name, plan.first_seed + number) for number in range(seeds)]
            finished = sum((place / "done.json").is_file() for place in places)
            rows.append((experiment or "text", name, labels[name], seeds, finished))
    return pd.DataFrame(rows, columns=["experiment", "variant", "label", "seeds", "finished"])


def conclusion(model: Model, text: str) -> str:
    """What a task expert changes in a model, in sentences of Markdown."""
    encoder = load(model)
    experts = len(getattr(encoder.backbone, "expert_names", ()))
    cosines = route_cosines(encoder, text)
    apart = np.where(np.eye(len(ROUTES), dtype=bool), math.inf, cosines)
    first, second = np.unravel_index(apart.argmin(), apart.shape)
    what = f"{experts} copies of the feed-forward of a block, one per route" if experts else "not part of this model"
    untrained = " It is not trained, so instructions alone set the routes apart." if model.kind == UNTRAINED else ""
    return (
        f"A task expert is one of several feed-forwards of a block, chosen by the route; here they are {what}. In "
        f"{model.name}, the embeddings of “{text}” under {words(ROUTES[first])} and {words(ROUTES[second])} differ "
        f"most: their cosine is {number(float(cosines[first, second]), 3)}.{untrained}"
    )
