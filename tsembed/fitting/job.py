"""The steps of one `tsembed.fit`, each kept in the work's folder: untrained encoder, scores, training, export."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..contrastive.matryoshka import nested_dims
from ..data.manifest import load_table
from ..encoder.build import best_device, build, load
from ..encoder.text import Encoder
from ..export.dense import has_learned_router
from ..export.folder import export_encoder
from ..export.gates import mean_gates_of_pairs
from ..export.run import Run
from ..files import move_folder, write_folder, write_text
from ..mote.average import average_models
from ..settings import Backbone, Training, Variant
from ..tasks import TASKS
from ..training import trackers
from ..training.batches import inputs_of
from ..training.lengths import cut_texts
from ..training.loop import train
from . import plan as plans
from . import scores, variants
from .environment import environment
from .names import MAX_TOKENS

CHECKPOINT_EVERY = 50  # steps
MARK = "fit.json"  # in a finished folder: its settings and scores


class Job:
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
            said.append(f"loss of {task}: {mean_of(losses[:part]):.3f} at first, {mean_of(losses[-part:]):.3f} at last")
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


def mean_of(values: list[float]) -> float:
    """The mean.

    >>> mean_of([1.0, 2.0])
    1.5
    """
    return sum(values) / len(values)
