"""The variants that `tsembed.fit` trains, cut to the tasks that the data have."""

from collections.abc import Collection

from ..settings import Adapter, Negatives, Variant
from ..tasks import IMAGE_ROUTES, IMAGE_TASKS, ROUTES, TASKS, TEXT_TASKS
from .names import NAMES

UNTRAINED = "untrained"  # the expert of all routes that the data do not train: it stays as the backbone is
LEARNING_RATES = {"full": 3e-5, "adapter": 1e-3}  # chosen on EM and IC, and on LoRA, for a small BERT (LOG.md, 12, 16)


def variant(name: str, tasks: Collection[str]) -> Variant:
    """A variant by name.

    Args:
        name: One of `NAMES`: "em" fine-tunes the whole model, "ic" with an instruction before every text, "mote" with
            instruction and task experts; "moe_lora" trains LoRA experts and routers on the frozen model, "tsembed" the
            same with negatives weighted by their routing in a second stage.
        tasks: Training tasks that the data have, of text or of images.

    Raises:
        ValueError: If the name or a task is unknown, or there is no task.

    Examples:
        >>> variant("mote", ["retrieval"]).experts["clustering"]
        'untrained'
    """
    if name not in NAMES:
        raise ValueError(f"variant {name!r} is unknown; known: {', '.join(NAMES)}")
    known = IMAGE_TASKS if set(tasks) & set(IMAGE_TASKS) else TEXT_TASKS
    trained = tuple(task for task in known if task in tasks)
    settings: dict = {"label": name, "tasks": trained, "instruction": name not in ("em",)}
    if name == "mote":
        routes = IMAGE_ROUTES if known == IMAGE_TASKS else ROUTES
        used = {route for task in trained for route in (TASKS[task].query_route, TASKS[task].document_route)}
        settings["experts"] = {route: route if route in used else UNTRAINED for route in routes}
    if name in ("moe_lora", "tsembed"):
        settings["adapter"] = Adapter(kind="moe_lora")
        settings["instruction"] = known == TEXT_TASKS
    if name == "tsembed":
        settings["negatives"] = Negatives(weights="eans")
    return Variant(**settings)


def learning_rate(variant: Variant) -> float:
    """The rate at which a variant is trained where the user names none."""
    return LEARNING_RATES["adapter" if variant.adapter else "full"]
