"""What inference costs in each variant, as ratios to EM: `python -m benchmarks.efficiency PRESET OUT.json`.

All contestants have the preset's backbone and get the same token ids, drawn at random, without padding. So a ratio is
the model's; the tokens that an instruction adds to a text are counted apart, and so is how the random routers of
token-level routing spread the tokens over the experts.

In each round every contestant makes its forward passes, in an order that the round draws. Time is CPU time of the
process on the CPU, so that other work on the machine matters less, and that between CUDA events on a GPU.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from study.presets import load_preset
from study.runs.provenance import environment
from tsembed.encoder.text import Encoder
from tsembed.files import write_text
from tsembed.mote.families import FAMILIES
from tsembed.mote.offload import Offloaded
from tsembed.mote.token_routing import TokenRouted, routing_record
from tsembed.settings import Backbone
from tsembed.tasks import INSTRUCTIONS, ROUTES

from .contestants import ROUTE, Contestant, blocks, contestants, parameters
from .timing import Ratio, in_turn, median_ratio

OTHER_ROUTE = "search_document"  # whose expert a switch brings in
PARTS = ("model", "feed-forward")  # the expert's modules of all blocks, routing included; EM has the same modules


class Workload(NamedTuple):
    """A batch of token ids, and how much of it is measured."""

    texts: int
    tokens: int  # of each text
    passes: int  # in one measurement
    rounds: int  # for each of those asked for: what takes less time is measured more often


WORKLOADS = {
    "query": Workload(1, 16, 3, 3),
    "batch": Workload(32, 64, 1, 1),  # of mixed routes: 512 tokens per expert
    "small batch": Workload(16, 16, 1, 2),  # 64 tokens per expert: the unfavourable one
}


class Bar(NamedTuple):
    """What a contestant's quantity may be at most, as a ratio to EM's (`switch`: in milliseconds)."""

    contestant: str
    quantity: str  # of `PARTS`, or weights, peak, switch
    workload: str
    at_most: float


BARS = (
    Bar("mote", "model", "query", 1.02),
    Bar("mote", "model", "batch", 1.02),
    Bar("mixed", "model", "batch", 1.05),
    Bar("tlr", "feed-forward", "batch", 1.10),
    Bar("offloaded", "weights", "batch", 1.01),
    Bar("offloaded", "peak", "batch", 1.03),
    Bar("offloaded", "switch", "batch", 5.0),
)


@torch.inference_mode()
def times(found: Mapping[str, Contestant], rounds: int) -> list[dict[str, Any]]:
    """Median seconds of a pass and ratio to EM, per workload, contestant and part of the model.

    Mixed routes are left out where the batch has fewer texts than routes.
    """
    rows = []
    for name, work in WORKLOADS.items():
        taking_part = {n: c for n, c in found.items() if not c.mixed or work.texts >= len(ROUTES)}
        calls = {n: _measured(c, work) for n, c in taking_part.items()}
        seconds = in_turn(calls, rounds * work.rounds, np.random.default_rng(0))  # contestant -> (rounds, parts)
        for contestant, values in seconds.items():
            for part, taken, base in zip(PARTS, values.T, seconds["em"].T, strict=True):
                rows.append(
                    {
                        "workload": name,
                        "contestant": contestant,
                        "part": part,
                        "seconds": float(np.median(taken)),
                        "texts_per_s": work.texts / float(np.median(taken)),
                        "rounds": len(taken),
                        **median_ratio(taken, base)._asdict(),
                    }
                )
        print(f"{name}: {rounds * work.rounds} rounds of {len(calls)} contestants", flush=True)
    return rows


@torch.inference_mode()
def sizes(found: Mapping[str, Contestant]) -> list[dict[str, Any]]:
    """Parameters, bytes of weights and peak bytes of a pass over the batch, per contestant."""
    rows = []
    for name, one in found.items():
        weights = sum(t.nbytes for t in [*one.encoder.parameters(), *one.encoder.buffers()])
        call = _pass(one, WORKLOADS["batch"])
        total, active = parameters(one.encoder.backbone)
        rows.append(
            {
                "contestant": name,
                "label": one.label,
                "total_parameters": total,
                "active_parameters": active,
                "weight_bytes": weights,
                "peak_bytes": weights + activations(call, one.encoder.device),
            }
        )
    return rows


def activations(call, device: torch.device) -> int:
    """Most bytes of tensors that are alive at once during a call, those that were there before left out."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    events = profiler.profiler.kineto_results.events()
    changes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
    return max(0, int(np.cumsum([n for _, n in sorted(changes, key=lambda c: c[0])]).max()))


@torch.inference_mode()
def spread(found: Mapping[str, Contestant]) -> dict[str, tuple[float, float]]:
    """Smallest and largest share of an expert in a block of the batch's tokens, per contestant with routers."""
    shares = {}
    for name, one in found.items():
        if isinstance(one.encoder.backbone, TokenRouted):
            with routing_record() as record:
                _pass(one, WORKLOADS["batch"])()
            counts = [torch.bincount(r.chosen.flatten(), minlength=one.encoder.backbone.num_experts) for r in record]
            parts = torch.stack(counts) / record[0].chosen.numel()  # (blocks, experts)
            shares[name] = (float(parts.min()), float(parts.max()))
    return shares


def switch_milliseconds(model: Offloaded, switches: int = 10) -> float:
    """Median time of a change of the active expert, read from the file: CPU time on the CPU, wall time on a GPU."""
    clock = time.process_time if next(model.parameters()).device.type == "cpu" else time.perf_counter
    taken = []
    for route in [OTHER_ROUTE, ROUTE] * (switches // 2):
        begin = clock()
        model.switch(route)
        taken.append(1e3 * (clock() - begin))
    return float(np.median(taken))


def bars(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every bar with what was measured and whether it holds: by the median, and whether beyond noise."""
    size = {row["contestant"]: row for row in result["sizes"]}
    found = []
    for bar in BARS:
        if bar.quantity in PARTS:
            key = {"contestant": bar.contestant, "part": bar.quantity, "workload": bar.workload}
            value = next(Ratio(r["median"], r["low"], r["high"]) for r in result["times"] if key.items() <= r.items())
        elif bar.quantity == "switch":
            value = Ratio(*[result["switch_milliseconds"]] * 3)
        else:
            quantity = {"weights": "weight_bytes", "peak": "peak_bytes"}[bar.quantity]
            value = Ratio(*[size[bar.contestant][quantity] / size["em"][quantity]] * 3)
        clear = value.high <= bar.at_most or value.low > bar.at_most
        found.append({**bar._asdict(), **value._asdict(), "holds": value.median <= bar.at_most, "beyond_noise": clear})
    return found


def measure(backbone: Backbone, rounds: int, device: str = "cpu") -> dict[str, Any]:
    """The whole result, as OUT.json holds it."""
    with tempfile.TemporaryDirectory() as folder:
        found = contestants(backbone, Path(folder), device)
        em = found["em"].encoder
        result = {
            "device": device,
            "clock": "CPU time of the process" if device == "cpu" else "CUDA events",
            "environment": environment(),
            "rounds": rounds,
            "backbone": backbone.name,
            "blocks": len(blocks(em.backbone)),
            "instruction_tokens": {r: len(em.tokenizer.tokenize(text)) for r, text in INSTRUCTIONS.items()},
            "workloads": {name: work._asdict() for name, work in WORKLOADS.items()},
            "spread": spread(found),
            "sizes": sizes(found),
            "times": times(found, rounds),
            "switch_milliseconds": switch_milliseconds(found["offloaded"].encoder.backbone),
        }
    return result | {"bars": bars(result)}


def _pass(one: Contestant, work: Workload):
    """One forward pass over the workload, as a call."""
    device, vocabulary = one.encoder.device, one.encoder.backbone.config.vocab_size
    drawn = torch.randint(vocabulary, (work.texts, work.tokens), generator=torch.Generator().manual_seed(0))
    ids, mask = drawn.to(device), torch.ones_like(drawn).to(device)
    routes: str | Tensor = torch.arange(work.texts) % len(ROUTES) if one.mixed else ROUTE
    return lambda: one.encoder(ids, mask, routes)


def _measured(one: Contestant, work: Workload):
    """A call that measures seconds of a pass: of the model, and of the feed-forward part of all blocks."""
    call = _pass(one, work)

    def run() -> tuple[float, float]:
        with _feed_forward_marks(one.encoder) as marks:
            begin = _mark(one.encoder.device)
            for _ in range(work.passes):
                call()
            end = _mark(one.encoder.device)
        within = sum(_between(a, b) for a, b in zip(marks[::2], marks[1::2], strict=True))
        return _between(begin, end) / work.passes, within / work.passes

    return run


@contextmanager
def _feed_forward_marks(encoder: Encoder) -> Iterator[list]:
    """A list that the passes fill with the begin and end of each block's expert modules."""
    marks: list = []
    backbone, device = encoder.backbone, encoder.device
    names = FAMILIES[backbone.config.model_type].expert
    handles = []
    for block in blocks(backbone):
        first, last = block.get_submodule(names[0]), block.get_submodule(names[-1])
        handles.append(first.register_forward_pre_hook(lambda *_: marks.append(_mark(device))))
        handles.append(last.register_forward_hook(lambda *_: marks.append(_mark(device))))
    try:
        yield marks
    finally:
        for handle in handles:
            handle.remove()


def _mark(device: torch.device):
    if device.type == "cpu":
        return time.process_time()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _between(begin, end) -> float:
    if isinstance(begin, float):
        return end - begin
    end.synchronize()
    return begin.elapsed_time(end) / 1e3


def main() -> None:
    """Measure the contestants of a preset and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset")
    parser.add_argument("out", type=Path)
    parser.add_argument("--rounds", type=int, default=6, help="at most; one for two training steps of the preset")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    preset = load_preset(options.preset)
    rounds = min(options.rounds, max(2, (preset.training.steps or 2 * options.rounds) // 2))
    result = {"preset": preset.name} | measure(preset.backbone, rounds, options.device)
    write_text(options.out, json.dumps(result, indent=1) + "\n")
    for row in result["times"]:
        ratio = f"{row['median']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
        print(f"{row['workload']:12} {row['part']:13} {row['contestant']:10} {1e3 * row['seconds']:8.2f} ms  {ratio}")
    for bar in result["bars"]:
        what = f"{bar['contestant']}, {bar['quantity']}, {bar['workload']}"
        print(f"{what:34} {bar['median']:.3f}  bar {bar['at_most']:.2f}: {'holds' if bar['holds'] else 'MISSED'}")


if __name__ == "__main__":
    main()
