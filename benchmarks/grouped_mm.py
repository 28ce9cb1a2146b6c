"""A feed-forward of four experts on sorted tokens: F.grouped_mm against a split: `python -m benchmarks.grouped_mm`.

F.grouped_mm takes the experts' weights stacked, here beforehand, which favours it: modules per expert, as checkpoints
and exports need them, would be stacked in every pass. CPU time; ratio grouped / split per round.
"""

import argparse
import time

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .timing import in_turn, machine, median_ratio

DIM, HIDDEN, EXPERTS = 384, 1536, 4  # of all-MiniLM-L6-v2


def split(tokens: Tensor, weights: list[Tensor], counts: list[int]) -> Tensor:
    """Every expert on its slice; weights: per expert up, its bias, down, its bias."""
    parts = []
    for e, part in enumerate(tokens.split(counts)):
        up, up_bias, down, down_bias = weights[4 * e : 4 * e + 4]
        parts.append(F.linear(F.gelu(F.linear(part, up, up_bias)), down, down_bias))
    return torch.cat(parts)


def grouped(tokens: Tensor, weights: list[Tensor], counts: list[int]) -> Tensor:
    """All experts in one call per matrix, the bias looked up per token; weights: up, its bias, down, its bias."""
    up, up_bias, down, down_bias = weights
    size = torch.tensor(counts)
    ends, expert = size.cumsum(0).int(), torch.arange(EXPERTS).repeat_interleave(size)
    hidden = F.gelu(F.grouped_mm(tokens, up.transpose(1, 2), offs=ends) + up_bias[expert])
    return F.grouped_mm(hidden, down.transpose(1, 2), offs=ends) + down_bias[expert]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    generator = torch.Generator().manual_seed(0)
    shapes = ((EXPERTS, HIDDEN, DIM), (EXPERTS, HIDDEN), (EXPERTS, DIM, HIDDEN), (EXPERTS, DIM))
    stacked = [(0.02 * torch.randn(shape, generator=generator)).requires_grad_() for shape in shapes]
    alone = [w[e].detach().clone().requires_grad_() for e in range(EXPERTS) for w in stacked]
    contestants = ((split, alone), (grouped, stacked))
    print(machine())
    for count in (16, 64, 512):
        counts = [count] * EXPERTS
        tokens = torch.randn(sum(counts), DIM, generator=generator)
        gradient = torch.randn(sum(counts), DIM, generator=generator)
        torch.testing.assert_close(*(method(tokens, weights, counts) for method, weights in contestants))

        def timed(method, weights, backward: bool, tokens=tokens, gradient=gradient, counts=counts):
            def run() -> tuple[float]:
                begin = time.process_time()
                with torch.set_grad_enabled(backward):
                    out = method(tokens, weights, counts)
                    if backward:
                        torch.autograd.grad(out, weights, gradient)
                return (time.process_time() - begin,)

            return run

        for backward in (False, True):
            calls = {m.__name__: timed(m, weights, backward) for m, weights in contestants}
            found = in_turn(calls, options.rounds, np.random.default_rng(0))
            ratio = median_ratio(found["grouped"][:, 0], found["split"][:, 0])
            what = "forward and backward" if backward else "forward"
            print(
                f"{count:4d} tokens per expert, {what:20s} split {1e3 * np.median(found['split']):7.2f} ms  "
                f"grouped / split {ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]",
                flush=True,
            )


if __name__ == "__main__":
    main()
