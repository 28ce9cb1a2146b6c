"""Share of a device's peak that a model reaches (MFU): what it needs once, in operations per second, over the peak.

A weight takes 2 operations for each token of a forward pass, 4 more in the backward pass of a trained weight and 2 more
in that of a frozen one, which passes the gradient on. The table of words, attention scores, padding, and whatever is
computed again by checkpointing or a gradient cache, are left out.

The peak of a GPU is what is published for bf16 without sparsity, so fp32 shows a small share. A CPU has no peak here
unless it is measured (`--measure-peak`): the rate of large products in fp32 on the threads of the process, by the clock
that the benchmarks read: CPU time on one thread, else wall time, for which nothing else may run.
"""

import argparse
import time

import torch
from torch import nn

from study.runs import estimate

PEAK = estimate.PEAK | {"H200": estimate.PEAK["H100"]}  # operations per second, by a word of the card's name
SIDE, REPEATS = 2048, 5  # of the matrices whose product is timed


def add_option(parser: argparse.ArgumentParser) -> None:
    """Give a benchmark's command the option --measure-peak."""
    parser.add_argument("--measure-peak", action="store_true", help="of a CPU, for the MFU, by large products in fp32")


def peak(device: str | torch.device, *, measure: bool = False) -> float | None:
    """Operations per second that the device can do; None where nobody says.

    Args:
        device: "cpu" or a GPU.
        measure: Time products on a CPU.
    """
    if torch.device(device).type == "cuda":
        return peak_of(torch.cuda.get_device_name(device))
    return _measured() if measure else None


def peak_of(card: str) -> float | None:
    """The published peak of a card by its name.

    >>> peak_of("NVIDIA A100-SXM4-80GB"), peak_of("NVIDIA GeForce GTX 970")
    (312000000000000.0, None)
    """
    return next((value for word, value in PEAK.items() if word in card), None)


def operations(tokens: float, *, embedding: float = 0, frozen: float = 0, trained: float = 0) -> float:
    """Operations of tokens through weights that only embed them, are frozen in a training, or are trained.

    >>> operations(10, embedding=1), operations(10, frozen=1), operations(10, trained=1)
    (20, 40, 60)
    """
    return tokens * (2 * embedding + 4 * frozen + 6 * trained)


def weights(model: nn.Module) -> dict[str, int]:
    """How many weights every token passes, frozen and trained ones: all but those of tables, which are looked up."""
    tables = {id(p) for module in model.modules() if isinstance(module, nn.Embedding) for p in module.parameters()}
    passed = [p for p in model.parameters() if id(p) not in tables]
    trained = sum(p.numel() for p in passed if p.requires_grad)
    return {"frozen": sum(p.numel() for p in passed) - trained, "trained": trained}


def share(done: float, seconds: float, of: float | None) -> float | None:
    """The MFU, in 0..1; None without a peak.

    Args:
        done: Operations.
        seconds: That they took.
        of: As `peak` returns it.
    """
    return None if of is None else done / seconds / of


def shown(name: str, done: float, seconds: float, of: float | None) -> str:
    """A line of a benchmark's output.

    >>> shown("step", 5e12, 2.0, 1e13)
    'step: MFU 25.0 % of 10.0 TFLOP/s'
    >>> shown("step", 5e12, 2.0, None)
    'step: no MFU, as no peak of this device is known (--measure-peak)'
    """
    found = share(done, seconds, of)
    if found is None or of is None:
        return f"{name}: no MFU, as no peak of this device is known (--measure-peak)"
    digits = 1 if of >= 1e12 else 3
    return f"{name}: MFU {found:.1%} of {of / 1e12:.{digits}f} TFLOP/s".replace("%", " %")


def _measured() -> float:
    """The best rate of some products on this process's threads."""
    one, other = torch.randn(2, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).unbind()
    one @ other
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    taken = []
    for _ in range(REPEATS):
        begin = clock()
        one @ other
        taken.append(clock() - begin)
    return 2 * SIDE**3 / min(taken)
