"""A training step with MoE-LoRA against PEFT's LoRA and a loop over experts: `python -m benchmarks.moe_lora [OUT]`.

All contestants adapt the same linear layers of a random BERT of the size of all-MiniLM-L6-v2 (or, with --width 768, of
three blocks of BERT-base: the wider the layers, the less an adapter weighs) and train on the same token ids: forward,
a loss on the mean of the hidden states, backward, AdamW on the adapter. In each round every contestant makes its steps,
in an order that the round draws; time is CPU time of the process on one thread, on a GPU wall time. Time does not
depend on the weights' values, so none is trained before. The MFU counts the experts of an adapter that are not used.

LoRA of rank experts * r has the parameters of the experts (matched parameters), LoRA of rank r the size of one.
"""

import argparse
import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn.functional import linear

from study.runs.provenance import environment
from tsembed.encoder.adapters import quiet_peft
from tsembed.moe_lora.config import MoeLoraConfig
from tsembed.moe_lora.layer import MoeLoraLinear
from tsembed.moe_lora.model import TARGET_MODULES
from tsembed.moe_lora.routing import routing_record, signatures

from . import mfu
from .timing import in_turn, machine, median_ratio

EXPERTS, RANK, ALPHA = 4, 16, 64
VOCABULARY = 1000
BLOCKS = {384: 6, 768: 3}  # by width


class Bar(NamedTuple):
    """Contestants whose ratio of times has a bound."""

    above: str
    below: str
    bound: float
    at_most: bool  # else at least


BARS = (
    Bar("moe", "lora_matched", 1.03, True),
    Bar("moe", "lora", 1.18, True),
    Bar("loop", "moe", 1.20, False),
)
LABELS = {
    "lora": f"PEFT LoRA, rank {RANK}",
    "lora_matched": f"PEFT LoRA, rank {EXPERTS * RANK}",
    "moe": f"MoE-LoRA, {EXPERTS} x {RANK}, stacked",
    "recorded": "the same, with its routing signatures",
    "top_2": "the same, top-2",
    "sequence": "the same, router per sequence",
    "task": "the same, router by task, one route",
    "loop": f"MoE-LoRA, {EXPERTS} x {RANK}, loop over experts",
}


class LoopLinear(MoeLoraLinear):
    """The same layer with a pair of GEMMs per expert, gated on the output, as published implementations have it."""

    def _add_experts(self, result: Tensor, x: Tensor, adapter: str, *, in_place: bool) -> Tensor:
        config = self.settings[adapter]
        gates = linear(x, self.moe_lora_router[adapter]).softmax(-1)  # (..., experts)
        A, B = self.moe_lora_A[adapter].split(config.r), self.moe_lora_B[adapter].split(config.r, dim=1)
        result = result.view(*x.shape[:-1], -1)
        for e in range(config.num_experts):
            result = result + gates[..., e : e + 1] * linear(linear(x, A[e]), B[e]) * config.scaling
        return result.flatten(0, -2)


def backbone(width: int) -> nn.Module:
    """A random BERT of this width, without dropout and with a small vocabulary."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        num_hidden_layers=BLOCKS[width],
        num_attention_heads=12,
        intermediate_size=4 * width,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return BertModel(config, add_pooling_layer=False)


def contestants(width: int) -> dict[str, nn.Module]:
    """All adapted models by name."""
    targets = list(TARGET_MODULES["bert"])

    def lora(rank: int) -> nn.Module:
        return get_peft_model(backbone(width), LoraConfig(r=rank, lora_alpha=ALPHA, target_modules=targets))

    def moe(**settings) -> nn.Module:
        config = MoeLoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=targets, **settings)
        return get_peft_model(backbone(width), config)

    found = {
        "lora": lora(RANK),
        "lora_matched": lora(EXPERTS * RANK),
        "moe": moe(num_experts=EXPERTS),
        "recorded": moe(num_experts=EXPERTS),
        "top_2": moe(num_experts=EXPERTS, top_k=2),
        "sequence": moe(num_experts=EXPERTS, router="sequence"),
        "task": moe(router="task", routes=["query", *(f"task {e}" for e in range(1, EXPERTS))]),
        "loop": moe(num_experts=EXPERTS),
    }
    for module in found["loop"].modules():
        if isinstance(module, MoeLoraLinear):
            module.__class__ = LoopLinear
    for model in found.values():
        model.train()
    return found


def timed_step(name: str, model: nn.Module, inputs: dict[str, Tensor], steps: int) -> Callable[[], list[float]]:
    """A call that makes the steps and returns their CPU seconds."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)
    routes = {"routes": "query"} if name == "task" else {}

    def step() -> None:
        with routing_record() if name == "recorded" else nullcontext() as record:
            hidden = model(**inputs, **routes).last_hidden_state
        if record is not None:
            signatures(record)
        hidden.mean(1).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    on_cpu = inputs["input_ids"].device.type == "cpu"
    clock = time.process_time if on_cpu else time.perf_counter

    def measure() -> list[float]:
        begin = clock()
        for _ in range(steps):
            step()
        if not on_cpu:
            torch.cuda.synchronize()
        return [(clock() - begin) / steps]

    return measure


def sizes(model: nn.Module) -> dict[str, int]:
    """Parameters and bytes that are trained."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return {"parameters": sum(p.numel() for p in trained), "bytes": sum(p.nbytes for p in trained)}


def main() -> None:
    """Measure all adapters, print a table and write the figures where a file is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path, help="JSON with all figures")
    parser.add_argument("--width", type=int, default=384, choices=list(BLOCKS))
    parser.add_argument("--texts", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--steps", type=int, default=2, help="in one measurement")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    mfu.add_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    peak = mfu.peak(options.device, measure=options.measure_peak)
    ids = torch.randint(VOCABULARY, (options.texts, options.tokens), generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": ids.to(options.device), "attention_mask": torch.ones_like(ids).to(options.device)}
    with quiet_peft():
        models = {name: model.to(options.device) for name, model in contestants(options.width).items()}
    calls = {name: timed_step(name, model, inputs, options.steps) for name, model in models.items()}
    seconds = {name: row[:, 0] for name, row in in_turn(calls, options.rounds, np.random.default_rng(0)).items()}

    print(machine())
    size = f"{BLOCKS[options.width]} blocks of width {options.width}"
    print(f"step on {options.texts} x {options.tokens} tokens, {size}, one thread, fp32, {options.rounds} rounds")
    rows = []
    for name, taken in seconds.items():
        ratio = median_ratio(taken, seconds["lora"])
        done = mfu.operations(ids.numel(), **mfu.weights(models[name]))
        rows.append(
            {
                "contestant": name,
                "label": LABELS[name],
                "seconds": float(np.median(taken)),
                **sizes(models[name]),
                "ratio_to_lora": ratio._asdict(),
                "mfu": mfu.share(done, float(np.median(taken)), peak),
            }
        )
        print(
            f"{LABELS[name]:40s} {1e3 * rows[-1]['seconds']:7.1f} ms  {ratio.median:.3f} [{ratio.low:.3f}, "
            f"{ratio.high:.3f}] of rank {RANK}  {rows[-1]['parameters']:>9,} parameters  "
            f"{rows[-1]['bytes'] / 1e6:.2f} MB"
        )
        print(mfu.shown(LABELS[name], done, rows[-1]["seconds"], peak))
    bars = []
    for bar in BARS:
        ratio = median_ratio(seconds[bar.above], seconds[bar.below])
        holds = ratio.median <= bar.bound if bar.at_most else ratio.median >= bar.bound
        bars.append({**bar._asdict(), **ratio._asdict(), "holds": bool(holds)})
        print(
            f"{bar.above} / {bar.below}: {ratio.median:.3f} [{ratio.low:.3f}, {ratio.high:.3f}], bar "
            f"{'<=' if bar.at_most else '>='} {bar.bound}: {'holds' if holds else 'MISSED'}"
        )
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        report = {
            "environment": environment(),
            "options": {k: v for k, v in vars(options).items() if k != "out"},
            "contestants": rows,
            "bars": bars,
        }
        options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
