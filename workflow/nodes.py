"""The nodes of a study: their names, and what decides that one runs again.

Names: `data` and `data-<experiment>`, `<variant>/seed<k>` or, of an experiment whose runs share a process,
`<experiment>/seed<k>`, `<notebook>`, `site`. On a cluster a training of several processes is a node of its own,
`<variant>/seed<k>/training`. The Snakefile, `scheduler.py` and `node.py` share this file.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from study import fetch, notebooks, paths, presets, variant_rows
from tsembed.data.folder.files import ENDINGS
from tsembed.data.manifest import read_manifest
from tsembed.settings import Variant

LAUNCH = "10_train"  # the notebook of one run
TRAINING = "/training"  # what the name of a run's training ends in where it is a node of its own
TRAINED = "trained.json"  # of study/runs/run.py, whose modules are not for a login node
NOT_SHOWN = ("notebook.py", "reference", "paper")  # of report/, a file or a folder: no result depends on them
SITE_ALONE = ("site.py", "pages")  # of report/: no notebook depends on them
TIMED = ("40_efficiency",)  # need the machine for themselves


@dataclass(frozen=True)
class RunGraph:
    """All nodes of one preset.

    Args:
        preset: A name in configs/presets.
        data: The folder of a local source or of a mirror, absolute, or "".
        processes: Of one training on a cluster, over all its nodes.
    """

    preset: str
    data: str = ""
    processes: int = 1

    @cached_property
    def settings(self) -> presets.Preset:
        """The preset, with the folder in place of its `data.path` where there is one."""
        return presets.load_preset(self.preset, self.data or None)

    @cached_property
    def runs(self) -> list[tuple[str, int]]:
        """(variant, or experiment whose runs share a process; seed) of every node that trains."""
        return list(dict.fromkeys((self.settings.node_name(variant), seed) for variant, seed in self.settings.runs()))

    @cached_property
    def trainings(self) -> list[tuple[str, int]]:
        """The runs whose training is a node of its own, so that one process scores the model and no other idles.

        Those that train with several processes; and those that did, so that a finished run keeps its inputs.
        """
        several = [run for run in self.runs if self._trains_with_several(*run)]
        return [run for run in self.runs if self._is_there(self._trained(*run)) or run in several]

    def _trains_with_several(self, variant: str, seed: int) -> bool:
        if self.processes == 1 or self.settings.variants_of_node(variant, seed) != [variant]:
            return False
        trained = self._variants[variant].trained and presets.resolve(self.settings, variant, seed).training.steps != 0
        return trained and not self._is_there(self._mark(variant, seed))

    def scored_by_several(self, variant: str, seed: int) -> bool:
        """Whether several processes can share the sets of a run: one of texts that has a process of its own."""
        alone = self.settings.variants_of_node(variant, seed) == [variant]
        return self.processes > 1 and alone and not self._variants[variant].of_images

    def _trained(self, variant: str, seed: int) -> Path:
        return self._relative(paths.run_dir(self.preset, variant, seed)) / TRAINED

    @staticmethod
    def _is_there(path: Path) -> bool:
        return (paths.ROOT / path).is_file()

    def inputs_of_run(self, variant: str, seed: int) -> list[str]:
        """The nodes that a run reads, its own training included where that is a node."""
        training = [f"{variant}/seed{seed}{TRAINING}"] * ((variant, seed) in self.trainings)
        return [*self.needs(variant, seed), *training]

    @cached_property
    def analyses(self) -> list[str]:
        """The notebooks that read results. Those of runs that the preset does not have are not part of it."""
        return notebooks.analyses_of(self.settings)

    def needs(self, variant: str, seed: int) -> list[str]:
        """The nodes that a run reads: its data, and those of the runs whose weights it takes."""
        variants = self.settings.variants_of_node(variant, seed)
        partners = [partner for name in variants for partner in self._variants[name].others]
        jobs = [
            f"{job}/seed{self.settings.seed_of_weights(partner, seed)}"
            for partner in partners
            if (job := self.settings.node_name(partner)) != variant
        ]
        return [self.data_node(self.settings.experiment_of(variants[0])), *dict.fromkeys(jobs)]

    @cached_property
    def _variants(self) -> dict[str, Variant]:
        return variant_rows.load_variants()

    def priority(self, variant: str, seed: int) -> int:
        """Seed after seed, so that an early stop leaves whole seeds; of a seed first what others wait for.

        Then the nodes of most runs: a long one that starts last would leave the other cores idle.
        """
        awaited = f"{variant}/seed{seed}" in self._awaited
        return 1_000_000 - 1000 * seed + 500 * awaited + min(499, len(self.settings.variants_of_node(variant, seed)))

    @cached_property
    def _awaited(self) -> set[str]:
        return {node for variant, seed in self.runs for node in self.needs(variant, seed)}

    def data_node(self, experiment: str) -> str:
        """The node that prepares the data of an experiment."""
        return paths.data_dir(self.preset, self.settings.experiment_with_same_data(experiment)).name

    @cached_property
    def data_nodes(self) -> dict[str, str]:
        """Node -> the experiment that it prepares the data for."""
        names = self.settings.all_experiments
        return {self.data_node(name): self.settings.experiment_with_same_data(name) for name in names}

    def inputs_of(self, notebook: str) -> list[str]:
        """The nodes that an analysis reads. Notebooks 20 to 29 wait for the preset's own runs and those they name."""
        other_analyses = [n for n in self.analyses if n != notebooks.CLAIMS] if notebook == notebooks.CLAIMS else []
        awaited = {presets.OWN_EXPERIMENT, *self.settings.variants}
        for name in notebooks.experiments_of(notebook, self.settings):
            awaited |= {name, *self.settings.experiments[name].variants}
        runs = [(v, s) for v, s in self.runs if v in awaited or not notebook.startswith("2")]
        return [*(f"{variant}/seed{seed}" for variant, seed in runs), *other_analyses]

    @property
    def outputs(self) -> dict[str, Path]:
        """Node -> the file that says that it is complete, relative to the root, in the order of work."""
        marks = {
            n: self._relative(paths.report_dir(self.preset)) / "notebooks" / f"{n}.ipynb.done" for n in self.analyses
        }
        return {
            **{
                node: self._relative(paths.data_dir(self.preset, experiment)) / "manifest.json"
                for node, experiment in self.data_nodes.items()
            },
            **{f"{v}/seed{s}{TRAINING}": self._trained(v, s) for v, s in self.trainings},
            **{f"{v}/seed{s}": self._mark(v, s) for v, s in self.runs},
            **marks,
            "site": self._relative(paths.report_dir(self.preset)) / "index.html",
        }

    def _mark(self, variant: str, seed: int) -> Path:
        """Of several runs in one node: the notebook's mark, for a failed node loses its output and they stay."""
        folder = self._relative(paths.run_dir(self.preset, variant, seed))
        several = variant in (*self.settings.experiments, presets.OWN_EXPERIMENT)
        return folder / (f"{LAUNCH}.ipynb.done" if several else "done.json")

    @property
    def offline(self) -> bool:
        """Whether neither data nor weights come from a network, or what does is here already."""
        return fetch.is_fetched(self.settings) or all(
            (each.backbone.name.startswith(("embedded:", "random:")) or Path(each.backbone.name).is_dir())
            and (each.data.source not in presets.SOURCES_OF_HUB or each.data.path is not None)
            for each in self.settings.all_experiments.values()
        )

    def data_files(self, node: str) -> list[str]:
        """The files of a local source, behind links too: a change of one prepares the data anew."""
        data = self.settings.all_experiments[self.data_nodes[node]].data
        kinds = (*ENDINGS, ".zip", "README.md", "task.json")  # the last two: origin, licence and task of a set
        return sorted(str(p) for p in _files_below(data.path) if p.name.endswith(kinds)) if data.path else []

    def data_key(self, node: str) -> str:
        """Changes with the data settings and, for embedded data, with the packages that they are taken from."""
        lock = paths.ROOT / "requirements.lock"
        data = self.settings.all_experiments[self.data_nodes[node]].data
        embedded = data.source in presets.SOURCES_WITHOUT_PATH and lock.is_file()
        return _hash(data.model_dump_json(), _content([lock]) if embedded else "")

    def run_key(self, variant: str, seed: int) -> str:
        """Changes with the settings of the run. The data are not in it: their manifest is an input of the run.

        Nor are defaults, so that a new setting does not make finished runs old; `run.py` guards those that change.
        """
        unread: dict[str, Any] = {"data": True, "preset": True}
        unread |= {section: {name} for section, _, name in (each.partition(".") for each in presets.NAMES_ALONE)}
        settings = [
            presets.resolve(self.settings, member, seed).model_dump(mode="json", exclude=unread, exclude_defaults=True)
            for member in self.settings.variants_of_node(variant, seed)
        ]
        return _hash(json.dumps(settings[0] if len(settings) == 1 else settings, sort_keys=True))

    def analysis_key(self, notebook: str) -> str:
        """Changes with the notebook's cells (not with their outputs) and with the code and numbers that it shows."""
        cells = json.loads((paths.NOTEBOOKS / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
        return _hash(json.dumps([(c["cell_type"], c["source"]) for c in cells]), _content(_code()), *self._labels())

    def site_key(self) -> str:
        """Changes with the code that makes the pages, and with the labels and colours of the variants."""
        return _hash(_content(_code(site=True)), *self._labels())

    def _labels(self) -> list[str]:
        variants, looks = self._variants, variant_rows.load_looks()
        names = [v for experiment in self.settings.all_experiments.values() for v in experiment.variants]
        return [f"{v}={variants[v].label} {looks[v].model_dump_json()}" for v in names]

    @staticmethod
    def _relative(path: Path) -> Path:
        return path.relative_to(paths.ROOT)


def folder_of_data(preset: str, given: str = "") -> str:
    """The folder that a preset reads its data from: the given one, else that of the data that are prepared, or "".

    So a later call needs no --data. Where neither is there, a preset of the user's own data has nothing to read.

    Raises:
        ValueError: If the preset needs a folder and none is known, or the known one is no longer there.
    """
    if given:
        return given
    needing = {
        name: each.data
        for name, each in presets.load_preset(preset).all_experiments.items()
        if each.data.source not in presets.SOURCES_WITHOUT_PATH and each.data.path is None
    }
    for name in needing:
        place = paths.data_dir(preset, name)
        if (place / "manifest.json").is_file() and (known := read_manifest(place).get("path")):
            if Path(known).is_dir():
                return known
            raise ValueError(f"{known}, of which the data of {preset} were prepared, is not there; name it with --data")
    if any(data.source.startswith("local") for data in needing.values()):
        raise ValueError(f"preset {preset} reads a folder of yours: name it with --data FOLDER (docs/data_layout.md)")
    return ""


def _files_below(folder: Path) -> Iterator[Path]:
    """The files of a folder and of the folders in it, linked ones too; a link back to a folder above is not entered."""
    for place, folders, files in os.walk(folder, followlinks=True):
        above = {Path(place).resolve(), *Path(place).resolve().parents}
        folders[:] = [name for name in folders if (Path(place) / name).resolve() not in above]
        yield from (Path(place) / name for name in files)


def _code(site: bool = False) -> list[Path]:
    """The code that notebooks (or the site) show results with, and the papers' numbers."""
    package = Path(presets.__file__).parent
    report = package / "report"
    shown = [p for p in report.rglob("*.py") if p.relative_to(report).parts[0] not in NOT_SHOWN]
    shown = [p for p in shown if site or p.relative_to(report).parts[0] not in SITE_ALONE]
    files = [
        *(package / "analysis").glob("*.py"),
        *shown,
        *(p for kind in ("yaml", "csv") for p in paths.REFERENCES.glob(f"*.{kind}")),
    ]
    return sorted([*files, *(p for p in (report / "templates").rglob("*") if site and p.is_file())])


def _content(files: list[Path]) -> str:
    return _hash(*(f"{p.name}\0{p.read_bytes().hex()}" for p in files))


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
