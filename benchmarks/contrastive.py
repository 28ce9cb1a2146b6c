"""What EANS, the gradient cache and chunked InfoNCE cost: `python -m benchmarks.contrastive [OUT.json]`.

The models have the size of all-MiniLM-L6-v2 and random weights; tokens and embeddings are random too. Time is CPU time
of this process, in rounds in which all contestants take part. Memory is the most bytes of tensors alive at once, those
of before the step left out, as torch's allocator counts them; beside it what the system counts (VmHWM). Each size of
the gradient cache is measured in a process of its own, after a first step, so that the gradients are there already.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tsembed.contrastive.eans import negative_weights
from tsembed.contrastive.grad_cache import cached_backward
from tsembed.contrastive.losses import info_nce, negatives_of

from . import mfu
from .efficiency import activations
from .offload import memory
from .timing import Ratio, in_turn, machine, median_ratio

TOKENS = {"queries": 32, "documents": 64}  # of each text
VOCABULARY = 1000  # of the tokens
TEMPERATURE = 0.02
LAYERS, EXPERTS = 24, 4  # of a routing signature: four adapted linear maps in each of the six blocks
CPU = torch.device("cpu")
BARS = {
    "eans, time of a step": 1.003,
    "gradient cache, time of a step": 1.35,
    "gradient cache, memory": 1.10,
    "chunked InfoNCE, time": 1.0,
    "chunked InfoNCE, memory": 0.25,
}


class Row(NamedTuple):
    """One comparison: the quantity of ours and of what it is compared with, and their ratio with its interval."""

    name: str
    what: str
    ours: float
    base: float
    ratio: Ratio

    def line(self) -> str:
        """Both medians, their ratio with its interval and, where there is a bar, whether it holds, in one line."""
        verdict = ""
        if (bar := BARS.get(self.name)) is not None:
            verdict = f"  bar <= {bar}: {'holds' if self.ratio.median <= bar else 'MISSED'}"
        unit, factor = ("MB", 1e-6) if "memory" in self.name else ("ms", 1e3)
        return (
            f"{self.name:46s} {factor * self.ours:9.2f} {unit} of {factor * self.base:9.2f} {unit}  ratio "
            f"{self.ratio.median:.4f} [{self.ratio.low:.4f}, {self.ratio.high:.4f}]{verdict}  ({self.what})"
        )


def minilm(vocabulary: int = 30522) -> nn.Module:
    """A random BERT of the size of all-MiniLM-L6-v2, in training mode, dropout included."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=vocabulary, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    return BertModel(config, add_pooling_layer=False).train()


def tokens(pairs: int, part: float = 1.0) -> dict[str, Tensor]:
    """Random token ids of both sides, of a part of the usual length; no padding."""
    drawn = torch.Generator().manual_seed(0)
    return {
        side: torch.randint(VOCABULARY, (pairs, round(part * seq)), generator=drawn) for side, seq in TOKENS.items()
    }


def embed(model: nn.Module, chunk: dict[str, Tensor]) -> dict[str, Tensor]:
    """Unit-norm mean-pooled embeddings of both sides."""
    return {s: nn.functional.normalize(model(input_ids=ids)[0].mean(1), dim=-1) for s, ids in chunk.items()}


def contrast(outputs: dict[str, Tensor]) -> Tensor:
    """InfoNCE in chunks: the whole matrix of a large batch would stand beside the last chunk's activations."""
    return info_nce(outputs["queries"], outputs["documents"], temperature=TEMPERATURE, chunk=64)


def cached_step(model: nn.Module, batch: dict[str, Tensor], size: int) -> None:
    """Forward and backward passes with a gradient cache, in chunks of `size` pairs."""
    cut = {side: ids.split(size) for side, ids in batch.items()}
    chunks = [dict(zip(cut, parts, strict=True)) for parts in zip(*cut.values(), strict=True)]
    cached_backward(lambda chunk: embed(model, chunk), chunks, contrast)


def seconds(call: Callable[[], Any], repeats: int = 1) -> Callable[[], tuple[float]]:
    """A contestant for `timing.in_turn`: mean CPU seconds of a call."""

    def run() -> tuple[float]:
        begin = time.process_time()
        for _ in range(repeats):
            call()
        return ((time.process_time() - begin) / repeats,)

    return run


def compared(name: str, what: str, found: dict[str, np.ndarray], ours: str, base: str) -> Row:
    """The comparison of two contestants' seconds: both medians, and the interval of the rounds' ratio."""
    a, b = found[ours][:, 0], found[base][:, 0]
    return Row(name, what, float(np.median(a)), float(np.median(b)), median_ratio(a, b))


def exactly(name: str, what: str, ours: int, base: int) -> Row:
    """Of quantities that do not vary: counted bytes."""
    return Row(name, what, float(ours), float(base), Ratio(*[ours / base] * 3))


def eans(pairs: int, rounds: int) -> list[Row]:
    """What EANS adds to a step of MoE-LoRA: the record of the routers and signatures of both sides, and the weights.

    It adds some thousandths of a step, less than two steps differ by chance. So what it adds is timed alone, many times
    a round, on gates like those that the routers compute in any case, and the ratio is (step + added) / step. Whole
    steps with and without stand beside it.
    """
    from peft import get_peft_model

    from tsembed.moe_lora.config import MoeLoraConfig
    from tsembed.moe_lora.context import forward_pass
    from tsembed.moe_lora.routing import LayerRouting, routing_record, signatures

    targets = ["query", "key", "value", "attention.output.dense"]
    config = MoeLoraConfig(num_experts=EXPERTS, r=16, target_modules=targets)
    model = get_peft_model(minilm(), config).train()
    batch, groups = tokens(pairs), torch.arange(pairs)[:, None]
    drawn = torch.Generator().manual_seed(1)
    gates = {
        side: [torch.rand(*ids.shape, EXPERTS, generator=drawn).softmax(-1).requires_grad_() for _ in range(LAYERS)]
        for side, ids in batch.items()
    }

    def weigh(routed: list[Tensor]) -> Tensor:
        return negative_weights(*(r.detach() for r in routed), beta=5.0, negatives=negatives_of(groups, groups))

    def added() -> None:
        routed = []
        for side, layers in gates.items():
            forward = forward_pass(torch.ones_like(batch[side]), {})
            record = [LayerRouting(str(k), g, g, config, forward) for k, g in enumerate(layers)]
            routed.append(signatures(record))
        weigh(routed)

    def step(with_eans: bool) -> None:
        model.zero_grad()
        outputs, routed = {}, []
        for side, ids in batch.items():
            with routing_record() if with_eans else nullcontext() as record:
                outputs |= embed(model, {side: ids})
            if with_eans:
                assert len(record) == LAYERS
                routed.append(signatures(record))
        weights = weigh(routed) if with_eans else negatives_of(groups, groups).float()
        loss = info_nce(*outputs.values(), temperature=TEMPERATURE, negative_weights=weights)
        loss.backward()

    calls = {"without": lambda: step(False), "with": lambda: step(True)}
    timed = {name: seconds(call) for name, call in calls.items()} | {"added": seconds(added, 20)}
    found = in_turn(timed, rounds, np.random.default_rng(0))
    found["sum"] = found["without"] + found["added"]
    what = f"{pairs} pairs, {LAYERS} layers x {EXPERTS} experts"
    return [
        compared("eans, time of a step", what, found, "sum", "without"),
        compared("eans, time of a step, as two whole steps", what, found, "with", "without"),
    ]


def cache_time(pairs: int, size: int, rounds: int, peak: float | None = None) -> Row:
    """A step with a gradient cache to a plain one, all weights trained, without the optimiser's part."""
    model, batch = minilm(), tokens(pairs)
    done = mfu.operations(sum(ids.numel() for ids in batch.values()), **mfu.weights(model))
    calls = {
        "plain": seconds(lambda: contrast(embed(model, batch)).backward()),
        "cached": seconds(lambda: cached_step(model, batch, size)),
    }
    found = in_turn(calls, rounds, np.random.default_rng(0))
    for name, taken in found.items():
        print(mfu.shown(f"{name} step", done, float(np.median(taken)), peak))
    return compared("gradient cache, time of a step", f"{pairs} pairs, chunks of {size}", found, "cached", "plain")


def cache_memory(few: int, many: int, size: int) -> list[Row]:
    """Peak of a step of many pairs to that of few, in chunks of the same size, without the cached embeddings.

    During the second pass, where the peak is, what is kept of the embeddings are their gradients.
    """
    found = {}
    for pairs in (few, many):
        command = [sys.executable, "-m", "benchmarks.contrastive", "--step-of", str(pairs), "--chunk", str(size)]
        found[pairs] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    what = f"{many} pairs to {few}, chunks of {size}"
    net = {pairs: row["allocated"] - row["embeddings"] for pairs, row in found.items()}
    return [
        exactly("gradient cache, memory", what, net[many], net[few]),
        exactly("gradient cache, memory, embeddings included", what, *(found[n]["allocated"] for n in (many, few))),
        exactly("gradient cache, memory (VmHWM)", what, *(found[n]["resident"] for n in (many, few))),
        exactly("plain step, memory", f"{few} pairs, to cached", found[few]["plain"], found[few]["allocated"]),
    ]


def step_memory(pairs: int, size: int) -> dict[str, int]:
    """Bytes at the peak of a step of so many pairs, in this process; of a plain step too where it fits."""
    # A small vocabulary, beside whose gradient the activations show; shorter texts, as there are many.
    model, batch = minilm(VOCABULARY), tokens(pairs, part=0.5)
    cached_step(model, {side: ids[: 2 * size] for side, ids in batch.items()}, size)  # makes the gradients
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    cached_step(model, batch, size)
    row = {"resident": memory("VmHWM") - before, "embeddings": 2 * pairs * model.config.hidden_size * 4}
    row["allocated"] = activations(lambda: cached_step(model, batch, size), CPU)
    row["plain"] = activations(lambda: contrast(embed(model, batch)).backward(), CPU) if pairs <= 64 else 0
    return row


def chunked(batch: int, dim: int, chunk: int, rounds: int) -> list[Row]:
    """Chunked InfoNCE to the whole matrix: time and memory of loss and gradients, without and with EANS weights."""
    drawn = torch.Generator().manual_seed(2)
    queries, documents = (
        nn.functional.normalize(torch.randn(batch, dim, generator=drawn), dim=1).requires_grad_() for _ in range(2)
    )
    routed = [torch.randn(batch, LAYERS, EXPERTS, generator=drawn).softmax(-1) for _ in range(2)]
    numbers = torch.arange(batch)

    def weights(rows: slice) -> Tensor:
        negatives = numbers[rows, None] != numbers
        return negative_weights(routed[0][rows], routed[1], beta=5.0, negatives=negatives)

    def call(chunk: int | None, weigh) -> Callable[[], Any]:
        def run() -> tuple[Tensor, Tensor]:
            loss = info_nce(queries, documents, temperature=TEMPERATURE, negative_weights=weigh, chunk=chunk)
            return torch.autograd.grad(loss, (queries, documents))

        return run

    rows, what = [], f"{batch} x {batch}, dim {dim}, {chunk} queries at a time"
    for name, weigh in (("chunked InfoNCE", None), ("chunked InfoNCE with EANS", weights)):
        calls = {"whole": call(None, weigh), "chunks": call(chunk, weigh)}
        for ours, theirs in zip(calls["chunks"](), calls["whole"](), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-3)
        found = in_turn({n: seconds(c) for n, c in calls.items()}, rounds, np.random.default_rng(0))
        rows.append(compared(f"{name}, time", what, found, "chunks", "whole"))
        rows.append(exactly(f"{name}, memory", what, *(activations(calls[n], CPU) for n in ("chunks", "whole"))))
    return rows


def main() -> None:
    """Measure and print all comparisons, and write them as JSON where a file is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", help="write the rows there, as JSON")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=64, help="of a step")
    parser.add_argument("--many", type=int, default=1024, help="pairs of the large step")
    parser.add_argument("--chunk", type=int, default=16, help="pairs at a time of the gradient cache")
    parser.add_argument("--batch", type=int, default=6144, help="of InfoNCE alone")
    parser.add_argument("--step-of", type=int, metavar="PAIRS", help="measure the memory of one step, in this process")
    mfu.add_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    peak = mfu.peak("cpu", measure=options.measure_peak)
    if options.step_of:
        print(json.dumps(step_memory(options.step_of, options.chunk)))
        return
    head = machine()
    print(f"{head}; {options.rounds} rounds")
    parts: list[Callable[[], list[Row]]] = [
        lambda: eans(options.pairs, options.rounds),
        lambda: [cache_time(options.pairs, options.chunk, options.rounds, peak)],
        lambda: cache_memory(options.pairs, options.many, options.chunk),
        lambda: chunked(options.batch, 768, 512, options.rounds),
    ]
    rows = []
    for part in parts:
        for row in part():
            print(row.line(), flush=True)
            rows.append({**row._asdict(), "ratio": row.ratio._asdict(), "bar": BARS.get(row.name)})
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({"machine": head, "rounds": options.rounds, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
