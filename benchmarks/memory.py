"""How much memory inputs take that are larger than usual: `python -m benchmarks.memory [CASE …] [--share S]`.

Each case is generated in a temporary folder and then prepared, or encoded, in a process of its own. Its peak is what
the process had at most of its own (`RssAnon`, looked at a hundred times a second), above what its imports take: pages
of mapped files, which `ru_maxrss` counts too, are the system's to take back. The bound stands beside it, and the status
is 1 where one is passed. `--share 0.01` takes a hundredth of the size, and compares with the bound of that size.
"""

import argparse
import importlib
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tsembed.data.prepare import prepare, settings_of
from tsembed.settings import Data

from .timing import machine

MB = 1e6  # bytes
SET = "retrieval/large"
WORDS = 60  # of a document, in the mean


class Case(NamedTuple):
    """An input and what it may take.

    Attributes:
        about: In words.
        size: Of the input, in `unit`.
        unit: What is counted.
        fixed: Megabytes that any size may take.
        each: Bytes that every unit may take besides.
        write: Writes the input of a size into a folder.
        use: Reads it; what is measured.
    """

    about: str
    size: float
    unit: str
    fixed: float
    each: float
    write: Callable[[Path, float], None]
    use: Callable[[Path], None]

    def bound(self, share: float) -> float:
        """Megabytes that a share of the size may take."""
        return self.fixed + self.each * self.size * share / MB


def write_score(folder: Path, size: float) -> None:
    """A set whose qrels hold one score of this size."""
    _retrieval(folder, 20)
    with (folder / SET / "qrels.jsonl").open("a") as file:
        file.write(json.dumps({"query_id": "q1", "doc_id": "d7", "score": int(size)}) + "\n")


def write_corpus(folder: Path, size: float) -> None:
    """A corpus of so many documents."""
    _retrieval(folder, int(size))


def write_text(folder: Path, size: float) -> None:
    """A training pair whose document has so many bytes, among others."""
    place = folder / "pairs" / "long" / "train.jsonl"
    place.parent.mkdir(parents=True)
    with place.open("w") as file:
        for row in range(40):
            text = _text(np.random.default_rng(row), int(size) // 6) if row == 20 else f"a document of number {row}"
            file.write(json.dumps({"anchor": f"what is number {row}", "positive": text}) + "\n")


def write_zip(folder: Path, size: float) -> None:
    """Images of noise, which no compression makes smaller, of so many bytes together."""
    from PIL import Image

    place = folder / "images" / "noise"
    place.mkdir(parents=True)
    rng, written, rows = np.random.default_rng(0), 0, []
    with zipfile.ZipFile(place / "images.zip", "w") as archive:
        while written < size or len(rows) < 40:
            pixels = rng.integers(0, 256, (1200 if size > 1e8 else 100,) * 2 + (3,), dtype=np.uint8)
            content = io.BytesIO()
            Image.fromarray(pixels).save(content, "PNG", compress_level=0)
            name = f"{len(rows)}.png"
            archive.writestr(name, content.getvalue())
            rows.append({"image": name, "text": f"noise of number {len(rows)}", "label": f"kind {len(rows) % 4}"})
            written += len(content.getvalue())
    for part, chosen in (("train", rows), ("test", rows[:20])):
        (place / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chosen))


def use_texts(folder: Path) -> None:
    """Prepare a folder of texts; a refusal is an end like another."""
    _prepare(folder, "local")


def use_images(folder: Path) -> None:
    """Prepare a folder of images."""
    _prepare(folder, "local_images")


def use_encoder(folder: Path) -> None:
    """Prepare a folder of texts, and encode the longest at 256 tokens."""
    from tsembed.encoder.build import load_backbone, make
    from tsembed.settings import Backbone

    rows = [json.loads(line) for line in (folder / "pairs/long/train.jsonl").open()]
    text = max((row["positive"] for row in rows), key=len)
    loaded = load_backbone(Backbone(name="embedded:all-MiniLM-L6-v2", pooling="mean", num_layers=1))
    encoder = make(loaded, None, pooling="mean")
    encoder.encode([text, "a short one"], encoder.routes[0], max_tokens=256)


CASES = {
    "score": Case("a qrels score of 2^40", 2**40, "the score", 200, 0, write_score, use_texts),
    "corpus": Case("a corpus of a million documents", 1e6, "documents", 150, 1000, write_corpus, use_texts),
    "text": Case("a training text of 10 MB, prepared", 1e7, "bytes", 150, 20, write_text, use_texts),
    "encoded": Case("a text of 10 MB, encoded", 1e7, "bytes", 260, 10, write_text, use_encoder),
    "zip": Case("a zip file of 2 GB of images", 2e9, "bytes", 1300, 0, write_zip, use_images),
}


def _retrieval(folder: Path, documents: int) -> None:
    place = folder / SET
    place.mkdir(parents=True)
    rng = np.random.default_rng(0)
    with (place / "corpus.jsonl").open("w") as file:
        for number in range(documents):
            row = {"doc_id": f"d{number}", "text": f"{number} {_text(rng, int(rng.integers(20, 2 * WORDS - 20)))}"}
            file.write(json.dumps(row) + "\n")
    queries = [{"query_id": f"q{i}", "query": f"where is number {i}"} for i in range(min(1000, documents))]
    (place / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries))
    qrels = [{"query_id": row["query_id"], "doc_id": f"d{i}", "score": 1} for i, row in enumerate(queries)]
    (place / "qrels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in qrels))


def _text(rng: np.random.Generator, words: int) -> str:
    """Words of five letters."""
    letters = rng.integers(97, 123, (words, 6), dtype=np.uint8)
    letters[:, 5] = 32
    return letters.tobytes().decode().strip()


def _prepare(folder: Path, source: str) -> None:
    module = importlib.import_module({"local": "tsembed.data.folder.text"}.get(source, "tsembed.data.folder.images"))
    data = Data(path=folder, eval_rows=1000, validation_rows=10)
    settings = settings_of(data, module.fingerprint(data))
    try:
        prepare(module.specs(data), folder.parent / "prepared", data, settings, source=source, remedy="")
    except ValueError as error:
        print(f"refused: {str(error)[:300]}", file=sys.stderr)


def measured(name: str, share: float, folder: Path | None = None) -> dict[str, Any]:
    """Peak and imports of a case in a process of its own, in megabytes.

    Args:
        name: A key of `CASES`.
        share: Of its size.
        folder: For the input; a temporary one by default.
    """
    with tempfile.TemporaryDirectory(dir=folder) as place:
        size = CASES[name].size if name == "score" else CASES[name].size * share
        data = Path(place) / "data"
        data.mkdir()
        CASES[name].write(data, size)
        command = [sys.executable, "-m", "benchmarks.memory", "--measure", name, str(data)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        own = 0.0
        while process.poll() is None:
            own = max(own, _own(process.pid))
            time.sleep(0.01)
        output, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{name}: {errors}")
    found = json.loads(output.splitlines()[-1])
    return found | {"peak": own or found["with_files"], "said": errors.strip()[-300:]}


def _own(pid: int | str = "self") -> float:
    """Megabytes of a process that no file is behind; 0 where the system does not say."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it has ended, or this is no Linux
        return 0.0
    line = next((line for line in status.splitlines() if line.startswith("RssAnon:")), "RssAnon: 0 kB")
    return int(line.split()[1]) * 1024 / MB


def _measure(name: str, folder: Path) -> None:
    import tsembed.data.arrow
    import tsembed.encoder.build  # noqa: F401

    unit = 1024 if sys.platform == "linux" else 1  # of ru_maxrss, in bytes
    before = _own() or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MB
    CASES[name].use(folder)
    with_files = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MB
    print(json.dumps({"imports": before, "with_files": with_files}))


def main() -> int:
    """Measure the cases; 1 if one passes its bound."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--folder", type=Path, help="for the inputs, some GB; a temporary one by default")
    parser.add_argument("--measure", nargs=2, metavar=("CASE", "FOLDER"), help="one, in this process")
    options = parser.parse_args()
    if options.measure:
        _measure(options.measure[0], Path(options.measure[1]))
        return 0
    print(machine())
    passed = False
    for name in options.cases or CASES:
        found, bound = measured(name, options.share, options.folder), CASES[name].bound(options.share)
        above = found["peak"] - found["imports"]
        passed |= above > bound
        print(
            f"{CASES[name].about}: {above:,.0f} MB above the imports' {found['imports']:,.0f}; bound {bound:,.0f} MB;"
            f" with mapped files {found['with_files']:,.0f}"
            f"{'  PASSED' if above > bound else ''}  {found['said']}",
            flush=True,
        )
    return int(passed)


if __name__ == "__main__":
    sys.exit(main())
