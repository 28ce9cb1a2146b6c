"""`tsembed.fit`: task experts in an encoder, trained on a user's own data, as a folder of sentence-transformers.

While it is at work everything stands in `OUT.work/`: the prepared data, checkpoints, the trained model. `OUT` appears
when all is done. A kill loses the work since the last checkpoint at most.
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..contrastive.matryoshka import nested_dims
from ..data.manifest import load_table
from ..data.prepare import prepare, settings_of
from ..data.scorable import FEWEST
from ..encoder.build import best_device, build, load
from ..encoder.text import Encoder
from ..export import hub
from ..export.dense import has_learned_router
from ..export.folder import export_encoder, must_be_free
from ..export.gates import mean_gates_of_pairs
from ..export.run import Run
from ..files import move_folder, write_folder, write_text
from ..mote.average import average_models
from ..settings import Backbone, Data, Training, Variant
from ..tasks import TASKS
from ..training import trackers
from ..training.lengths import cut_texts
from ..training.loop import train
from . import plan as plans
from . import scores, sources, variants
from .environment import environment

MAX_TOKENS = 256  # of an input, where the model can take more and the user says nothing
VALIDATION_ROWS = 200  # pairs held out of each training set, a tenth at most
CHECKPOINT_EVERY = 50  # steps
MARK = "fit.json"  # in a finished folder: its settings and scores


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
        max_tokens: Where an input is cut; by default what the model can take, at most `MAX_TOKENS`.
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
    if (
        variants.variant(variant, list(TASKS)[:1]).adapter and half_way
    ):  # a wrong name is an error before the data are read
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
    job = _Job(asked, planned, manifest, work, Backbone(name=backbone, revision=revision), report, log_with)
    encoder = job.untrained()
    for line in plans.lines(planned, manifest, None if job.is_trained else job.minutes(encoder)):
        report(line)
    for line in job.cut(encoder):
        report(line)
    before = job.scored("before", lambda: job.base()) if evaluate else []
    encoder = job.trained(encoder)
    after = job.scored("after", lambda: encoder) if evaluate else []
    job.export(encoder, out, before, after)
    shutil.rmtree(work)
    if evaluate and before:
        report(scores.table(before, after))
        if _mean(after) <= _mean(before):
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


class _Job:
    """One training: what its steps share."""

    def __init__(
        self,
        asked: dict[str, Any],
        planned: plans.Plan,
        manifest: dict,
        work: Path,
        backbone: Backbone,
        report: Callable[[str], Any],
        log_with: str | None,
    ):
        self.log_with = log_with
        self.asked, self.plan, self.manifest, self.work = asked, planned, manifest, work
        self.backbone, self.report, self.data = backbone, report, work / "data"
        self.variant = variants.variant(asked["variant"], set(planned.tasks.values()))
        self.max_tokens = asked["max_tokens"] or MAX_TOKENS

    @property
    def is_trained(self) -> bool:
        """Whether the trained model is there, of an interrupted call."""
        return (self.work / "model").is_dir()

    @property
    def training(self) -> Training:
        """The optimiser run."""
        return Training(
            steps=self.plan.steps,
            batch_size=self.plan.batch_size,
            learning_rate=self.asked["learning_rate"] or variants.learning_rate(self.variant),
            weight_decay=0.01,
            warmup_steps=max(1, self.plan.steps // 10),
            max_query_tokens=self.max_tokens,
            max_document_tokens=self.max_tokens,
            precision="auto",
            task_sampling="balanced",
            checkpoint_every=CHECKPOINT_EVERY,
            hard_negatives=self.plan.hard_negatives,
            matryoshka_dims=tuple(self.asked["matryoshka"]),
        )

    def untrained(self) -> Encoder:
        """The encoder that will be trained, with experts or adapters."""
        encoder = build(self.backbone, self.variant, seed=self.asked["seed"])
        if self.asked["max_tokens"] is None:
            self.max_tokens = min(MAX_TOKENS, encoder.max_tokens)
        encoder.check_max_tokens(self.max_tokens)
        nested_dims(self.asked["matryoshka"], encoder.dim)  # a wrong one is an error now
        return encoder

    def cut(self, encoder: Encoder) -> list[str]:
        """Which texts are longer than what is read of them."""
        tables = {name: load_table(self.data, "train", name) for name in self.plan.tasks}
        return cut_texts(encoder, tables, self.plan.tasks, dict.fromkeys(("query", "document"), self.max_tokens))

    def base(self) -> Encoder:
        """The backbone as it is, which every score stands beside."""
        plain = Variant(label="untrained", instruction=False, trained=False, tasks=self.variant.tasks)
        return build(self.backbone, plain, seed=self.asked["seed"])

    def minutes(self, encoder: Encoder) -> float:
        """Expected length of the training: a backward pass takes twice a forward pass, which is measured."""
        name, task = next(iter(self.plan.tasks.items()))
        rows = load_table(self.data, "train", name)[: min(16, self.plan.batch_size)]
        from ..training.batches import inputs_of

        hard = [text for texts in rows.get("negatives", []) for text in texts[: self.plan.hard_negatives]]
        queries, documents = inputs_of(rows, "query"), [*inputs_of(rows, "document"), *hard]
        seconds = 0.0
        for _ in range(2):  # the first one warms up
            begin = time.perf_counter()
            for inputs, route in ((queries, TASKS[task].query_route), (documents, TASKS[task].document_route)):
                encoder.encode(inputs, route, max_tokens=self.max_tokens)
            seconds = time.perf_counter() - begin
        return 3 * seconds / len(rows["query"]) * self.plan.steps * self.plan.batch_size / 60

    def scored(self, name: str, encoder: Callable[[], Encoder]) -> list[dict[str, Any]]:
        """Scores, kept in the work's folder; `name` says of which encoder."""
        path = self.work / f"{name}.json"
        if not path.is_file():
            made = encoder()
            made.to(best_device())
            self.report(f"scores {'of the untrained backbone' if name == 'before' else 'of the trained encoder'}:")
            rows = scores.score(made, self.data, self.manifest, self.work / "mteb", max_tokens=self.max_tokens)
            write_text(path, json.dumps(rows, indent=1) + "\n")
        return json.loads(path.read_text(encoding="utf-8"))

    def trained(self, encoder: Encoder) -> Encoder:
        """The trained encoder: read, or trained on from the newest checkpoint, and saved."""
        model = self.work / "model"
        if not self.is_trained:
            tables = {name: load_table(self.data, "train", name) for name in self.plan.tasks}
            train(
                encoder,
                tables,
                self.plan.tasks,
                self.work,
                training=self.training,
                variant=self.variant,
                seed=self.asked["seed"],
                resume=True,
                log_with=self.log_with,
            )
            if self.asked["half_way"]:
                parts = [encoder.cpu().backbone, self.untrained().backbone]
                encoder.backbone.load_state_dict(average_models(parts, [0.5, 0.5]))
            with write_folder(model) as partial:
                encoder.save(partial)
            for line in self._losses():
                self.report(line)
        return load(model)

    def _losses(self) -> list[str]:
        """First and last loss of every task: the mean over a quarter of its steps, at least one."""
        by_task: dict[str, list[float]] = {}
        for line in (self.work / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            by_task.setdefault(row["task"], []).append(row["loss"])
        said = []
        for task, losses in by_task.items():
            part = max(1, len(losses) // 4)
            said.append(f"loss of {task}: {_of(losses[:part]):.3f} at first, {_of(losses[-part:]):.3f} at last")
        return said

    def export(self, encoder: Encoder, out: Path, before: list[dict], after: list[dict]) -> None:
        """The finished folder, by rename."""
        place = self.work / "export" / out.name
        shutil.rmtree(place.parent, ignore_errors=True)
        config = {
            "backbone": self.backbone.model_dump(mode="json"),
            "variant": self.variant.model_dump(mode="json"),
            "training": self.training.model_dump(mode="json"),
            "evaluation": {"max_tokens": self.max_tokens},
            "data": {"eval_rows": None},
            "seed": self.asked["seed"],
            "data_sha256": self.manifest["sha256"],
        }
        run = Run(config, environment(), after, self.manifest, self.data, before)
        gates = None
        if has_learned_router(encoder):
            gates = mean_gates_of_pairs(encoder, self.data, "train", self.plan.tasks, max_tokens=self.max_tokens)

        def measure(exported: Encoder) -> list[dict[str, Any]]:
            return scores.score(exported, self.data, self.manifest, self.work / "mteb", max_tokens=self.max_tokens)

        measured = measure if self.asked["evaluate"] else None
        cpu = encoder.cpu()
        export_encoder(cpu, place, average=gates is not None, run=run, gates=gates, measure=measured)
        if gates is not None:  # the dense model is not what was trained: that stands beside it
            shutil.copytree(self.work / "model", place / "adapters")
        if self.asked["experts"] and self.variant.experts:
            for route in (route for route, expert in self.variant.experts.items() if expert != variants.UNTRAINED):
                export_encoder(cpu, place / "experts" / route, route=route, run=run)
        shutil.copyfile(self.work / "metrics.jsonl", place / "metrics.jsonl")
        if (self.work / trackers.FOLDER).is_dir():
            shutil.copytree(self.work / trackers.FOLDER, place / trackers.FOLDER)
        done = {"asked": self.asked, "config": config, "before": before, "after": after}
        write_text(place / MARK, json.dumps(done, indent=1) + "\n")
        out.parent.mkdir(parents=True, exist_ok=True)
        move_folder(place, out)


def _of(values: list[float]) -> float:
    return sum(values) / len(values)


def _mean(rows: list[dict[str, Any]]) -> float:
    return _of([row["score"] for row in rows])
