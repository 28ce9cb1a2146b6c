"""Small repositories in the form of those that the presets of the hub read: file names, columns and keys as there.

What they contain is made up, and means nothing.
"""

import gzip
import json
import random
import zipfile
from collections.abc import Iterable
from pathlib import Path

from tests import true_backbones
from tests.study.data.test_mmeb import eval_rows, named, picture, train_rows
from tests.study.data.test_mmeb import write as write_parquet

PAIRS = 60  # of a training source
IMAGE_ROWS = 16
WORDS = "river stone cloud lamp horse glass train window garden paper copper winter violin harbour ladder salt".split()


def words(*key: object, count: int = 12) -> str:
    """A text of so many words, drawn by the key."""
    rng = random.Random("/".join(map(str, key)))
    return " ".join(rng.choice(WORDS) + str(rng.randrange(90)) for _ in range(count))


def write_lines(path: Path, rows: Iterable) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def embedding_training_data(datasets: Path) -> None:
    """The files of the 29 text sources, in the format of each."""
    from study.data.hub.embedding_training_data import HUB_SOURCES

    for name, source in HUB_SOURCES.items():
        path = (
            datasets / source.repository / source.files.replace("*", "2010" if "reddit" in name else "00000-of-00001")
        )
        pairs = [(words(name, i, 0), words(name, i, 1)) for i in range(200 if name == "simplewiki" else PAIRS)]
        if path.suffix == ".parquet":
            write_parquet(path, [{"query": a, "document": b, "dataset": name, "shard": 0} for a, b in pairs])
        elif name == "wikianswers":
            write_lines(path, ({"set": [a, b]} for a, b in pairs))
        elif name == "reddit_title_body":
            write_lines(path, ({"title": a, "body": b, "subreddit": "made_up"} for a, b in pairs))
        elif name == "amazonqa":
            write_lines(path, ({"query": a, "pos": [b]} for a, b in pairs))
        else:
            write_lines(path, ([a, b] for a, b in pairs))


def mmeb(datasets: Path) -> None:
    """MMEB's two repositories: rows as Parquet, images in zip files."""
    from study.data.hub import mmeb as sets
    from study.data.hub import mmeb_files

    for part, names in (("train", sets.TRAIN), ("eval", sets.EVAL)):
        folder = datasets / mmeb_files.REPOSITORIES[part]
        for name in names:
            rows = list(train_rows(name, IMAGE_ROWS) if part == "train" else eval_rows(name, 8))
            write_parquet(folder / name / f"{mmeb_files.SPLITS[part]}-00000-of-00001.parquet", rows)
            archive = folder / mmeb_files.files_of(part, name).archive
            archive.parent.mkdir(exist_ok=True)
            with zipfile.ZipFile(archive, "a") as pictures:
                for number, path in enumerate(sorted(set(named(rows)))):
                    pictures.writestr(path, picture(number))


def mteb(datasets: Path) -> None:
    """The first dataset of each type of MTEB(eng, v1), as `evaluation.sets_per_type: 1` takes them."""
    folder = datasets / "mteb"
    for part, count in (("train", 60), ("test", 40)):
        rows = ({"text": words("polarity", part, i), "label": i % 2, "label_text": "np"[i % 2]} for i in range(count))
        write_lines(folder / "amazon_polarity" / f"{part}.jsonl", rows)
    _retrieval(folder / "arguana", queries=20, documents=60, candidates=None)
    _retrieval(folder / "AskUbuntuDupQuestions", queries=10, documents=80, candidates=8)
    groups = (
        {"sentences": [words(i, j) for j in range(40)], "labels": [f"c{j % 4}" for j in range(40)]} for i in range(2)
    )
    write_lines(folder / "arxiv-clustering-p2p" / "test.jsonl.gz", groups)
    rows = ({"sentence1": words("a", i), "sentence2": words("b", i), "score": float(i % 5)} for i in range(30))
    write_lines(folder / "biosses-sts" / "test.jsonl.gz", rows)
    sides = {side: [words(side, i) for i in range(60)] for side in ("sent1", "sent2")}
    pairs = sides | {"labels": [int(i % 4 == 3) for i in range(60)]}
    write_lines(folder / "sprintduplicatequestions-pairclassification" / "test.json.gz", [pairs])
    summaries = (
        {
            "id": str(i),
            "text": words("text", i, count=40),
            "machine_summaries": [words("machine", i, j) for j in range(4)],
            "human_summaries": [words("human", i, j) for j in range(3)],
            "relevance": [1.0, 2.0, 3.5, 5.0],
        }
        for i in range(6)
    )
    write_lines(folder / "summeval" / "test.jsonl.gz", summaries)


def _retrieval(folder: Path, *, queries: int, documents: int, candidates: int | None) -> None:
    """Corpus, queries and judgements; of a reranking set also which documents are candidates of a query."""
    write_lines(folder / "corpus.jsonl", ({"_id": f"d{i}", "title": "", "text": words(i)} for i in range(documents)))
    write_lines(folder / "queries.jsonl", ({"_id": f"q{i}", "text": words("q", i)} for i in range(queries)))
    of_query = candidates or 1
    judged = [(i, i * of_query + j, int(j < 2)) for i in range(queries) for j in range(of_query)]
    rows = ({"query-id": f"q{i}", "corpus-id": f"d{j}", "score": score} for i, j, score in judged)
    write_lines(folder / "qrels" / "test.jsonl", rows)
    configs = {"default": ("test", "qrels/test.jsonl"), "corpus": ("corpus", "corpus.jsonl")}
    configs["queries"] = ("queries", "queries.jsonl")
    if candidates:
        lists = (
            {"query-id": f"q{i}", "corpus-ids": [f"d{i * candidates + j}" for j in range(candidates)]}
            for i in range(queries)
        )
        write_lines(folder / "top_ranked" / "test.jsonl", lists)
        configs |= {"top_ranked": ("test", "top_ranked/test.jsonl"), "corpus": ("test", "corpus.jsonl")}
        configs["queries"] = ("test", "queries.jsonl")
    lines = [
        f"- config_name: {name}\n  data_files:\n  - split: {split}\n    path: {path}\n"
        for name, (split, path) in configs.items()
    ]
    (folder / "README.md").write_text("---\nconfigs:\n" + "".join(lines) + "---\n")


def models(folder: Path, names: Iterable[str]) -> None:
    """Backbones with the true file names and keys, tiny."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        true_backbones.MAKERS[name](folder / name)
        (folder / name / "README.md").write_text(f"# {name}\n")


def commits(preset) -> dict[str, str]:
    """The revisions that a preset, the study and MTEB pin: "datasets/org/name" -> commit."""
    import mteb as library

    from study.data.hub import embedding_training_data as texts
    from study.data.hub import mmeb_files

    pinned = {f"datasets/{repository}": commit for repository, commit in texts.REVISIONS.items()}
    for experiment in preset.all_experiments.values():
        pinned[f"models/{experiment.backbone.name}"] = experiment.backbone.revision
        trained = {"hub": texts.REPOSITORY, "mmeb": mmeb_files.REPOSITORIES["train"]}[experiment.data.source]
        pinned[f"datasets/{trained}"] = experiment.data.revision
    pinned[f"datasets/{mmeb_files.REPOSITORIES['eval']}"] = mmeb_files.EVAL_REVISION
    for task in library.get_benchmark(preset.evaluation.benchmark).tasks:
        pinned[f"datasets/{task.metadata.dataset['path']}"] = task.metadata.dataset["revision"]
    return pinned


def write_all(root: Path, preset) -> None:
    """All repositories that a preset of the hub reads, below `root`."""
    embedding_training_data(root / "datasets")
    mmeb(root / "datasets")
    mteb(root / "datasets")
    models(root / "models", {each.backbone.name for each in preset.all_experiments.values()})
