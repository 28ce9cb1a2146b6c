"""Encoding against SentenceTransformer.encode, on all-MiniLM-L6-v2: `python -m benchmarks.encoding [--rounds N]`."""

import argparse

import numpy as np
import torch

from tsembed.encoder.backbones import embedded_folder
from tsembed.encoder.build import build
from tsembed.encoder.precision import has_fast_bf16
from tsembed.settings import Backbone, Variant

from . import mfu
from .timing import compare, line, machine

MINILM = "embedded:all-MiniLM-L6-v2"
WORDS = (
    "search engines rank documents by how well they answer a question while embeddings place texts with the same "
    "meaning close together so that a nearest neighbour lookup finds them even if they share no word at all"
).split()


def texts(lengths: np.ndarray) -> list[str]:
    """Texts of about so many tokens each (words of the list are one token, mostly)."""
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, max(1, n - 2))) for n in lengths]


def main() -> None:
    """Print texts per second of both encoders, by length of the texts."""
    from sentence_transformers import SentenceTransformer

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    mfu.add_option(parser)
    options = parser.parse_args()
    rounds, device = options.rounds, torch.device(options.device)
    peer = SentenceTransformer(embedded_folder(MINILM), device=options.device)
    ours = build(Backbone(name=MINILM), Variant(label="EM", instruction=False)).to(device)
    size, peak = sum(mfu.weights(ours.backbone).values()), mfu.peak(device, measure=options.measure_peak)
    mixed = np.clip(np.random.default_rng(1).lognormal(3.3, 0.8, 512), 4, 250).astype(int)
    sets = {
        "short (16 tokens)": (texts(np.full(512, 16)), 1.0),
        "long (128 tokens)": (texts(np.full(128, 128)), None),
        "mixed (log-normal, 4 to 250)": (texts(mixed), 1.07),
    }
    print(machine())
    print("batch size 32 for SentenceTransformer.encode (its default); no dropout in either")
    print(f"mixed lengths: quartiles {np.quantile(mixed, [0, 0.25, 0.5, 0.75, 1]).astype(int).tolist()} tokens")
    for name, (batch, bar) in sets.items():
        expected = peer.encode(batch)
        found = ours.encode(batch, "clustering", max_tokens=256)
        assert np.abs(found - expected).max() < 1e-5, "the contestants do not compute the same"
        timed = compare(lambda b=batch: encode_ours(ours, b), lambda b=batch: encode_peer(peer, b), rounds)
        print(line(f"fp32, {name}", timed, bar), flush=True)
        done = mfu.operations(sum(map(len, ours.tokenize(batch, "clustering", max_tokens=256))), embedding=size)
        print(mfu.shown(f"fp32, {name}", done, timed["ours"], peak))
        if has_fast_bf16(device):
            half = ours.encode(batch, "clustering", max_tokens=256, precision="bf16")
            cosine = float((half * expected).sum(axis=1).min())
            timed = compare(lambda b=batch: encode_ours(ours, b, "bf16"), lambda b=batch: encode_peer(peer, b), rounds)
            holds = "holds" if cosine >= 0.9995 else "MISSED"
            print(line(f"bf16, {name}", timed, 1.7) + f"; smallest cosine {cosine:.5f}, bar >= 0.9995: {holds}")
            print(mfu.shown(f"bf16, {name}", done, timed["ours"], peak))
    if not has_fast_bf16(device):
        print("bf16: not measured, this processor has no bf16 matrix instructions")


def encode_ours(encoder, batch: list[str], precision: str = "fp32") -> None:
    """Embed the batch with the `Encoder`, at the peer's limit of 256 tokens; the embeddings are dropped."""
    encoder.encode(batch, "clustering", max_tokens=256, precision=precision)


def encode_peer(peer, batch: list[str]) -> None:
    """Embed the batch with sentence-transformers, 32 texts at a time; the embeddings are dropped."""
    peer.encode(batch, batch_size=32)


if __name__ == "__main__":
    main()
