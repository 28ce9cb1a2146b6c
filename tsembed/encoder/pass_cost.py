"""What one more forward pass costs on a device, in tokens: how finely sequences are split by length.

A pass costs some time whatever it computes: launching its kernels on an accelerator, Python everywhere. On a CPU that
is worth some dozen tokens, on a GPU some thousand, and more the smaller the model is. The split decides how much is
padded and nothing else: embeddings, losses and gradients are the same up to rounding. Only the masks of dropout, where
there is some, are drawn pass by pass, so a training keeps the cost that it began with.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch

from .chunks import FORWARD_PASS_COST_TOKENS, Chunk
from .precision import autocast

if TYPE_CHECKING:
    from .text import Encoder

ROWS = (1, 64, 256)  # sequences of a measured pass
TOKENS = 64  # of each of them, where the model takes as many
REPEATS = 3  # of which the shortest counts, after one that does not
BOUNDS = (16, 16384)  # the largest measured pass: one that takes no longer than a short one says no more
TOKEN_BUDGET = 1536  # of a pass of `Encoder.encode`, at least: what suits the caches of a CPU
TEXT = "how long a pass takes does not depend on what its texts say, so these words stand for any others; "


def of_encoder(encoder: "Encoder", route: str, precision: str) -> int:
    """What a forward pass of `Encoder.encode` costs, in tokens; where it is measured, once per device and precision.

    Args:
        encoder: Where its weights are now.
        route: One of its routes.
        precision: As in `Encoder.encode`.
    """
    place = (str(encoder.device), precision)
    if place not in encoder.pass_costs:
        was_training = encoder.training
        encoder.eval()
        with torch.inference_mode(), autocast(encoder.device, precision):
            encoder.pass_costs[place] = of_device(encoder, encoder.embed_chunk, route)
        encoder.train(was_training)
    return encoder.pass_costs[place]


def of_device(encoder: "Encoder", embed: Callable[[Chunk], Any], route: str) -> int:
    """`FORWARD_PASS_COST_TOKENS` of the encoder's device, or what is measured there.

    What is measured is rounded to a power of two: measured again on the same device it is nearly always the same.

    Args:
        encoder: Makes the measured inputs, and says which device to wait for.
        embed: Makes forward passes over a chunk, as many for each. It is called equally often on all devices, as ranks
            of one training need it.
        route: Of the inputs.
    """
    setting = FORWARD_PASS_COST_TOKENS.get(encoder.device.type, "auto")
    if setting != "auto":
        return setting
    ids = encoder.tokenize([TEXT * TOKENS], route, max_tokens=min(TOKENS, encoder.max_tokens))[0]
    seconds = [_seconds(embed, _chunk(ids, rows, route), encoder.device) for rows in ROWS]
    return rounded(fixed_cost([rows * len(ids) for rows in ROWS], seconds))


def fixed_cost(tokens: Sequence[int], seconds: Sequence[float]) -> float:
    """Seconds of a pass beside those of its tokens, in units of what a token takes in the longest passes.

    Args:
        tokens: Of each pass, ascending.
        seconds: Of each pass.

    Returns:
        Infinity where the longest pass takes no longer than the one before.

    >>> fixed_cost([10, 100, 200], [11e-3, 20e-3, 30e-3])  # 10 ms and 0.1 ms a token
    100.0
    """
    per_token = (seconds[-1] - seconds[-2]) / (tokens[-1] - tokens[-2])
    if per_token <= 0:
        return float("inf")
    return round(seconds[0] / per_token - tokens[0], 6)


def rounded(cost: float) -> int:
    """The nearest power of two within `BOUNDS`.

    >>> rounded(-5.0), rounded(50.0), rounded(1600.0), rounded(float("inf"))
    (16, 64, 2048, 16384)
    """
    low, high = BOUNDS
    within = min(max(cost, low), high)
    powers = [2**power for power in range(low.bit_length() - 1, high.bit_length())]
    return min(powers, key=lambda power: abs(power - within))


def suitable_budget(pass_cost: int) -> int:
    """Tokens of a pass of `Encoder.encode`, padding included: so many that its fixed cost is at most a ninth of it.

    >>> suitable_budget(48), suitable_budget(2048)
    (1536, 16384)
    """
    return max(TOKEN_BUDGET, 8 * pass_cost)


def _chunk(ids: Sequence[int], rows: int, route: str) -> Chunk:
    input_ids = torch.tensor(ids).repeat(rows, 1)  # (rows, seq)
    return Chunk(input_ids, torch.ones_like(input_ids), route, torch.arange(rows))


def _seconds(embed: Callable[[Chunk], Any], chunk: Chunk, device: torch.device) -> float:
    """The shortest time of a pass."""
    wait = nullcontext if device.type == "cpu" else lambda: torch.accelerator.synchronize(device)
    taken = []
    for _ in range(REPEATS + 1):
        wait()
        begin = time.perf_counter()
        embed(chunk)
        wait()
        taken.append(time.perf_counter() - begin)
    return min(taken[1:])
