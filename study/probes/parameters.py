"""Where a parameter stands: its block, and which part of the block."""

import re
from typing import Literal

from tsembed.mote.families import FAMILIES

Part = Literal["attention", "feed_forward", "embeddings"]


def locate_parameter(name: str, model_type: str) -> tuple[str, Part]:
    """Block and part of a parameter: ("0", "attention"), …, ("embeddings", "embeddings") outside the blocks.

    The feed-forward part is what makes up an expert in MoTE, norms included, so that the parts of a dense model and
    of one with experts hold the same parameters. All else of a block counts as attention.

    Args:
        name: The parameter's name in the model, or in a module around it.
        model_type: A key of `mote.families.FAMILIES`.

    Raises:
        ValueError: For an unknown family.

    >>> locate_parameter("encoder.layer.3.output.dense.weight", "bert")
    ('3', 'feed_forward')
    >>> locate_parameter("encoder.layer.3.attention.output.dense.weight", "bert")
    ('3', 'attention')
    """
    family = FAMILIES.get(model_type)
    if family is None:
        raise ValueError(f"the blocks of model_type {model_type!r} are not known; known: {', '.join(FAMILIES)}")
    match = re.search(rf"(?:^|\.){re.escape(family.blocks)}\.(\d+)\.(.+)", name)
    if match is None:
        return "embeddings", "embeddings"
    block, inside = match.groups()
    expert = any(inside.startswith(f"{module}.") for module in family.expert)
    return block, "feed_forward" if expert else "attention"
