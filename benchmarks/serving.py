"""Dense exports served by ONNX Runtime and OpenVINO, 8 bits included, beside PyTorch: agreement and speed on a CPU.

    python benchmarks/serving.py EXPORT [--texts 512] [--batch-size 32] [--repeats 3]

EXPORT is a folder that `tsembed export` wrote with `--route` or `--average`. The script stands alone: it needs
sentence-transformers with the backends, in an environment of its own (docs/serving.md), and nothing of this project.
The texts are paragraphs of Python's own help pages. Backends take turns, so that a busy moment hits all of them; of
each the best time counts. Cosine is that of one text's embeddings by PyTorch and by the backend.
"""

import argparse
import json
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from pydoc_data import topics

import numpy as np

PACKAGES = "sentence-transformers transformers torch onnxruntime openvino optimum-onnx optimum-intel".split()


def paragraphs(number: int) -> list[str]:
    """The first paragraphs of Python's help pages that are sentences, in the order of their pages."""
    found = [" ".join(p.split()) for text in topics.topics.values() for p in text.split("\n\n")]
    return [p for p in dict.fromkeys(found) if len(p.split()) > 5][:number]


def backends(folder: str, work: Path) -> dict:
    """Name -> model. Each backend's files are written to a folder under `work`."""
    from optimum.intel import OVWeightQuantizationConfig
    from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model

    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    kernel = "avx512_vnni" if "avx512_vnni" in flags else "arm64" if platform.machine() == "aarch64" else "avx2"
    onnx = SentenceTransformer(folder, backend="onnx", device="cpu", model_kwargs={"export": True})
    onnx.save_pretrained(str(work / "onnx"))
    export_dynamic_quantized_onnx_model(onnx, kernel, str(work / "onnx"))
    small = {"file_name": f"onnx/model_qint8_{kernel}.onnx" if kernel != "avx2" else "onnx/model_quint8_avx2.onnx"}
    eight_bits = {"export": True, "quantization_config": OVWeightQuantizationConfig(bits=8)}
    return {
        "PyTorch, fp32": SentenceTransformer(folder, device="cpu"),
        "ONNX Runtime, fp32": onnx,
        f"ONNX Runtime, int8 ({kernel})": SentenceTransformer(
            str(work / "onnx"), backend="onnx", device="cpu", model_kwargs=small
        ),
        "OpenVINO, fp32": SentenceTransformer(folder, backend="openvino", device="cpu", model_kwargs={"export": True}),
        "OpenVINO, int8 weights": SentenceTransformer(
            folder, backend="openvino", device="cpu", model_kwargs=eight_bits
        ),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("export")
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    texts = paragraphs(arguments.texts)
    with tempfile.TemporaryDirectory() as work:
        models = backends(arguments.export, Path(work))
        seconds: dict[str, list[float]] = {name: [] for name in models}
        embeddings = {}
        for _ in range(arguments.repeats + 1):  # the first round warms up
            for name, model in models.items():
                began = time.perf_counter()
                embeddings[name] = model.encode(texts, batch_size=arguments.batch_size, normalize_embeddings=True)
                seconds[name].append(time.perf_counter() - began)
    first = next(iter(models))
    print(f"{len(texts)} texts, {platform.machine()}, {json.dumps({p: version(p) for p in PACKAGES})}")
    print("| backend | texts per second | against PyTorch | cosine with PyTorch, mean | lowest |")
    print("|---|---|---|---|---|")
    for name in models:
        cosine = np.sum(embeddings[first] * embeddings[name], 1)
        best, reference = min(seconds[name][1:]), min(seconds[first][1:])
        speed = f"{len(texts) / best:.0f} | {reference / best:.2f}"
        print(f"| {name} | {speed} | {cosine.mean():.4f} | {cosine.min():.4f} |")


if __name__ == "__main__":
    main()
