"""Invariants of forward passes on a device: each gives what the CPU gives in fp32.

- Task experts, of one route and of mixed ones; experts of tokens; LoRA experts under every router; images.
- SDPA, which is what models are loaded with, and eager attention agree on padded batches, causal or not.
- Offloaded experts: on the device is one expert, pinned memory holds the others, and every route is the whole model's.
- A compiled model of one route, and one with LoRA experts, give what they give uncompiled.
- What a pass costs is measured on the device, once, and leaves the embeddings as they are.
"""

import copy
import subprocess
import sys

import pytest
import torch

from study.paths import ROOT
from tests.tiny import FAMILIES, tiny
from tests.tiny_images import image_encoder, item
from tests.tsembed.moe_lora.models import ROUTERS, adapted, peft_of_old_names
from tests.tsembed.moe_lora.models import batch as small_batch
from tests.tsembed.mote.test_experts import batch, disturbed, pool
from tsembed.encoder import chunks
from tsembed.encoder.text import Encoder
from tsembed.mote.offload import load_offloaded, offload
from tsembed.mote.token_routing import route_tokens
from tsembed.tasks import ROUTES

CLOSE = {"atol": 1e-4, "rtol": 1e-4}  # of fp32 kernels that add up in another order
MIXED = torch.tensor([3, 0, 2, 0, 1])


def there(inputs, device):
    return {name: tensor.to(device) for name, tensor in inputs.items()}


@pytest.mark.parametrize("model_type", FAMILIES)
@pytest.mark.parametrize("routes", ["clustering", MIXED], ids=["one", "mixed"])
def test_task_experts(model_type, routes, device):
    routed, inputs = disturbed(model_type), batch()
    expected = routed(routes, pool=pool, **inputs)
    on_device = copy.deepcopy(routed).to(device)
    found = on_device(routes, pool=pool, **there(inputs, device))
    assert found.device.type == device.type
    torch.testing.assert_close(found.cpu(), expected, **CLOSE)
    if not isinstance(routes, str):  # the routes themselves may be on the device, as DDP moves them
        again = on_device(routes.to(device), pool=pool, **there(inputs, device))
        torch.testing.assert_close(again.cpu(), expected, **CLOSE)


def test_experts_of_tokens(device):
    model, inputs = route_tokens(tiny("bert"), num_experts=4, top_k=2).eval(), batch()
    expected = model(**inputs).last_hidden_state
    found = model.to(device)(**there(inputs, device)).last_hidden_state
    torch.testing.assert_close(found.cpu(), expected, **CLOSE)


@peft_of_old_names
@pytest.mark.parametrize("router", ROUTERS)
def test_lora_experts(router, device):
    model, inputs = adapted(router=router, **ROUTERS[router]), small_batch()
    routes = {"routes": "query"} if router == "task" else {}
    expected = model(**inputs, **routes).last_hidden_state
    found = model.to(device)(**there(inputs, device), **routes).last_hidden_state
    torch.testing.assert_close(found.cpu(), expected, **CLOSE)


def test_images(device):
    inputs = ["red", item("", "green"), item("what <image> is it", "blue", size=(24, 16))]
    encoder = image_encoder()
    expected = torch.from_numpy(encoder.encode(inputs, "image_retrieval"))
    found = encoder.to(device).encode(inputs, "image_retrieval", convert_to_tensor=True)
    assert found.device.type == device.type
    torch.testing.assert_close(found.cpu(), expected, **CLOSE)


@pytest.mark.parametrize("model_type", [family for family in FAMILIES if family != "mpnet"])  # which has eager alone
def test_sdpa_is_the_default_and_agrees_with_eager_attention(model_type, device):
    model, inputs = tiny(model_type).to(device), there(batch(), device)
    assert model.config._attn_implementation == "sdpa"
    mask = inputs["attention_mask"].bool()
    found = model(**inputs).last_hidden_state[mask]  # what padding becomes is nobody's business
    model.set_attn_implementation("eager")
    assert model.config._attn_implementation == "eager"
    torch.testing.assert_close(model(**inputs).last_hidden_state[mask], found, **CLOSE)


@pytest.mark.parametrize("form", ["cpu", "file"])
def test_offloaded_experts(form, device, tmp_path):
    routed, inputs = disturbed("bert", vocabulary=99), batch(vocabulary=99)
    routed.save_pretrained(tmp_path)
    dense = sum(p.nbytes for p in tiny("bert", vocabulary=99).parameters())
    model = (
        offload(routed, ROUTES[0], device=device)
        if form == "cpu"
        else load_offloaded(tmp_path, ROUTES[0], device=device)
    )
    assert {p.device.type for p in model.parameters()} == {device.type}
    assert sum(p.nbytes for p in model.parameters()) <= 1.01 * dense
    assert {p.device.type for p in routed.parameters()} == {"cpu"}, "what it was made from stays where it was"
    for route in (*ROUTES, *reversed(ROUTES)):
        found = model(route, pool=pool, **there(inputs, device))
        torch.testing.assert_close(found.cpu(), routed(route, pool=pool, **inputs), **CLOSE)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_offloaded_experts_wait_in_pinned_memory(monkeypatch):
    pinned = []
    original = torch.Tensor.pin_memory
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda t, *a: pinned.append(original(t, *a)) or pinned[-1])
    routed = disturbed("bert", vocabulary=99)
    before = torch.cuda.memory_allocated()
    model = offload(routed, ROUTES[0], device="cuda")
    taken = torch.cuda.memory_allocated() - before
    assert pinned
    assert all(tensor.is_pinned() for tensor in pinned)
    assert taken <= 1.1 * sum(p.nbytes for p in model.parameters()) + 512 * len(list(model.parameters()))


COMPILED = """
import sys

import torch
from tests.tsembed.moe_lora.models import adapted
from tests.tsembed.moe_lora.models import batch as small_batch
from tests.tsembed.mote.test_experts import batch, disturbed

device, backend = sys.argv[1:]
cases = [(disturbed("bert"), batch(), [("search_query",), ("clustering",)]), (adapted(), small_batch(), [()])]
for model, inputs, calls in cases:
    model.to(device)
    inputs = {name: tensor.to(device) for name, tensor in inputs.items()}
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    for call in calls:
        found, expected = (m(*call, **inputs).last_hidden_state for m in (compiled, model))
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        print("same")
"""


@pytest.mark.slow
def test_a_compiled_model_gives_what_it_gives_uncompiled(device):
    """In a process of its own: the type checks that these tests put round every function cannot be traced."""
    backend = "inductor" if device.type == "cuda" else "eager"  # on the CPU what is compiled is known by other tests
    command = [sys.executable, "-c", COMPILED, device.type, backend]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["same"] * 3


def test_the_cost_of_a_pass_is_measured_on_the_device(device, tokenizer, monkeypatch):
    encoder = Encoder(tiny("bert"), tokenizer).eval()
    texts = [" ".join(["fjord"] * n) for n in (1, 40, 3, 100)]
    expected = encoder.encode(texts, "clustering")
    encoder.to(device)
    monkeypatch.setitem(chunks.FORWARD_PASS_COST_TOKENS, "cpu", "auto")
    found = encoder.encode(texts, "clustering")
    assert 16 <= encoder.pass_costs[str(encoder.device), "fp32"] <= 16384
    torch.testing.assert_close(torch.from_numpy(found), torch.from_numpy(expected), **CLOSE)
