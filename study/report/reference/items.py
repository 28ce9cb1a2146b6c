"""The items of two runs: whether they are the same bytes, and for a moved score how many of them differ."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from tsembed.evaluation.items import FILE, read, sha256


def lines(
    hashes: Mapping[str, str], runs: Mapping[str, tuple[Path, Path]], moved: Iterable[tuple[str, str]]
) -> list[str]:
    """What is to be said of the items, a line each.

    Args:
        hashes: Run -> sha256 of the reference's items, which are in the reference without being in git.
        runs: Run -> folder in the reference, and folder here.
        moved: Run and dataset of each score that has moved.
    """
    here = {run: sha256(fresh / FILE) for run, (_, fresh) in runs.items() if run in hashes and (fresh / FILE).is_file()}
    if not here:
        return ["items: none to compare; the reference, or the runs here, were made without them"]
    same = [run for run, value in here.items() if value == hashes[run]]
    text = [f"items: the same bytes in {len(same)} of {len(here)} runs"]
    for run, dataset in moved:
        if run not in here:
            continue
        committed, fresh = (folder / FILE for folder in runs[run])
        if not committed.is_file():
            text.append(f"items: {run} {dataset}: those of the reference are not on this machine")
        elif sha256(committed) != hashes[run]:
            text.append(f"items: {run} {dataset}: {committed.name} in the reference's folder is not what was frozen")
        else:
            text.append(f"items: {run} {dataset}: {_differing(committed, fresh, dataset)}")
    return text


def _differing(old: Path, new: Path, dataset: str) -> str:
    sides = [rows[rows.dataset == dataset] for rows in (read(old), read(new))]
    joined = sides[0].merge(sides[1], on=["split", "item"], how="outer", suffixes=("_old", "_new"))
    if joined.empty:
        return "has none"
    change = (joined.value_new - joined.value_old).abs()
    differing = ~(change == 0)  # nan where one side lacks the item
    largest = "" if (joined.kind_old == "cluster").any() else f", by at most {change.max():.3g}"
    return f"{int(differing.sum())} of {len(joined)} differ{largest}"
