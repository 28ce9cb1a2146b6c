"""What one more forward pass costs, in tokens: `python -m benchmarks.pass_cost [--device cuda] [--rounds N]`.

`FORWARD_PASS_COST_TOKENS` of tsembed/encoder/chunks.py states what this prints for a CPU: all-MiniLM-L6-v2 embeds some
sequences of 32 tokens, without and with a backward pass, in an order that each round draws. The backward pass leaves
out the table of words, which has one gradient a step whatever the split (encoder/words.py). The cost is that of the
shortest pass beside its tokens, which count as much as those that the longest pass has more than the one before. Time
is CPU time of the process on one thread, so that other work on the machine matters less; with several threads, and on
an accelerator, wall time.

The last lines are what `encoder/pass_cost.py` measures by itself where the setting is "auto".
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from tsembed.encoder import pass_cost
from tsembed.encoder.build import build
from tsembed.encoder.chunks import FORWARD_PASS_COST_TOKENS, Chunk
from tsembed.encoder.text import Encoder
from tsembed.settings import Backbone, Variant

from .encoding import MINILM
from .timing import in_turn, machine

ROUTE, TOKENS = "clustering", 32
ROWS = {"cpu": (1, 8, 24), "accelerator": (1, 128, 512)}
KINDS = {"forward, as in encoding": False, "forward and backward, as in training": True}


def contestants(encoder: Encoder, rows: tuple[int, ...], backward: bool) -> dict[int, Callable[[], tuple[float]]]:
    """Tokens of a pass -> a call that makes it and returns its seconds."""
    return {count * TOKENS: _measured(encoder, count, backward) for count in rows}


def _measured(encoder: Encoder, rows: int, backward: bool) -> Callable[[], tuple[float]]:
    drawn = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, encoder.backbone.config.vocab_size, (rows, TOKENS), generator=drawn)
    chunk = Chunk(ids, torch.ones_like(ids), ROUTE, torch.arange(rows))
    on_cpu = encoder.device.type == "cpu"
    clock = time.process_time if on_cpu and torch.get_num_threads() == 1 else time.perf_counter

    def run() -> tuple[float]:
        begin = clock()
        with torch.set_grad_enabled(backward):
            vectors = encoder.embed_chunk(chunk)
            if backward:
                vectors.square().sum().backward()
        if not on_cpu:
            torch.accelerator.synchronize(encoder.device)
        return (clock() - begin,)

    return run


def measure(encoder: Encoder, rounds: int, backward: bool) -> np.ndarray:
    """The cost in tokens that each round found."""
    rows = ROWS["cpu" if encoder.device.type == "cpu" else "accelerator"]
    seconds = in_turn(contestants(encoder, rows, backward), rounds, np.random.default_rng(0))
    times = np.concatenate(list(seconds.values()), axis=1)  # (rounds, sizes)
    return np.array([pass_cost.fixed_cost(list(seconds), row) for row in times])


def main() -> None:
    """Print the cost of a pass with its quartiles over rounds, and what is measured where the setting is "auto"."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    encoder = build(Backbone(name=MINILM, dropout=0.0), Variant(label="EM", instruction=False)).to(options.device)
    encoder.word_embeddings.requires_grad_(False)
    print(f"{machine()}; device {options.device}, fp32, {options.rounds} rounds", flush=True)
    for name, backward in KINDS.items():
        low, middle, high = np.quantile(measure(encoder, options.rounds, backward), [0.25, 0.5, 0.75])
        print(f"{name:38s} {middle:8.1f} tokens, quartiles {low:.1f} to {high:.1f}")
    print(f"setting: {FORWARD_PASS_COST_TOKENS.get(torch.device(options.device).type, 'auto')}")
    if options.device != "cpu":
        for precision in ("fp32", "bf16"):
            print(f"measured by itself, {precision}: {pass_cost.of_encoder(encoder, ROUTE, precision)} tokens")


if __name__ == "__main__":
    main()
