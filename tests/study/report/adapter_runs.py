"""Finished runs of TSEmbed's rows that nobody trained: every file that the notebooks read, drawn at random.

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
from tsembed.settings import Variant
from tsembed.tasks import IMAGE_TASKS, TASK_OF_IMAGE_TYPE, TASK_OF_TYPE

LAYERS = [f"layers.{block}.{name}" for block in (0, 1) for name in ("q_proj", "up_proj")]
EXPERTS, STEPS, WINDOW, BATCHES = 4, 32, 8, 3
RANK, DIM = 16, 8
EFFECTS = {
    "vl_base": -20.0,
    "vl_lora": -1.0,
    "vl_moe_lora": 1.0,
    "tsembed": 2.0,
    "tsembed_one_stage": 0.5,
    "tsembed_deviation": 2.0,
    "tsembed_centered": 3.0,
    "vl_moe_lora_mixed": 1.0,
    "vl_moe_lora_mixed_informed": 2.0,
    "tsembed_mixed": 4.0,
}
STUDIES = {
    "captions": ("vl_base",),
    "images": ("vl_lora", "vl_lora_wide", "vl_moe_lora", "tsembed", "tsembed_one_stage", "vl_moe_lora_task"),
    "images_mixed": (
        "vl_lora_wide_mixed",
        "vl_moe_lora_mixed",
        "vl_moe_lora_mixed_informed",
        "tsembed_mixed",
        "tsembed_mixed_one_stage",
        "tsembed_mixed_positive",
        "tsembed_mixed_random",
        "tsembed_mixed_hardness",
    ),
    "images_adapter": (
        "vl_moe_lora_2",
        "vl_moe_lora_8",
        "vl_moe_lora_top1",
        "vl_moe_lora_r4",
        "vl_moe_lora_sequence",
        "vl_moe_lora_balanced",
    ),
    "images_negatives": (
        "tsembed_beta3",
        "tsembed_top8",
        "tsembed_kl",
        "tsembed_hardness",
        "tsembed_random",
        "tsembed_deviation",
        "tsembed_centered",
    ),
    "text_adapters": (
        "lora",
        "lora_wide",
        "lora_wide_slow",
        "moe_lora",
        "tsembed_text",
        "tsembed_text_one_stage",
        "tsembed_text_deviation",
        "tsembed_text_centered",
        "moe_lora_task",
    ),
}
FEW = ("images_adapter", "images_negatives")  # one seed


def write_study(
    root: Path, preset: str = "tiny", *, seeds: int = 3, experiments=tuple(STUDIES), configs=None, first_seed=0
) -> None:
    """Write configs/, the prepared data's manifest and runs/ of a preset under a root that `paths` points to.

    Args:
        experiments: Those of `STUDIES` that the preset has.
        configs: The folder of the real configs, for the variants.
        first_seed: The preset's.
    """
    shutil.copytree(configs / "variants", root / "configs/variants", dirs_exist_ok=True)
    vl = {"backbone": {"name": "random:qwen2-vl"}, "data": {"source": "digits"}}
    also = {
        study: (vl if study != "text_adapters" else {})
        | {
            "variants": dict.fromkeys(STUDIES[study], 1 if study in FEW else seeds),
            "share_process": study != "captions",
        }
        for study in experiments
    }
    own = {
        "about": "x",
        "backbone": {"name": "embedded:x"},
        "data": {"source": "embedded"},
        "training": {"batch_size": 8},
        "variants": {"base": 1},
        "first_seed": first_seed,
        "experiments": also,
    }
    _put(root / f"configs/presets/{preset}.yaml", yaml.safe_dump(own, sort_keys=False))
    sets = [
        {
            "name": f"{task}_{i}",
            "part": "eval",
            "format": "ranking",
            "task": task,
            "group": "seen" if i < 2 else "unseen",
            "notes": {},
            "chance": 5.0,
        }
        | ({"answers": 10.0} if i else {})
        for task in IMAGE_TASKS
        for i in range(3)
    ]
    plan = load_preset(preset)
    if "captions" in experiments:
        folder = paths.data_dir(preset, plan.experiment_with_same_data("captions"))
        _put(folder / "manifest.json", json.dumps({"datasets": sets, "unused": []}))
    images = {s["name"]: {task: t for t, task in TASK_OF_IMAGE_TYPE.items()}[s["task"]] for s in sets}
    text = {f"{kind}{i}": kind for kind in TASK_OF_TYPE for i in range(2)}
    known = load_variants()
    for variant, seed in plan.runs():
        of_text = plan.experiment_of(variant) in ("", "text_adapters")
        _write_run(paths.run_dir(preset, variant, seed), variant, known[variant], seed, text if of_text else images)


def _write_run(folder: Path, name: str, variant: Variant, seed: int, sets: dict[str, str]) -> None:
    rng = random.Random(f"{name}/{seed}")
    level = 40 + seed + EFFECTS.get(name, 0)
    scores = [
        {"task_type": kind, "dataset": d, "metric": "m", "score": level + 3 * i % 17 + rng.gauss(0, 0.5)}
        for i, (d, kind) in enumerate(sets.items())
    ]
    _put(folder / "scores.json", json.dumps(scores))
    _put(folder / "config.yaml", yaml.safe_dump({"training": {"batch_size": 8}}))
    adapter = variant.adapter
    experts = adapter is not None and adapter.kind == "moe_lora"
    width = 4 if name.endswith("wide") or experts else 1
    shapes = {f"{layer}.A": [width * RANK, DIM] for layer in LAYERS}
    shapes |= {f"{layer}.router": [EXPERTS, DIM] for layer in LAYERS if experts and adapter.router != "task"}
    write_model(folder / "model", {"weight": [100, DIM]} if adapter is None else shapes)
    second = {None: STEPS, "specialised": 18}.get(variant.negatives and variant.negatives.first_stage, 0)
    rows = [
        {
            "step": s,
            "task": "t",
            "dataset": "d",
            "loss": 3 - 0.05 * s,
            "grad_norm": 2 + rng.random(),
            "examples_per_s": 8 / (0.12 if experts else 0.1),
        }
        | ({"stage": 1 + (s >= second)} if variant.negatives else {})
        for s in range(STEPS)
    ]
    _put(folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    if variant.probe and variant.of_images:
        _write_gradients(folder, rng, orthogonal=experts)
    if experts and variant.of_images:
        _write_routing(folder, rng, second)
        if variant.probe:
            _write_proxy(folder, rng)
    _put(folder / "done.json", "{}")


def _write_gradients(folder: Path, rng: random.Random, *, orthogonal: bool) -> None:
    rows = ["batch,first,second,block,part,cosine,norm_first,norm_second"]
    pairs = [*combinations(IMAGE_TASKS, 2), *((task, task) for task in IMAGE_TASKS)]
    for batch in range(BATCHES):
        for first, second in pairs:
            mean = 0.5 if first == second else 0.0 if orthogonal else -0.2
            rows += [
                f"{batch},{first},{second},{block},{part},{mean + 0.05 * rng.random()},1,1"
                for block in (0, 1)
                for part in ("attention", "feed_forward")
            ]
    _put(folder / "gradients.csv", "\n".join(rows) + "\n")
    sets = ["task,batch,first,second,block,part,cosine,norm_first,norm_second"]
    for task in IMAGE_TASKS:
        for first, second in ((f"{task}_0", f"{task}_1"), (f"{task}_0", f"{task}_0"), (f"{task}_1", f"{task}_1")):
            mean = 0.7 if first == second else 0.0 if orthogonal else -0.5
            sets += [
                f"{task},0,{first},{second},{block},attention,{mean + 0.05 * rng.random()},1,1" for block in (0, 1)
            ]
    _put(folder / "set_gradients.csv", "\n".join(sets) + "\n")


def _gates(rng: random.Random, task: int, sharpness: float) -> list[float]:
    weights = [1 + rng.random() + sharpness * (e == task) for e in range(EXPERTS)]
    return [w / sum(weights) for w in weights]


def _write_routing(folder: Path, rng: random.Random, second: int) -> None:
    windows, use = [], ["task,dataset,side,layer,expert,share"]
    for step in range(WINDOW - 1, STEPS, WINDOW):
        found = {task: [_gates(rng, i, step / 4) for _ in LAYERS] for i, task in enumerate(IMAGE_TASKS)}
        layers = [0.01 * (step + i) + 0.05 * rng.random() for i in range(len(LAYERS))]
        mean = sum(layers) / len(layers)
        row = {
            "step": step,
            "stage": 1 + (step >= second),
            "mutual_information": mean,
            "untrained": 0.02,
            "noise": 0.004,
        }
        row |= {"set_information": 1.5 * mean, "set_by_layer": [1.5 * layer for layer in layers]}
        windows.append(json.dumps(row | {"by_layer": layers, "use": found}) + "\n")
    for i, task in enumerate(IMAGE_TASKS):
        for side in ("query", "document"):
            for layer in LAYERS:
                use += [f"{task},{task}_0,{side},{layer},{e},{x}" for e, x in enumerate(_gates(rng, i, 8))]
    _put(folder / "routing.jsonl", "".join(windows))
    _put(folder / "use.csv", "\n".join(use) + "\n")


def _write_proxy(folder: Path, rng: random.Random) -> None:
    rows = ["router,layer,pool,reference,correlation,pairs"]
    for router, mean in (("trained", 0.3), ("random", 0.1)):
        for layer in ("all", *range(len(LAYERS))):
            for pool in ("all", "same task"):
                rows += [
                    f"{router},{layer},{pool},{r},{mean + 0.05 * rng.random()},99" for r in ("embedding", "answer")
                ]
    _put(folder / "proxy.csv", "\n".join(rows) + "\n")
    information = ["router,label,layer,information,noise"]
    for router, value in (("trained", 0.2), ("random", 0.02), ("untrained", 0.01)):
        for label, times in (("task", 1), ("set", 2)):
            information.append(f"{router},{label},all,{times * value},0.005")
            information += [f"{router},{label},{i},{times * value}," for i in range(len(LAYERS))]
    _put(folder / "information.csv", "\n".join(information) + "\n")
    weights = ["by,relation,negatives,share,weight,deviation,low,high,correlation"]
    for by, most in (("query", 1.4), ("positive", 1.6), ("embedding", 2.0)):
        weights.append(f"{by},all,90,1,1,0.3,0.5,{most},0.2")
        weights.append(f"{by},same set,40,0.44,{most},0.1,1.1,{most},0.1")
    _put(folder / "weights.csv", "\n".join(weights) + "\n")


def write_model(folder: Path, shapes: dict[str, list[int]]) -> None:
    """model.safetensors of float32 tensors, its values left out: a sparse file with a real header."""
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, (rows, columns) in shapes.items():
        header[name] = {"dtype": "F32", "shape": [rows, columns], "data_offsets": [end, end + 4 * rows * columns]}
        end += 4 * rows * columns
    text = json.dumps(header).encode()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
