"""The paper's pairs: the making of shards, and what a training rank keeps of them: `python -m benchmarks.shards`.

Generated pairs stand in Parquet files in the form of `nomic-ai/nomic-embed-unsupervised-data`. Shards are made by one
process on one core, as each of the preparation's does, and the time is that of its processor. What 234.6 million pairs
take is computed from that, so it holds for texts of the length that stands beside it. The memory of a rank is what its
process alone has (`RssAnon`), behind drawing and reading batches: mapped files are the system's to take back. The
larger table lists the same files over and over.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tsembed.data.shards import ShardedTable, sha256_of, write_shard
from tsembed.training.sampler import TaskSampler

from .timing import machine

PAPER_PAIRS = 234_600_000  # MoTE §4
PER_FILE = 100_000
BATCH = 6144
WORDS = (9, 90)  # of a query and of a document, in the mean
BARS = {"rows per CPU second": 100_000, "growth of a rank": 1.1}


def main() -> None:
    """Measure the making of shards and the memory of reading them, each in a process of its own, beside the bars."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--larger", type=int, default=50, help="the larger table has so many times the rows")
    parser.add_argument("--folder", type=Path, help="for the files, some GB; a temporary one by default")
    parser.add_argument("--measure", nargs=4, metavar=("WHAT", "FOLDER", "TIMES", "ORDER"), help="one, in this process")
    options = parser.parse_args()
    if options.measure:
        what, folder, times, order = options.measure
        print(json.dumps(made(Path(folder)) if what == "make" else read(Path(folder), int(times), order)))
        return
    print(machine())
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        generate(Path(folder), options.rows)
        found = _measured("make", folder)
        rows, seconds = found["rows"], found["cpu"]
        print(
            f"{rows:,} pairs in {found['files']} files: {found['source'] / rows:.0f} bytes a pair as Parquet, "
            f"{found['target'] / rows:.0f} as Arrow ({found['characters'] / rows:.0f} characters)"
        )
        print(f"making: {rows / seconds:,.0f} rows per CPU second, peak {found['peak'] / 1e6:.0f} MB above the imports")
        print(f"  sha256 of the sources: {found['hashing'] / seconds:.1%} of that time")
        hours, scale = PAPER_PAIRS / (rows / seconds) / 3600, PAPER_PAIRS / rows
        print(
            f"{PAPER_PAIRS / 1e6:.1f} M pairs of this length: {hours:.1f} CPU hours, "
            f"{found['source'] * scale / 1e9:,.0f} GB downloaded, {found['target'] * scale / 1e9:,.0f} GB kept"
        )
        ranks = {}
        for order in ("array", "computed"):
            for times in (1, options.larger):
                ranks[order, times] = one = _measured("read", folder, times, order)
                print(
                    f"a rank, {rows * times / 1e6:5.1f} M pairs, order {order:9s} {one['private'] / 1e6:6.1f} MB above "
                    f"the imports, {one['milliseconds']:.0f} CPU ms per batch of {BATCH:,}"
                )
    small, large = (ranks["computed", times]["private"] for times in (1, options.larger))
    values = {"rows per CPU second": rows / seconds, "growth of a rank": large / small}
    for name, value in values.items():
        at_least = name == "rows per CPU second"
        holds = value >= BARS[name] if at_least else value <= BARS[name]
        print(
            f"{name}: {value:,.2f}, bar {'>=' if at_least else '<='} {BARS[name]:,}: {'holds' if holds else 'MISSED'}"
        )


def generate(folder: Path, rows: int) -> None:
    """Parquet files of pairs: words of a Zipf distribution, as many as `WORDS` says in the mean.

    Args:
        folder: The files go to its folder `parquet`.
        rows: In all.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    vocabulary = ["".join(rng.choice(letters, rng.integers(2, 10))) for _ in range(50_000)]
    (folder / "parquet").mkdir()
    for number in range(-(-rows // PER_FILE)):
        count = min(PER_FILE, rows - number * PER_FILE)
        columns = {}
        for name, mean in zip(("query", "document"), WORDS, strict=True):
            lengths = 1 + rng.poisson(mean - 1, count)
            drawn = np.minimum(rng.zipf(1.3, lengths.sum()) - 1, len(vocabulary) - 1)
            ends = np.cumsum(lengths)
            columns[name] = [
                " ".join(map(vocabulary.__getitem__, drawn[end - length : end]))
                for end, length in zip(ends, lengths, strict=True)
            ]
        about = {"dataset": ["generated"] * count, "shard": [number] * count}
        pq.write_table(pa.table(columns | about), folder / "parquet" / f"{number:05d}.parquet", row_group_size=1000)


def made(folder: Path) -> dict[str, float]:
    """Make the shards of the generated files, and what it took.

    Args:
        folder: Of `generate`; the Arrow files go to its folder `arrow`.
    """
    import pyarrow.compute  # before time and memory are looked at
    import pyarrow.parquet  # noqa: F401

    before = _status("VmRSS")
    cpu = hashing = 0.0
    sums = dict.fromkeys(("rows", "source", "target", "files"), 0)
    sources = sorted((folder / "parquet").iterdir())
    for source in sources:
        began = time.process_time()
        sha256 = sha256_of(source)
        hashing += time.process_time() - began
        shard = write_shard(source, folder / "arrow" / f"{source.stem}.arrow", sha256=sha256, key="benchmark")
        cpu += time.process_time() - began
        row = {"rows": shard.rows, "source": source.stat().st_size, "target": shard.bytes, "files": 1}
        sums = {name: sums[name] + row[name] for name in sums}
    peak = _status("VmHWM") - before
    table = _table(folder, 1)
    sample = table[list(range(0, len(table), max(1, len(table) // 1000)))]
    lengths = [len(a) + len(b) for a, b in zip(sample["query"], sample["document"], strict=True)]
    return sums | {"cpu": cpu, "hashing": hashing, "peak": peak, "characters": float(np.mean(lengths)) * len(table)}


def read(folder: Path, times: int, order: str, batches: int = 30) -> dict[str, float]:
    """What drawing and reading batches adds to the memory of this process, and how long a batch takes the processor.

    Args:
        folder: Of `made`.
        times: The table has the files so many times.
        order: Of the sampler.
        batches: So many, spread over the epoch.
    """
    import pyarrow.ipc  # noqa: F401  # before the memory is looked at

    before = _status("RssAnon")
    table = _table(folder, times)
    sampler = TaskSampler(
        {"generated": ("retrieval", len(table))}, batch_size=BATCH, steps=None, tasks=("retrieval",), order=order
    )
    began = time.process_time()
    for step in np.linspace(0, len(sampler) - 1, batches).astype(int):
        table[sampler[int(step)].rows.tolist()]
    seconds = time.process_time() - began
    return {"private": _status("RssAnon") - before, "milliseconds": 1000 * seconds / batches}


def _table(folder: Path, times: int) -> ShardedTable:
    records = [json.loads(path.read_text()) for path in sorted((folder / "arrow").glob("*.json"))]
    return ShardedTable(folder / "arrow", records * times)


def _measured(what: str, folder: str, times: int = 1, order: str = "computed") -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.shards", "--measure", what, folder, str(times), order]
    variables = os.environ | {"OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    return json.loads(subprocess.run(command, env=variables, check=True, stdout=subprocess.PIPE).stdout)


def _status(name: str) -> int:
    """Bytes of a line of this process's status (Linux)."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(lines[name].split()[0])


if __name__ == "__main__":
    main()
