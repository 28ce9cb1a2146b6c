"""Matryoshka representation learning (Kusupati et al. 2022, https://arxiv.org/abs/2205.13147).

The loss is taken of the whole embedding and of its leading dimensions, each normalised anew, and summed with equal
weights, as eq. 1 of the paper with c_m = 1. So an embedding may be cut to one of these lengths afterwards.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn


def nested_dims(dims: Sequence[int], whole: int) -> list[int]:
    """The lengths whose losses are summed, longest first: those of the settings and the whole embedding's.

    Args:
        dims: In any order, each once; empty: the whole embedding alone.
        whole: Length of an embedding.

    Raises:
        ValueError: If a length is not in 1..whole, or is named twice.

    Examples:
        >>> nested_dims([96, 192], 384), nested_dims([], 384)
        ([384, 192, 96], [384])
    """
    if wrong := [dim for dim in dims if not 1 <= dim <= whole]:
        raise ValueError(f"matryoshka_dims {list(dims)}: {wrong[0]} is not in 1..{whole}, the model's dimensions")
    if len(set(dims)) < len(dims):
        raise ValueError(f"matryoshka_dims {list(dims)}: a length is named once")
    return sorted({*dims, whole}, reverse=True)


def leading(vectors: Float[Tensor, "rows dim"], dim: int) -> Float[Tensor, "rows _"]:
    """The first `dim` dimensions with unit norm, with gradient; all of them are the vectors as they are."""
    if dim == vectors.shape[1]:
        return vectors
    return nn.functional.normalize(vectors[:, :dim], dim=-1)
