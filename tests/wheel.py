"""Builds the wheel and uses it in an empty environment, as somebody does who never sees the checkout.

    python -m tests.wheel

Without extras task experts work on a tiny BERT, and what needs an extra says which; with `[peft]` MoE-LoRA works. It
needs a package index and a minute; the tests of the repository need neither.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASE = """
import importlib.util
for name in ("tsembed", "torch", "transformers"):
    assert importlib.util.find_spec(name), name
for name in ("study", "peft", "mteb", "datasets", "accelerate", "sentence_transformers"):
    assert importlib.util.find_spec(name) is None, f"{name} is here without its extra"

import torch
import tsembed
from transformers import BertConfig, BertModel

size = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, vocab_size=50)
dense = BertModel(BertConfig(**size)).eval()
tokens = dict(input_ids=torch.arange(2, 10).view(2, 4), attention_mask=torch.ones(2, 4, dtype=torch.long))
expected = dense(**tokens).last_hidden_state
model = tsembed.upcycle(dense, ["questions", "answers"])
assert torch.equal(model("questions", **tokens).last_hidden_state, expected)
loss = model("answers", **tokens).last_hidden_state.square().mean()
loss.backward()
trained = {name for name, weight in model.named_parameters() if weight.grad is not None}
assert any("answers" in name for name in trained) and not any("questions" in name for name in trained)
model.save_pretrained("saved")
again = tsembed.TaskRouted.from_pretrained("saved")
assert torch.equal(again("questions", **tokens).last_hidden_state, expected)
mean = tsembed.average_experts(model)
assert torch.allclose(mean(**tokens).last_hidden_state, expected, atol=1e-6)
vectors = torch.nn.functional.normalize(torch.randn(4, 8), dim=1)
assert tsembed.info_nce(vectors, vectors, temperature=0.1) > 0
try:
    tsembed.MoeLoraConfig
except ModuleNotFoundError as error:
    assert "pip install 'tsembed[peft]'" in str(error), error
else:
    raise AssertionError("MoE-LoRA without PEFT?")
print("without extras: task experts work")
"""
PEFT = """
import torch
import tsembed
from peft import PeftModel, get_peft_model
from transformers import BertConfig, BertModel

torch.manual_seed(0)
size = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, vocab_size=50)
dense = BertModel(BertConfig(**size)).eval()
tokens = dict(input_ids=torch.arange(2, 10).view(2, 4), attention_mask=torch.ones(2, 4, dtype=torch.long))
expected = dense(**tokens).last_hidden_state
settings = tsembed.MoeLoraConfig(num_experts=2, r=2, lora_dropout=0.0, target_modules=["query", "value"])
model = get_peft_model(dense, settings)
assert torch.allclose(model(**tokens).last_hidden_state, expected, atol=1e-6)
model(**tokens).last_hidden_state.square().mean().backward()
assert any(w.grad is not None and w.grad.abs().sum() > 0 for n, w in model.named_parameters() if "moe_lora" in n)
model.save_pretrained("adapter")
print("with [peft]: MoE-LoRA works")
"""


def main() -> None:
    """Build, install, use; any failure ends with its message and status 1."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        source = place / "source"  # a copy, so that the build leaves nothing in the checkout
        source.mkdir()
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, source)
        shutil.copytree(ROOT / "tsembed", source / "tsembed", ignore=shutil.ignore_patterns("__pycache__"))
        run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(place), str(source))
        (wheel,) = place.glob("tsembed-*.whl")
        houses = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
        assert houses == {"tsembed", wheel.name.split("-py3")[0] + ".dist-info"}, houses
        assert "tsembed/py.typed" in zipfile.ZipFile(wheel).namelist()
        run(sys.executable, "-m", "venv", str(place / "venv"))
        python = str(place / "venv" / "bin" / "python")
        install = (python, "-m", "pip", "install", "-qq", "--no-input")
        if sys.platform == "linux":  # the ordinary build would bring gigabytes of CUDA
            locked = (ROOT / "requirements.lock").read_text().split("torch==")[1].split()[0]
            try:  # the user's own index first, as in workflow/environment.py
                run(*install, f"torch=={locked}+cpu")
            except SystemExit:
                run(*install, "--index-url", "https://download.pytorch.org/whl/cpu", f"torch=={locked}+cpu")
        run(*install, str(wheel))
        use = (python, "-I", "-c")
        run(*use, BASE, cwd=place)
        console = subprocess.run([place / "venv/bin/tsembed", "export", "--help"], capture_output=True, text=True)
        assert console.returncode == 0, console
        assert "SentenceTransformer" in console.stdout, console
        run(*install, f"{wheel}[peft]")
        run(*use, PEFT, cwd=place)


def run(*command: str, cwd: Path | None = None) -> None:
    """Run to a success.

    Raises:
        SystemExit: If it fails.
    """
    outside = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if subprocess.run(command, cwd=cwd, env=outside | {"HF_HUB_OFFLINE": "1"}).returncode:
        sys.exit(f"failed: {' '.join(command)[:300]}")


if __name__ == "__main__":
    main()
