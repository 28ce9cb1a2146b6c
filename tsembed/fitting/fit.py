"""`tsembed.fit`: task experts in an encoder, trained on a user's own data, as a folder of sentence-transformers.

While it is at work everything stands in `OUT.work/`: the prepared data, checkpoints, the trained model. `OUT` appears
when all is done. A kill loses the work since the last checkpoint at most.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..data.prepare import prepare, settings_of
from ..data.scorable import FEWEST
from ..export import hub
from ..export.folder import must_be_free
from ..files import write_text
from ..settings import Backbone, Data
from ..tasks import TASKS
from ..training import trackers
from . import plan as plans
from . import scores, sources, variants
from .job import MARK, Job, mean_of

VALIDATION_ROWS = 200  # pairs held out of each training set, a tenth at most


class Fitted(NamedTuple):
    """A finished training."""

    out: Path
    before: list[dict[str, Any]]  # scores of the untrained backbone: task_type, dataset, metric, score
    after: list[dict[str, Any]]  # scores of the trained encoder, of the same sets


def fit(
    data: str | Path,
    out: str | Path,
    *,
    backbone: str,
    variant: str = "mote",
    revision: str | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    max_tokens: int | None = None,
    seed: int = 0,
    evaluate: bool = True,
    resume: bool = False,
    experts: bool = False,
    half_way: bool = False,
    hard_negatives: int | None = None,
    matryoshka: Sequence[int] = (),
    push_to_hub: str | None = None,
    private: bool = False,
    log_with: str | None = None,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    report: Callable[[str], Any] = print,
) -> Fitted:
    """Train a variant of a backbone on a user's data and write what `SentenceTransformer(out)` loads.

    Args:
        data: A folder in the layout of docs/data_layout.md with any part of it, a table (CSV, TSV, Parquet, JSON
            lines), or a folder that `datasets` saved.
        out: The folder to write, with model card and, in `fit.json`, settings and scores.
        backbone: A folder or a name on the hub; of a sentence-transformers folder, its pooling and length are kept.
        variant: "mote", "ic", "em", "moe_lora" or "tsembed", see `variants.variant`.
        revision: Commit of a backbone on the hub.
        steps: By default one pass over the pairs, at least 100 and at most 1,000.
        batch_size: Pairs; by default the largest of 64, 32, 16, 8 that every task fills.
        learning_rate: By default that of the kind of variant, see `variants.LEARNING_RATES`.
        max_tokens: Where an input is cut; by default what the model can take, at most `names.MAX_TOKENS`.
        seed: Of batches, held-out pairs, routers and adapters.
        evaluate: Score the untrained and the trained encoder on the test parts and the held-out pairs.
        resume: Go on with an interrupted training of the same settings.
        experts: Write the dense model of every trained route, too, to `out/experts/<route>` (variant "mote").
        half_way: Write the mean of trained and untrained weights, which forgets less of what the backbone could
            (LM-Cocktail, Xiao et al. 2023, https://arxiv.org/abs/2311.13534); not of adapters.
        hard_negatives: Of a pair at most that are trained with; by default all that the data have (`mine` finds some).
        matryoshka: Leading dimensions that are to be good embeddings by themselves, beside the whole (docs/fit.md).
        push_to_hub: Upload the finished folder to this repository, "name" or "organisation/name". Token and name are
            checked before anything is trained.
        private: Of a repository that is made for it.
        log_with: Also follow the training with "tensorboard", "trackio" or "wandb".
        format: Of a table: "pairs", "classification" or "clustering"; by its columns if not given.
        columns: Of a table: column of the format -> its name in the table.
        report: Called with every line about the plan, the progress and the scores.

    Raises:
        ValueError: If a setting, the backbone or the data break a rule: named with place and rule, before anything is
            trained. If `out` is not empty, or an interrupted training is there and `resume` is False.
    """
    if log_with is not None:
        trackers.check(log_with)
    if push_to_hub is not None:
        hub.check(push_to_hub)
    out = Path(out)
    work = out.with_name(f"{out.name}.work")
    prepared = Data(path=Path(data), validation_rows=VALIDATION_ROWS, seed=seed)
    found = sources.source(prepared, format=format, columns=columns)
    asked: dict[str, Any] = {
        "backbone": Backbone(name=backbone, revision=revision).model_dump(mode="json"),
        "variant": variant,
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "max_tokens": max_tokens,
        "seed": seed,
        "evaluate": evaluate,
        "experts": experts,
        "half_way": half_way,
        "hard_negatives": hard_negatives,
        "matryoshka": list(matryoshka),
        "data": settings_of(prepared, [*found.fingerprint, str(format), json.dumps(dict(columns or {}))]),
    }
    if (out / MARK).is_file() and (done := json.loads((out / MARK).read_text(encoding="utf-8")))["asked"] == asked:
        report(f"{out} is done")
        if push_to_hub is not None:
            report(hub.push_to_hub(out, push_to_hub, private=private))
        return Fitted(out, done["before"], done["after"])
    must_be_free(out)
    adapter = variants.variant(variant, list(TASKS)[:1]).adapter  # a wrong name is an error before the data are read
    if adapter and half_way:
        raise ValueError(f"half_way: {variant} trains adapters beside frozen weights; there is nothing to average")
    _begin(work, asked, resume)
    manifest = prepare(
        found.specs,
        work / "data",
        prepared,
        asked["data"],
        source="fit",
        fewest=0 if found.of_images else FEWEST,
        remedy=f"Delete {work} to start anew",
    )
    planned = plans.plan(manifest, batch_size=batch_size, steps=steps, hard_negatives=hard_negatives)
    job = Job(asked, planned, manifest, work, Backbone(name=backbone, revision=revision), report, log_with)
    encoder = job.untrained()
    for line in plans.lines(planned, manifest, None if job.is_trained else job.minutes(encoder)):
        report(line)
    for line in job.cut(encoder):
        report(line)
    before = job.scored("before", job.base) if evaluate else []
    encoder = job.trained(encoder)
    after = job.scored("after", lambda: encoder) if evaluate else []
    job.export(encoder, out, before, after)
    shutil.rmtree(work)
    if evaluate and before:
        report(scores.table(before, after))
        if mean_of([row["score"] for row in after]) <= mean_of([row["score"] for row in before]):
            report("The training did not raise the mean score: docs/diagnosis.md says why that happens and what to try")
    report(f"{out}: its README.md says how to load it")
    if push_to_hub is not None:
        report(hub.push_to_hub(out, push_to_hub, private=private))
    return Fitted(out, before, after)


def _begin(work: Path, asked: dict[str, Any], resume: bool) -> None:
    """The folder of the work, new or that of the same settings; one with prepared data alone is none to resume."""
    settings = work / "settings.json"
    if not any((work / name).exists() for name in ("before.json", "checkpoints", "model")):
        if settings.is_file() and json.loads(settings.read_text(encoding="utf-8")) != asked:
            shutil.rmtree(work)
    elif not resume:
        raise ValueError(f"{work} holds an interrupted training: resume it (--resume), or delete it to start anew")
    elif (old := json.loads(settings.read_text(encoding="utf-8"))) != asked:
        named = [name for name in asked if name != "data" and old.get(name) != asked[name]]
        was = "; ".join(f"{name} was {old.get(name)!r}, is {asked[name]!r}" for name in named)
        was = was or "the data have changed"
        raise ValueError(f"{work} holds a training of other settings ({was}): delete it to start anew")
    write_text(settings, json.dumps(asked, indent=1) + "\n")
