"""The pairs that the paper trained on: the 29 consistency-filtered sources of contrastors, in Parquet on the hub.

`nomic-ai/nomic-embed-unsupervised-data` has a split per source, under the names that `HUB_SOURCES` has, in files
`data/<source>-<number>-of-<count>.parquet` with the columns `query` and `document`. Each file becomes one Arrow file
(`tsembed.data.shards`), by as many processes as there are cores, and of a file that was downloaded only that one is
kept: there is no second copy. `python -m study data paper --part 3/16` makes one sixteenth of the shards, for a job of
a cluster; the call without it makes what is missing and writes the manifest.

`data.path` may name a folder that mirrors the files; they are read there, and stay.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tsembed import hub
from tsembed.data.schema import DatasetSpec
from tsembed.data.shards import Shard, sha256_of, write_shard, written_shard

from ...presets import Data
from . import embedding_training_data as unfiltered
from . import overlap

REPOSITORY = unfiltered.NOMIC
SOURCES = unfiltered.HUB_SOURCES
DISJOINT = "hub_filtered_disjoint"  # the source without the pairs that share a text with the benchmark


class Place(NamedTuple):
    """Where a shard comes from and goes to.

    Attributes:
        source: The split.
        name: The file within the repository or the mirror.
        target: The Arrow file.
    """

    source: str
    name: str
    target: Path


def places(data: Data, folder: Path) -> list[Place]:
    """All shards of all sources, in the order of the sources and of their files' names.

    Args:
        data: With a pinned `revision`, or the `path` of a mirror.
        folder: Of the prepared data.

    Raises:
        ValueError: If a source has no file; names all that have none.
    """
    if data.path is None:
        names, where = hub.list_files(REPOSITORY, data.revision), f"{REPOSITORY}@{data.revision}"
    else:
        names = sorted(p.relative_to(data.path).as_posix() for p in data.path.rglob("*.parquet"))
        where = str(data.path)
    found = {source: [name for name in names if fnmatch(name, f"data/{source}-*.parquet")] for source in SOURCES}
    if absent := [source for source, files in found.items() if not files]:
        raise ValueError(f"{where} has no file data/<source>-*.parquet of {', '.join(absent)}")
    return [
        Place(source, name, folder / "train" / source / f"{number:05d}.arrow")
        for source, files in found.items()
        for number, name in enumerate(files)
    ]


def make_shards(
    data: Data,
    folder: Path,
    key: str,
    *,
    part: tuple[int, int] = (0, 1),
    processes: int | None = None,
    report: Callable[[str], Any] = lambda line: None,
) -> None:
    """Make the shards that are missing; each process takes one after the other.

    Args:
        data: Where they come from.
        folder: Of the prepared data.
        key: Of the settings; a shard of another key is made anew.
        part: (i, n): the shards whose number leaves i when divided by n.
        processes: By default as many as there are cores for this process.
        report: Called with a line about each shard.

    Raises:
        ValueError: With the first shard that cannot be made; those that are finished stay.
    """
    if data.train_rows is not None or data.validation_rows:
        raise ValueError(f"source {data.source!r} is taken whole: train_rows must be null and validation_rows 0")
    mine = places(data, folder)[part[0] :: part[1]]
    missing = [place for place in mine if written_shard(place.target, key) is None]
    if not missing:
        return
    if len(mine) > len(missing):
        report(f"{len(mine) - len(missing)} of {len(mine)} shards are there")
    keys = overlap.write_keys(folder) if data.source == DISJOINT else None
    count = min(processes or len(os.sched_getaffinity(0)), len(missing))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_quiet) as pool:
        futures = [pool.submit(_make, place, data.path, data.revision, key, keys) for place in missing]
        try:
            for number, future in enumerate(as_completed(futures), start=1):
                name, shard = future.result()
                report(f"{number}/{len(missing)}  {name}  {shard.rows:,} pairs, {shard.bytes / 1e6:,.0f} MB")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def specs(data: Data, folder: Path, key: str) -> Iterator[DatasetSpec]:
    """The 29 sources, whose shards are there, and 128 articles of SimpleWiki, as `gpu` has them.

    Args:
        data: Where they come from.
        folder: Of the prepared data.
        key: Of the settings.

    Raises:
        ValueError: If a shard is missing.
    """
    shards: dict[str, list[Shard]] = {source: [] for source in SOURCES}
    for place in places(data, folder):
        shard = written_shard(place.target, key)
        if shard is None:
            raise ValueError(f"{place.target} is not there: another part of the shards is still being made")
        shards[place.source].append(shard)
    mirror = " (mirror)" if data.path is not None else ""
    for source, of_source in shards.items():
        left_out = {
            "empty": (sum(shard.empty for shard in of_source), "an empty text"),
            "overlap": (sum(shard.unwanted for shard in of_source), f"a text of a test set of {overlap.BENCHMARK}"),
        }
        yield DatasetSpec(
            source,
            "train",
            "pairs",
            {},
            f"{REPOSITORY}@{data.revision}/data/{source}-*.parquet{mirror}",
            unfiltered.LICENCE,
            task=SOURCES[source].task,
            notes={name: f"{count} rows left out: {why}" for name, (count, why) in left_out.items() if count},
            shards=tuple(of_source),
        )
    of_articles = data.model_copy(update={"revision": unfiltered.REVISIONS[unfiltered.REPOSITORY]})
    yield unfiltered.articles(of_articles)


def fingerprint(data: Data) -> list[str]:
    """Name, size and time of a mirror's files; of the hub the pinned revision says all."""
    if data.path is None:
        return []
    files = sorted(data.path.rglob("*.parquet"))
    return [f"{p.relative_to(data.path).as_posix()} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in files]


def _make(place: Place, mirror: Path | None, revision: str | None, key: str, keys: Path | None) -> tuple[str, Shard]:
    unwanted = _keys(keys) if keys is not None else frozenset()
    if mirror is not None:
        path = mirror / place.name
        return place.name, write_shard(path, place.target, sha256=sha256_of(path), key=key, unwanted=unwanted)
    path = hub.fetch(REPOSITORY, place.name, revision)
    announced = path.resolve().name  # the hub's client keeps a large file under its sha256, which `fetch` has compared
    sha256 = announced if len(announced) == 64 else sha256_of(path)
    shard = write_shard(path, place.target, sha256=sha256, key=key, unwanted=unwanted)
    hub.discard(path)
    return place.name, shard


@cache
def _keys(path: Path) -> frozenset[str]:
    """Read once per process."""
    return overlap.read_keys(path)


def _quiet() -> None:
    """No progress bars from several processes at once."""
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
