"""The preset `gpu`, cut to tiny sizes, from an empty folder to its site, with all data and backbones from a hub.

The hub is a server on this machine that speaks its API; the client is the hub's own, turned to it by HF_ENDPOINT. Only
sizes differ from `configs/presets/gpu.yaml`. It takes about twenty minutes of two cores, so it is started by hand:

    TSEMBED_HUB_STUDY=1 python -m pytest tests/workflow/test_hub_study.py

- Every node is done, the site has its pages, and a second call finds nothing to do.
- Files came at the pinned revisions and no others; with an empty cache and no network the call ends in one clear line.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests import checkout, hub_repositories
from tests.hub_server import HubServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("TSEMBED_HUB_STUDY"), reason="takes minutes: set TSEMBED_HUB_STUDY=1"),
]
TEXT = ("base", "em", "sem_classification", "sem_clustering", "sem_retrieval", "ic", "mote", "ea")
IMAGES = ("vl_lora", "vl_lora_wide", "vl_moe_lora", "tsembed", "tsembed_one_stage", "vl_moe_lora_task")
SIZES = {"steps": 2, "batch_size": 8, "warmup_steps": 1, "precision": "fp32", "checkpoint_every": 1, "num_workers": 0}


def cut(content: dict) -> dict:
    """The preset `gpu` with tiny sizes, one seed, and the runs of an experiment in one process."""
    content["data"] |= {"train_rows": 40, "validation_rows": 4}
    content["training"] |= SIZES | {"max_query_tokens": 16, "max_document_tokens": 24}
    content["evaluation"] |= {"sets_per_type": 1, "max_tokens": 24, "token_budget": 2048}
    content |= {"variants": dict.fromkeys(TEXT, 1), "judged": False, "share_process": True}
    for experiment in content["experiments"].values():
        experiment["backbone"] |= {"max_pixels": 3136}
        experiment["data"] |= {"train_rows": 8, "eval_rows": 4, "validation_rows": 2}
        experiment["evaluation"] |= {"sets_per_type": 1, "max_tokens": 64, "token_budget": 2048}
    images = content["experiments"]["images"]
    images["training"] |= SIZES | {"max_query_tokens": 64, "max_document_tokens": 64, "grad_cache_chunk_size": 4}
    images |= {"variants": dict.fromkeys(IMAGES, 1), "share_process": True}
    return content


@pytest.fixture
def root(tmp_path):
    """A whole checkout without results, in which `gpu` is cut."""
    root = tmp_path / "checkout"
    root.mkdir()
    for name in ("run_all.sh", "requirements.lock", "pyproject.toml"):
        shutil.copy(checkout.ROOT / name, root / name)
    for name in ("workflow", "tsembed", "study", "configs", "notebooks", "references", "benchmarks"):
        shutil.copytree(checkout.ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    path = root / "configs" / "presets" / "gpu.yaml"
    path.write_text(yaml.safe_dump(cut(yaml.safe_load(path.read_text())), sort_keys=False))
    return root


def call(root: Path, *words: str, **more: str) -> subprocess.CompletedProcess:
    variables = checkout.environment(HF_HUB_DISABLE_XET="1", TSEMBED_CALLER=str(root), **more)
    command = [root / "run_all.sh", *words]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=3600, cwd=root)


@pytest.mark.parametrize("only", ["base,em,ic,mote,ea", ""], ids=["some of the text", "all"])
def test_gpu_runs_from_the_hub_to_its_site(only, root, tmp_path):
    from study.presets import load_preset

    preset = load_preset("gpu")
    hub_repositories.write_all(tmp_path / "hub", preset)
    with HubServer(tmp_path / "hub") as hub:
        hub.commits = hub_repositories.commits(preset)
        words = ["gpu", *(["--only", only] if only else [])]
        answer = call(root, *words, HF_ENDPOINT=hub.url)
        assert answer.returncode == 0, answer.stdout[-8000:] + answer.stderr[-4000:]
        site = root / "reports" / "gpu" / "index.html"
        assert site.is_file()
        for variant in only.split(",") if only else (*TEXT, "vl_base", *IMAGES):
            assert (root / "runs" / "gpu" / variant / "seed0" / "done.json").is_file(), variant
        served = [line.split()[1] for line in hub.requests if "/resolve/" in line]
        assert {commit for path in served for commit in [path.split("/resolve/")[1].split("/")[0]]} <= set(
            hub.commits.values()
        )
        of_images = [] if only else ["Qwen/Qwen2-VL-2B-Instruct", "TIGER-Lab/MMEB-train", "TIGER-Lab/MMEB-eval"]
        for repository in ("nomic-ai/nomic-bert-2048", "mteb/arguana", *of_images):
            assert any(f"/{repository}/resolve/" in path for path in served), repository
        assert "Nothing to do" in call(root, *words, HF_ENDPOINT=hub.url).stdout


def test_without_a_network_gpu_ends_in_one_line(root):
    answer = call(root, "gpu", "--only", "em", HF_ENDPOINT="http://127.0.0.1:9")
    assert answer.returncode != 0
    log = (root / "runs" / "gpu" / "logs" / "data.log").read_text()
    lines = [line for line in log.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "cannot be reached" in lines[0]
    assert "Traceback" not in log
    assert not (root / "runs" / "gpu" / "data" / "manifest.json").exists()
