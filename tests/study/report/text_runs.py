"""Finished runs of the text rows that nobody trained: every file that notebooks 27 to 29 read, drawn at random.

A method's scores are its effect, the set's difficulty and noise, so that a test knows what the tables must find.
"""

import json
import random
import shutil
from itertools import combinations
from pathlib import Path

import yaml

from study import paths
from study.presets import load_preset
from study.variant_rows import load_variants
from tests.study.report.adapter_runs import write_model
from tsembed.tasks import ROUTES, TASK_OF_TYPE

SETS_PER_TYPE, TEXTS, BLOCKS, DIM = 3, 8, 6, 8
NOISE = 0.2
# Instruction alone +1, experts alone +2, both +4: an interaction of 1.
EFFECTS = {"base": -10.0, "em": 0.0, "ic": 1.0, "mote_plain": 2.0, "mote": 4.0, "ea": 2.5}
WORDS = {"no_prefix": -3.0, "swapped": -2.0, "paraphrase_1": -1.0, "paraphrase_2": 0.5}
EFFECTS |= {f"{m}_{words}": EFFECTS[m] + change for m in ("ic", "mote") for words, change in WORDS.items()}
# Labels cost IC its gain; a higher rate doubles MoTE's gain over IC.
EFFECTS |= {
    "em_labels": -5.0,
    "ic_labels": -5.0,
    "mote_labels": -4.0,
    "em_both": -2.0,
    "ic_both": -1.5,
    "mote_both": -0.5,
}
EFFECTS |= {"em_fast": -1.0, "ic_fast": 1.0, "mote_fast": 7.0, "em_half": 0.5, "ic_half": 1.5, "mote_half": 3.0}
EFFECTS |= {"mote_last": 1.5, "mote_last_half": 2.0, "mote_eob": 3.0, "mote_two": 2.0, "mote_shared": 3.0}
# Two blocks: IC gains nothing; three: half a point. MoTE gains 1 over IC in both.
EFFECTS |= {"em_two_blocks": -8.0, "ic_two_blocks": -8.0, "mote_two_blocks": -7.0}
EFFECTS |= {"em_three_blocks": -4.0, "ic_three_blocks": -3.5, "mote_three_blocks": -2.5}
ROWS = tuple(name for name in EFFECTS if not name.endswith("_blocks"))
SEM = ("sem_classification", "sem_clustering", "sem_retrieval", "sem_mean", "sem_mean_base")
SIMILARITY = {"ic": 0.7, "mote": 0.5, "mote_plain": 0.9, "mote_no_prefix": 0.92}
EXPERTS = {
    "mote": 4,
    "mote_plain": 4,
    "mote_two": 2,
    "mote_shared": 3,
    "mote_last": 1.5,
    "mote_last_half": 2.5,
    "mote_eob": 2.5,
}


def write_text_study(root: Path, *, configs: Path, preset: str = "tiny", seeds: int = 3, effects=None) -> None:
    """Write configs/ and runs/ of a preset with all text rows, under a root that `paths` points to.

    Args:
        root: As `samples.use_folder` takes it.
        configs: The folder of the real configs, for the variants.
        preset: Its name.
        seeds: Of every row but the untrained one.
        effects: Other effects than `EFFECTS` of some methods.
    """
    shutil.copytree(configs / "variants", root / "configs/variants", dirs_exist_ok=True)
    small = {
        name: {
            "backbone": {"name": "embedded:x", "num_layers": number},
            "variants": {f"{m}_{name}": seeds for m in ("em", "ic", "mote")},
        }
        for name, number in (("two_blocks", 2), ("three_blocks", 3))
    }
    content = {
        "about": "x",
        "backbone": {"name": "embedded:x"},
        "data": {"source": "embedded"},
        "training": {"batch_size": 8, "steps": 4},
        "variants": dict.fromkeys((*ROWS, *SEM), seeds) | {"base": 1},
        "experiments": small,
    }
    _put(root / f"configs/presets/{preset}.yaml", yaml.safe_dump(content, sort_keys=False))
    known, changed = load_variants(), EFFECTS | (effects or {})
    for variant, seed in load_preset(preset).runs():
        types = [kind for kind in TASK_OF_TYPE if kind in known[variant].task_types]
        _write_run(paths.run_dir(preset, variant, seed), variant, seed, types, changed.get(variant, -1.0))


def _write_run(folder: Path, name: str, seed: int, types: list[str], effect: float) -> None:
    rng = random.Random(f"{name}/{seed}")
    scores = [
        {
            "task_type": kind,
            "dataset": f"{kind}{i}",
            "metric": "m",
            "score": 50 + 5 * i + effect + rng.gauss(0, NOISE),
        }
        for kind in types
        for i in range(SETS_PER_TYPE)
    ]
    _put(folder / "scores.json", json.dumps(scores))
    if name in SIMILARITY:
        rows = ["text,first,second,cosine"]
        for first, second in combinations(ROUTES, 2):
            rows += [f"{i},{first},{second},{SIMILARITY[name] + 0.02 * rng.random()}" for i in range(TEXTS)]
        _put(folder / "similarity.csv", "\n".join(rows) + "\n")
    width = EXPERTS.get(name, 1)
    write_model(folder / "model", {"attention": [500_000, DIM], "feed_forward": [int(250_000 * width), DIM]})
    _put(folder / "model/config.json", json.dumps({"num_hidden_layers": BLOCKS}))
    _put(folder / "done.json", "{}")


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
