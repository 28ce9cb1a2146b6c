"""Gradient caching: the loss of a large batch in the memory of a small one (Gao et al. 2021, arXiv 2101.06983).

A contrastive loss needs the embeddings of the whole batch at once, but not the activations behind them. So the batch is
embedded twice, in chunks: first without gradient, which gives the loss and its gradient with respect to every
embedding; then with gradient, chunk by chunk, each chunk's activations being dropped before the next one's are made.
The last chunk keeps its activations from the first pass, so it is embedded once and a single chunk costs nothing more.
They are alive while the loss is computed, which for a large batch should make no large matrix (`info_nce(chunk=...)`).

    loss = cached_backward(model, chunks, lambda out: info_nce(out["queries"], out["documents"], temperature=0.02))
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import reduce
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

C = TypeVar("C")
Outputs = Mapping[str, Tensor]


def cached_backward(
    embed: Callable[[C], Outputs],
    chunks: Sequence[C],
    loss: Callable[[dict[str, Tensor]], Tensor],
    *,
    backward: Callable[[Tensor], Any] = Tensor.backward,
    no_sync: Callable[[], AbstractContextManager] = nullcontext,
) -> Tensor:
    """The loss of all chunks together, detached; its gradients are added to those of the parameters behind `embed`.

    Value and gradients are those of `loss` on the outputs of all chunks with gradient, dropout included: the second
    pass repeats the random state of the first.

    What `embed` computes without gradient and without chance, such as the features of a frozen vision tower, it may
    keep with the chunk in the first pass for the second.

    Args:
        embed: What the loss needs of a chunk, by name: embeddings, routing signatures, statistics of routers, groups.
            Each is a tensor with a first axis, along which the chunks are joined. All of them are cached, so a loss may
            be of routing too. An output has a gradient in the second pass or it is a constant.
        chunks: Parts of this rank's batch, in order; as many on every rank.
        loss: From the joined outputs to a scalar. It may gather across ranks. What it reads beside the outputs gets no
            gradient: a trained temperature belongs into `embed`.
        backward: `accelerator.backward`, where that scales. It is called once per chunk, on what has the chunk's share
            of the gradient.
        no_sync: `lambda: accelerator.no_sync(model)`. A context around every backward pass but the last, and around the
            forward pass of the same chunk, so that the ranks add up their gradients once.

    Raises:
        ValueError: If there is no chunk, chunks differ in their outputs, an output has no first axis, or nothing that
            the loss depends on has a gradient.
    """
    if not len(chunks):
        raise ValueError("chunks is empty, must be at least one")
    *earlier, last = chunks
    chunk_outputs, states = [], []
    for chunk in earlier:
        states.append(_RandomState.now())
        with torch.no_grad():
            chunk_outputs.append(dict(embed(chunk)))
    # An autocast around this call keeps casts of the weights, and those made so far have no gradient.
    torch.clear_autocast_cache()
    with no_sync() if earlier else nullcontext():
        outputs = dict(embed(last))
        chunk_outputs.append({name: output.detach() for name, output in outputs.items()})
        value, gradients = _gradients(loss, chunk_outputs)
        backward(_with_gradients(outputs, gradients, len(earlier)))
    del outputs
    with _random_state_kept():
        for index, chunk in enumerate(earlier):
            with no_sync() if index < len(earlier) - 1 else nullcontext():
                states[index].restore()
                backward(_with_gradients(embed(chunk), gradients, index))
    return value


class _RandomState(NamedTuple):
    """Of torch's default generators: the CPU's and, where CUDA is in use, those of all its devices."""

    cpu: Tensor
    cuda: list[Tensor]

    @classmethod
    def now(cls) -> "_RandomState":
        return cls(torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [])

    def restore(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Afterwards the generators stand where they stood, as if there had been one pass."""
    state = _RandomState.now()
    try:
        yield
    finally:
        state.restore()


def _gradients(
    loss: Callable[[dict[str, Tensor]], Tensor], chunk_outputs: list[dict[str, Tensor]]
) -> tuple[Tensor, dict[str, tuple[Tensor, ...]]]:
    """The loss, and its gradient with respect to what it depends on: name -> chunks. Empties `chunk_outputs`."""
    joined, sizes = _joined(chunk_outputs)
    chunk_outputs.clear()
    leaves = {name: output.requires_grad_() for name, output in joined.items() if output.is_floating_point()}
    with torch.enable_grad():
        value = loss(joined)
    if not value.requires_grad:
        raise ValueError(f"the loss depends on none of {sorted(leaves)}, the outputs that could have a gradient")
    whole = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    named = {name: gradient for name, gradient in zip(leaves, whole, strict=True) if gradient is not None}
    return value.detach(), {name: gradient.split(sizes[name]) for name, gradient in named.items()}


def _joined(chunk_outputs: list[dict[str, Tensor]]) -> tuple[dict[str, Tensor], dict[str, list[int]]]:
    """Every output of all chunks, and how much of it is of which chunk."""
    for index, outputs in enumerate(chunk_outputs):
        if set(outputs) != set(chunk_outputs[0]):
            raise ValueError(
                f"chunk {index} gives {sorted(outputs)}, chunk 0 {sorted(chunk_outputs[0])}: must be the same"
            )
        if flat := [name for name, output in outputs.items() if not output.ndim]:
            raise ValueError(f"output {flat[0]!r} of chunk {index} has no first axis, along which chunks are joined")
    joined = {name: torch.cat([outputs[name] for outputs in chunk_outputs]) for name in chunk_outputs[0]}
    return joined, {name: [len(outputs[name]) for outputs in chunk_outputs] for name in joined}


def _with_gradients(outputs: Outputs, gradients: dict[str, tuple[Tensor, ...]], index: int) -> Tensor:
    """A scalar whose gradient with respect to each output of a chunk is the given one; constants are left out."""
    terms = [(outputs[n] * parts[index]).sum() for n, parts in gradients.items() if outputs[n].requires_grad]
    if not terms:
        raise ValueError(f"chunk {index}: the loss depends on {sorted(gradients)}, and none of them has a gradient")
    return reduce(torch.add, terms)
