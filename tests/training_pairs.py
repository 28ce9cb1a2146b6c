"""Pairs with hard negatives, encoders of the variants, and one step on a batch, for tests of the loss."""

import numpy as np
import torch
from datasets import Dataset

from tests.tiny import tiny
from tsembed.contrastive.grad_cache import cached_backward
from tsembed.encoder.adapters import adapt
from tsembed.encoder.text import Encoder
from tsembed.mote.experts import upcycle
from tsembed.mote.token_routing import route_tokens
from tsembed.settings import Training, Variant
from tsembed.tasks import INSTRUCTIONS
from tsembed.training.batches import StepBatches
from tsembed.training.objective import contrastive_loss
from tsembed.training.sampler import TaskSampler

WORDS = "amber birch cedar delta ember fjord grove heath inlet joint kelp lunar maple north ocean pearl".split()
PAIRS = 8
RETRIEVAL = ("retrieval",)
EM = Variant(label="EM", instruction=False, tasks=RETRIEVAL, temperature=0.05)


def table(counts=(2,) * PAIRS):
    """Pairs of words; row i has `counts[i]` hard negatives."""
    rng = np.random.default_rng(0)

    def text(row):
        return f"{row} " + " ".join(rng.choice(WORDS, rng.integers(3, 12)))

    rows = len(counts)
    columns = {"query": [text(i) for i in range(rows)], "document": [text(i) for i in range(rows)]}
    negatives = [[text(f"{i} {j}") for j in range(count)] for i, count in enumerate(counts)]
    return Dataset.from_dict(columns | {"group": range(rows), "negatives": negatives})


def make(tokenizer, variant=EM):
    """A tiny encoder of a variant, the same at every call."""
    model, base = tiny("bert"), None
    if variant.experts:
        model = upcycle(model, variant.experts)
    if variant.token_routing:
        model = route_tokens(model)
    if variant.adapter:
        model, base = adapt(model, variant.adapter, seed=0), {"backbone": {"name": "tiny"}}
    instructions = dict(INSTRUCTIONS) if variant.instruction else None
    return Encoder(model, tokenizer, instructions=instructions, base=base)


def batch_of(encoder, variant, data, hard=2, chunk=None, **ranks):
    """The one batch of all rows, and the order of the rows in it."""
    training = Training(
        batch_size=len(data),
        max_query_tokens=32,
        max_document_tokens=32,
        hard_negatives=hard,
        grad_cache_chunk_size=chunk,
    )
    sampler = TaskSampler({"r": ("retrieval", len(data))}, batch_size=len(data), steps=1, tasks=RETRIEVAL)
    steps = StepBatches({"r": data}, {"r": "retrieval"}, sampler, encoder, training=training, variant=variant, **ranks)
    (batch,) = steps[0]
    return batch, sampler[0].rows.tolist()


def step(pairs, batch, rows=None, weigh=None, dims=()):
    """Loss and gradients of a batch."""
    pairs.zero_grad()

    def loss(outputs):
        return contrastive_loss(outputs, batch, rows=rows, weigh=weigh(outputs) if weigh else None, dims=dims)

    value = cached_backward(pairs, batch.chunks, loss)
    return value, {name: p.grad.clone() for name, p in pairs.named_parameters() if p.grad is not None}


def assert_same(found, expected, **tolerances):
    """Two results of `step` are equal."""
    tolerances = tolerances or {"atol": 2e-6, "rtol": 1e-4}
    torch.testing.assert_close(found[0], expected[0], **tolerances)
    assert set(found[1]) == set(expected[1])
    for name, gradient in expected[1].items():
        torch.testing.assert_close(found[1][name], gradient, **tolerances, msg=lambda text, n=name: f"{n}: {text}")


def sentence_transformer(encoder, folder):
    """The encoder's backbone with mean pooling as a model of sentence-transformers."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    encoder.backbone.save_pretrained(folder)
    encoder.tokenizer.save_pretrained(folder)
    return SentenceTransformer(modules=[Transformer(str(folder)), Pooling(32, pooling_mode="mean")], device="cpu")


def their_step(model, loss, columns):
    """Loss and gradients of sentence-transformers, by our names of the weights."""
    sides = [columns["query"], columns["document"], *(list(texts) for texts in zip(*columns["negatives"], strict=True))]
    value = loss([model.preprocess(side) for side in sides], torch.zeros(len(columns["query"])))
    value.backward()
    grads = {name.partition("model.")[2]: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert len(grads) > 30
    return value.detach(), {f"encoder.backbone.{name}": gradient for name, gradient in grads.items()}
