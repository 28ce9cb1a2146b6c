"""Invariants of training on a device.

- Weights, inputs of every linear layer and optimiser are on it; losses and norms in fp32 are those of the CPU.
- bf16 is autocast: products in bf16, weights and embeddings in fp32, losses near those of fp32.
- An interrupted training goes on to the weights of an undisturbed one, dropout included.
- Batches of worker processes, which are forked beside the device's context, are those made in the process.
- The second pass of the gradient cache drops what the first has dropped.
- The peak of memory is that of a chunk and not of the batch.
- Weights on negatives of every kind are those of the CPU.
"""

import json

import pytest
import torch

from benchmarks.efficiency import activations
from tests import launched
from tests.gpu.conftest import training_on
from tests.tiny import tiny
from tsembed.contrastive.grad_cache import cached_backward
from tsembed.contrastive.losses import info_nce
from tsembed.encoder.text import Encoder
from tsembed.mote.experts import upcycle
from tsembed.settings import Adapter, Negatives, Variant
from tsembed.tasks import INSTRUCTIONS, ROUTES
from tsembed.training.loop import train

pytestmark = pytest.mark.slow

SAME = {"rel": 1e-3}


class Linears:
    """Devices of the inputs and types of the outputs of all linear layers that are called within the context."""

    def __enter__(self):
        self.devices, self.dtypes = set(), set()
        self.handle = torch.nn.modules.module.register_module_forward_hook(self._note)
        return self

    def _note(self, module, inputs, output):
        if isinstance(module, torch.nn.Linear):
            self.devices.add(inputs[0].device.type)
            self.dtypes.add(output.dtype)

    def __exit__(self, *_):
        self.handle.remove()


def trained(row, folder, *, dropout=0.0, variant=None, stop_after=None, resume=False, seed=0, **training):
    """An encoder of `launched` after its training, and the rows of its log."""
    encoder = launched.encoder_of(row)
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    settings = launched.settings(row).model_copy(update=training)
    chosen = {"training": settings, "variant": variant or launched.ROWS[row], "seed": seed}
    train(encoder, launched.tables(), launched.TASKS, folder, resume=resume, stop_after=stop_after, **chosen)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return encoder, {name: [row[name] for row in rows] for name in ("loss", "grad_norm")}


def weights(encoder):
    return torch.cat([p.detach().cpu().flatten() for p in encoder.parameters() if p.requires_grad])


@pytest.mark.parametrize("row", [row for row in launched.ROWS if not row.endswith("bf16")])
def test_a_training_is_on_the_device_and_is_that_of_the_cpu(row, device, tmp_path):
    with Linears() as linears:
        encoder, found = trained(row, tmp_path / "here")
    assert linears.devices == {device.type}
    assert {p.device.type for p in encoder.parameters()} == {device.type}
    with training_on("cpu"):
        reference, expected = trained(row, tmp_path / "cpu")
    for name in found:
        assert found[name] == pytest.approx(expected[name], **SAME), name
    untrained = weights(launched.encoder_of(row))
    moved = (weights(reference) - untrained).norm()
    assert moved > 1e-2
    assert (weights(encoder) - weights(reference)).norm() < moved / 50
    texts = launched.tables()["r"]["query"][:4]
    vectors = encoder.encode(texts, "search_query", convert_to_tensor=True)
    assert vectors.device.type == device.type
    torch.testing.assert_close(
        vectors.cpu(), torch.from_numpy(reference.encode(texts, "search_query")), atol=1e-2, rtol=0
    )


def test_bf16_is_autocast(device, tmp_path):
    with Linears() as linears:
        encoder, found = trained("ic_bf16", tmp_path / "bf16")
    assert linears.dtypes == {torch.bfloat16}
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}
    vectors = encoder.encode(["a fjord", "a grove"], "clustering", precision="bf16", convert_to_tensor=True)
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2, device=device), atol=1e-5, rtol=0)
    with Linears() as linears:
        _, expected = trained("ic_bf16", tmp_path / "fp32", precision="fp32")
    assert linears.dtypes == {torch.float32}
    assert found["loss"] == pytest.approx(expected["loss"], rel=2e-2)
    assert found["loss"] != pytest.approx(expected["loss"], rel=1e-6)


def test_an_interrupted_training_goes_on_to_the_same_weights(device, tmp_path):
    whole, expected = trained("mote", tmp_path / "whole", dropout=0.1)
    trained("mote", tmp_path / "cut", dropout=0.1, stop_after=4)
    resumed, found = trained("mote", tmp_path / "cut", dropout=0.1, resume=True)
    other, _ = trained("mote", tmp_path / "other", dropout=0.1, seed=1)
    apart = (weights(resumed) - weights(whole)).norm()
    assert apart <= (0 if device.type == "cpu" else 1e-3 * (weights(other) - weights(whole)).norm())
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)


def test_workers_make_the_same_batches(device, tmp_path):
    torch.ones(1, device=device)  # the context of a GPU is there before they are forked
    _, expected = trained("ic", tmp_path / "here", num_workers=0)
    _, found = trained("ic", tmp_path / "workers", num_workers=2)
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)


def test_both_passes_of_the_gradient_cache_drop_the_same(device):
    dropout = torch.nn.Dropout(0.5).train()
    weight = torch.nn.Parameter(torch.ones(8, 32, device=device))
    seen = {0: [], 1: [], 2: []}

    def embed(number):
        output = dropout(weight)
        seen[number].append(output.detach())
        return {"x": output}

    cached_backward(embed, [0, 1, 2], lambda outputs: outputs["x"].square().sum())
    assert [len(passes) for passes in seen.values()] == [2, 2, 1]
    for first, second in (seen[0], seen[1]):
        assert torch.equal(first, second)
    assert not torch.equal(seen[0][0], seen[1][0])


def test_the_peak_of_memory_is_that_of_a_chunk(device):
    model = tiny("bert", vocabulary=99).train().to(device)

    def embed(ids):
        return {"rows": torch.nn.functional.normalize(model(input_ids=ids).last_hidden_state.mean(1), dim=-1)}

    def peak(pairs, size):
        ids = torch.randint(99, (pairs, 64), generator=torch.Generator().manual_seed(0)).to(device)

        def loss(outputs):
            return info_nce(outputs["rows"], outputs["rows"].detach(), temperature=0.1)

        return activations(lambda: cached_backward(embed, ids.split(size), loss), device)

    peak(8, 8)  # makes the gradients
    one_chunk, many_chunks, plain = peak(8, 8), peak(64, 8), peak(64, 64)
    assert plain > 6 * one_chunk
    assert many_chunks < 1.5 * one_chunk


@pytest.mark.parametrize("weighting", ["eans", "hardness", "random"])
def test_weights_on_negatives_are_those_of_the_cpu(weighting, device, tmp_path):
    negatives = Negatives(weights=weighting, first_stage=0.3, beta=30.0)
    variant = Variant(label="v", adapter=Adapter(), negatives=negatives, tasks=tuple(launched.TASKS.values()))
    _, found = trained("moe_lora", tmp_path / "here", variant=variant)
    with training_on("cpu"):
        _, expected = trained("moe_lora", tmp_path / "cpu", variant=variant)
        _, plain = trained("moe_lora", tmp_path / "plain")
    assert found["loss"] == pytest.approx(expected["loss"], **SAME)
    assert expected["loss"][2:] != pytest.approx(plain["loss"][2:], **SAME)


def test_a_trained_encoder_is_offloaded_and_saved_from_the_device(device, tokenizer, tmp_path):
    encoder = Encoder(upcycle(tiny("bert"), ROUTES), tokenizer, instructions=dict(INSTRUCTIONS)).eval().to(device)
    encoder.save(tmp_path)
    for again in (Encoder.load(tmp_path, device), Encoder.load(tmp_path, device, offloaded="clustering")):
        assert again.device.type == device.type
        for route in ("clustering", "search_query"):
            found, expected = (model.encode(["a fjord", "a grove"], route) for model in (again, encoder))
            torch.testing.assert_close(torch.from_numpy(found), torch.from_numpy(expected), atol=1e-5, rtol=0)
