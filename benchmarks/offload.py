"""Memory and switch time of offloaded experts on the CPU, on all-MiniLM-L6-v2: `python -m benchmarks.offload`.

Every contestant runs in a process of its own: load an encoder, read all its weights, embed some texts under every route
in turn. Its memory is the peak of the process (RSS) over what it was after the imports; ratios are to a dense encoder.
All weights are read because a dense encoder maps its file: rows of the vocabulary that no text uses would not count.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from tsembed.encoder.build import build
from tsembed.encoder.text import Encoder
from tsembed.mote.offload import load_offloaded, offload
from tsembed.settings import Backbone, Variant
from tsembed.tasks import ROUTES

from .timing import machine

CONTESTANTS = ("dense", "all experts", "offloaded, cpu", "offloaded, file")
TEXTS = ["a question about embeddings and their tasks " * n for n in (1, 2, 4, 6)]
BARS = {"weights": 1.01, "peak": 1.03, "switch": 5.0}  # of the file form; ratios to dense, and ms


def main() -> None:
    """Measure dense and offloaded encoders, each in a process of its own, and print them beside their bars."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--switches", type=int, default=200)
    parser.add_argument("--contestant", nargs=2, metavar=("NAME", "FOLDER"), help="measure one, in this process")
    options = parser.parse_args()
    if options.contestant:
        print(json.dumps(measure(options.contestant[0], Path(options.contestant[1]), options.switches)))
        return
    with tempfile.TemporaryDirectory() as folder:
        minilm = Backbone(name="embedded:all-MiniLM-L6-v2")
        build(minilm, Variant(label="IC")).save(Path(folder) / "dense")
        build(minilm, Variant(label="MoTE", experts={r: r for r in ROUTES})).save(Path(folder) / "mote")
        command = [sys.executable, "-m", "benchmarks.offload", "--switches", str(options.switches), "--contestant"]
        found = {
            name: json.loads(subprocess.run([*command, name, folder], check=True, stdout=subprocess.PIPE).stdout)
            for name in CONTESTANTS
        }
    print(machine())
    dense = found["dense"]
    for name, row in found.items():
        print(
            f"{name:16s} weights {row['weights'] / 1e6:6.1f} MB ({row['weights'] / dense['weights']:.3f})  peak "
            f"{row['peak'] / 1e6:6.1f} MB ({row['peak'] / dense['peak']:.3f})" + _switches(row)
        )
    file = found["offloaded, file"]
    values = {"weights": file["weights"] / dense["weights"], "peak": file["peak"] / dense["peak"]}
    for key, value in (values | {"switch": float(np.median(file["wall"]))}).items():
        print(f"offloaded, file: {key} {value:.3f}, bar <= {BARS[key]}: {'holds' if value <= BARS[key] else 'MISSED'}")


def measure(name: str, folder: Path, switches: int) -> dict:
    """Bytes of the weights, peak memory in bytes, and ms per switch: wall clock and this process's CPU time."""
    import transformers.models.bert.modeling_bert  # noqa: F401  so that no contestant's memory has it

    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
    before = memory("VmRSS")
    encoder = Encoder.load(folder / "dense") if name == "dense" else None
    if name in ("all experts", "offloaded, cpu"):
        encoder = Encoder.load(folder / "mote")
    if name == "offloaded, cpu":
        encoder.backbone = offload(encoder.backbone, ROUTES[0])
    if name == "offloaded, file":
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder / "mote")
        encoder = Encoder(load_offloaded(folder / "mote", ROUTES[0]), tokenizer).eval()
    for weight in encoder.backbone.parameters():
        weight.sum()
    for route in ROUTES:
        encoder.encode(TEXTS, route)
    row = {
        "weights": sum(p.nbytes for p in encoder.backbone.parameters()),
        "peak": memory("VmHWM") - before,
        "wall": [],
        "cpu": [],
    }
    if name.startswith("offloaded"):
        torch.set_num_threads(1)
        for turn in range(switches):
            wall, cpu = time.perf_counter(), time.process_time()
            encoder.backbone.switch(ROUTES[turn % len(ROUTES)])
            row["wall"].append(1e3 * (time.perf_counter() - wall))
            row["cpu"].append(1e3 * (time.process_time() - cpu))
    return row


def memory(key: str) -> int:
    """Bytes that /proc says of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(key)))


def _switches(row: dict) -> str:
    if not row["wall"]:
        return ""
    low, middle, high = np.quantile(row["wall"], [0.25, 0.5, 0.75])
    return f"  switch {middle:.2f} ms [{low:.2f}, {high:.2f}], of it CPU time {np.median(row['cpu']):.2f} ms"


if __name__ == "__main__":
    main()
