"""Invariants of a linear layer with LoRA experts.

- With B at zero it equals its base layer exactly; A is drawn per expert as PEFT draws it, by seed and name if asked.
- Stacked equals a loop over the experts, in value and in every gradient, for every router, top_k and shared experts.
- Gates are computed in fp32, outside autocast and without dropout; the output has the base layer's dtype.
- It compiles without a graph break, to the same value and gradients.
- One expert alone merges into the base weight and out of it again; more cannot.
- A quantised linear layer is wrapped and called as it is.
"""

import pytest
import torch
from torch import nn

from tests.tsembed.moe_lora.models import ROUTES
from tsembed.moe_lora.config import MoeLoraConfig
from tsembed.moe_lora.context import THREAD, forward_pass
from tsembed.moe_lora.layer import MoeLoraLinear, add_product, weigh

MASK = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [0, 1, 1, 1, 1]])


def layer_of(base=None, *, dtype=torch.double, disturbed=True, name="layer", **settings):
    settings = {"num_experts": 3, "r": 2, "lora_alpha": 3, "init_seed": 0} | settings
    if settings.get("router") == "task":
        settings |= {"routes": ROUTES, "num_experts": 3}
    base = nn.Linear(6, 4).to(dtype) if base is None else base
    layer = MoeLoraLinear(base, "default", MoeLoraConfig(**settings), name)
    if disturbed:
        for weight in (*layer.moe_lora_B.values(), *layer.moe_lora_router.values()):
            nn.init.normal_(weight)
    return layer


@pytest.fixture
def context():
    """A forward pass over `MASK`, with the given routes and record."""

    def enter(gates=None, record=None):
        routes = {} if gates is None else {"default": gates}
        THREAD.forward = forward_pass(MASK, routes)._replace(record=record)

    yield enter
    THREAD.forward = None


def loop(layer, x, gates=None):
    """y = W x + b + scaling * sum_e p_e B_e A_e x, expert by expert."""
    config, experts = layer.settings["default"], layer.settings["default"].num_experts
    if gates is None:
        seen = x
        if config.router == "sequence":
            seen = (x * MASK[..., None]).sum(1, keepdim=True) / MASK.sum(1)[:, None, None]
        logits = seen @ layer.moe_lora_router["default"].T
        if config.top_k is not None:
            worst = logits.topk(experts - config.top_k, dim=-1, largest=False).indices
            logits = logits.scatter(-1, worst, float("-inf"))
        gates = logits.softmax(-1)
    taken = (config.top_k or experts) if config.scale_gates else 1
    out = layer.base_layer(x)
    A, B = layer.moe_lora_A["default"].split(config.r), layer.moe_lora_B["default"].split(config.r, dim=1)
    for e, (a, b) in enumerate(zip(A, B, strict=True)):
        p = taken * gates[..., e : e + 1] if e < experts else 1
        out = out + config.scaling * p * (x @ a.T @ b.T)
    return out


def gradients(output, layer, x):
    """Of every weight of the adapter and of the input, for a fixed random direction."""
    weights = [*layer.moe_lora_A.values(), *layer.moe_lora_B.values(), *layer.moe_lora_router.values(), x]
    direction = torch.randn(output.shape, generator=torch.Generator().manual_seed(3)).to(output)
    return torch.autograd.grad(output, weights, direction)


def tokens(dtype=torch.double):
    return torch.randn(3, 5, 6, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize("shape", [(6,), (9, 6), (3, 5, 6), (2, 3, 5, 6), (0, 6)])
def test_any_axes_before_the_last(shape):
    layer, x = layer_of(), torch.randn(*shape, dtype=torch.double)
    assert layer(x).shape == (*shape[:-1], 4)
    torch.testing.assert_close(layer(x), loop(layer, x))


def test_by_hand():
    base = nn.Linear(1, 1, bias=False)
    layer = layer_of(base, num_experts=2, r=1, lora_alpha=2, shared_experts=1)
    base.weight.data = torch.tensor([[1.0]])
    layer.moe_lora_A["default"].data = torch.tensor([[1.0], [2.0], [3.0]])
    layer.moe_lora_B["default"].data = torch.tensor([[1.0, 1.0, 10.0]])
    layer.moe_lora_router["default"].data = torch.tensor([[0.0], [2.0]]).log1p()  # p(1) = 1/4, 3/4
    torch.testing.assert_close(layer(torch.tensor([[1.0]])), torch.tensor([[1 + 2 * (0.25 * 1 + 0.75 * 2 + 30)]]))


@pytest.mark.parametrize(
    "settings", [{}, {"top_k": 1}, {"shared_experts": 2}, {"num_experts": 1}, {"scale_gates": True}]
)
def test_it_starts_as_its_base_layer_exactly(settings):
    layer, x = layer_of(disturbed=False, **settings), torch.randn(5, 6, dtype=torch.double)
    assert torch.equal(layer(x), layer.base_layer(x))
    out = layer(x)
    out.square().sum().backward()
    assert layer.moe_lora_B["default"].grad.abs().max() > 0  # it can leave that state


def test_every_expert_starts_as_an_adapter_of_peft():
    from peft import LoraConfig
    from peft.tuners.lora.layer import Linear

    torch.manual_seed(5)
    ours = layer_of(nn.Linear(64, 32), init_seed=None, num_experts=4, r=8, disturbed=False)
    A = ours.moe_lora_A["default"].detach().view(4, 8, 64)
    theirs = Linear(nn.Linear(64, 32), "default", LoraConfig(r=8), r=8).lora_A["default"].weight.detach()
    assert A.abs().max() <= 1 / 8
    assert theirs.abs().max() <= 1 / 8  # 1 / sqrt(in)
    for one in A:
        assert one.std().item() == pytest.approx(theirs.std().item(), rel=0.1)
    assert (A[0] - A[1]).abs().max() > 0.01


def test_scaled_even_gates_are_lora_of_all_experts_ranks():
    layer, x = layer_of(num_experts=4, r=2, lora_alpha=6, scale_gates=True), torch.randn(5, 6, dtype=torch.double)
    layer.moe_lora_router["default"].data.zero_()
    A, B = layer.moe_lora_A["default"], layer.moe_lora_B["default"]
    torch.testing.assert_close(layer(x), layer.base_layer(x) + 6 / 2 * x @ A.T @ B.T)


def test_a_seed_makes_the_weights_a_function_of_the_layers_name():
    def weights(name, seed):
        layer = layer_of(name=name, init_seed=seed, disturbed=False)
        return torch.cat([layer.moe_lora_A["default"], layer.moe_lora_router["default"]])

    first = weights("a", 0)
    torch.manual_seed(99)
    assert torch.equal(first, weights("a", 0))
    assert (first - weights("b", 0)).abs().max() > 0.01
    assert (first - weights("a", 1)).abs().max() > 0.01


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"shared_experts": 2},
        {"top_k": 2},
        {"top_k": 2, "shared_experts": 1},
        {"router": "sequence"},
        {"router": "sequence", "top_k": 2, "shared_experts": 1},
        {"scale_gates": True},
        {"scale_gates": True, "top_k": 2, "shared_experts": 1},
    ],
)
@pytest.mark.parametrize("path", ["fast", "router apart", "base layer's output kept"])
def test_stacked_equals_a_loop_over_experts_in_value_and_gradient(settings, path, context, monkeypatch):
    layer, x = layer_of(**settings), tokens()
    if path == "router apart":
        monkeypatch.setattr("tsembed.moe_lora.layer._is_joint", lambda *_: False)
    if path == "base layer's output kept":
        kept = []
        layer.base_layer.register_forward_hook(lambda *hooked: kept.append(hooked[-1]))
    context()
    ours, plain = layer(x), loop(layer, x)
    torch.testing.assert_close(ours, plain)
    assert (ours - layer.base_layer(x)).abs().max() > 0.1
    for mine, theirs in zip(gradients(ours, layer, x), gradients(plain, layer, x), strict=True):
        torch.testing.assert_close(mine, theirs)
        assert mine.abs().max() > 0
    if path == "base layer's output kept":
        assert torch.equal(kept[0], layer.base_layer(x))


@pytest.mark.parametrize("shared", [0, 2])
def test_task_routing_equals_a_loop_over_experts_for_one_route_and_for_mixed_ones(shared, context):
    layer, x = layer_of(router="task", shared_experts=shared), tokens()
    mixed = torch.eye(3, dtype=torch.double)[[2, 0, 1]].unsqueeze(1)
    for given, gates in ((1, torch.eye(3, dtype=torch.double)[1].expand(3, 1, 3)), (mixed.float(), mixed)):
        context(given)
        ours, plain = layer(x), loop(layer, x, gates)
        torch.testing.assert_close(ours, plain)
        for mine, theirs in zip(gradients(ours, layer, x), gradients(plain, layer, x), strict=True):
            torch.testing.assert_close(mine, theirs)


def test_an_expert_that_no_token_takes_gets_a_gradient_of_zero(context):
    layer = layer_of(router="task")
    context(1)
    layer(tokens()).sum().backward()
    by_expert = layer.moe_lora_B["default"].grad.view(4, 3, 2).abs().amax((0, 2))
    assert (by_expert > 0).tolist() == [False, True, False]


def test_gradients_agree_with_finite_differences():
    layer = layer_of(top_k=2, shared_experts=1)
    assert torch.autograd.gradcheck(layer, (torch.randn(3, 6, dtype=torch.double, requires_grad=True),))


def test_dropout_hits_the_experts_and_not_the_router(context):
    layer, x = layer_of(lora_dropout=0.5), tokens()
    record = []
    context(record=record)
    trained = [layer(x) for _ in range(2)]
    layer.eval()
    torch.testing.assert_close(layer(x), loop(layer, x))
    assert (trained[0] - trained[1]).abs().max() > 0.1
    assert torch.equal(record[0].mean, record[1].mean)
    torch.testing.assert_close(record[0].mean, record[2].mean)


@pytest.mark.parametrize("base_dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("router", ["token", "sequence"])
def test_gates_are_fp32_and_the_output_has_the_base_layers_dtype(base_dtype, autocast, router, context):
    torch.manual_seed(0)
    layer = layer_of(nn.Linear(6, 4, dtype=base_dtype), router=router)
    layer.moe_lora_A["default"] = layer.moe_lora_A["default"].float()  # as PEFT casts adapters
    layer.moe_lora_B["default"] = layer.moe_lora_B["default"].float()
    x, record = tokens(base_dtype), []
    context(record=record)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out, expected = layer(x), layer.base_layer(x).dtype
    assert out.dtype == expected
    exact = loop(layer.double(), x.double())
    tight = base_dtype == torch.float32 and not autocast
    torch.testing.assert_close(out.double(), exact, atol=1e-5 if tight else 0.1, rtol=1e-5 if tight else 0.05)
    assert record[0].mean.dtype == torch.float32
    seen = x.double() if router == "token" else (x.double() * MASK[..., None]).sum(1, True) / MASK.sum(1)[:, None, None]
    p = (seen @ layer.moe_lora_router["default"].T).softmax(-1).expand(3, 5, 3)
    mean = (p * MASK[..., None]).sum(1) / MASK.sum(1, keepdim=True)
    torch.testing.assert_close(record[0].mean.double(), mean, atol=1e-5, rtol=0)  # bf16 gates would be off by 1e-3
    out.float().sum().backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in layer.moe_lora_B.values())


def test_the_sum_of_other_dtypes_has_the_dtype_of_the_result():
    result, hidden, B = torch.randn(6, 4), torch.randn(2, 3, 5), torch.randn(4, 5)
    exact = result + (hidden @ B.T).view(6, 4)
    torch.testing.assert_close(add_product(result, hidden, B, in_place=False), exact)
    low = add_product(result.bfloat16(), hidden, B, in_place=True)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), exact, atol=0.05, rtol=0.02)
    assert add_product(result, hidden, B, in_place=True) is result
    torch.testing.assert_close(result, exact)
    weighed = weigh(hidden[..., :4], torch.rand(2, 1, 2).bfloat16(), shared=0, scaling=1.0)
    assert weighed.dtype == torch.float32
    assert weighed.shape == (2, 3, 4)


@pytest.mark.parametrize("settings", [{"top_k": 2, "shared_experts": 1}, {"router": "sequence"}, {"router": "task"}])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own tracing
def test_it_compiles_without_a_graph_break(settings, context):
    torch._dynamo.reset()
    layer, x = layer_of(dtype=torch.float32, **settings), tokens(torch.float32)
    context(1 if settings.get("router") == "task" else None)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    plain, fast = layer(x), compiled(x)
    torch.testing.assert_close(fast, plain)
    for mine, theirs in zip(gradients(fast, layer, x), gradients(plain, layer, x), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("safe", [False, True])
def test_one_expert_merges_and_unmerges(safe):
    layer, x = layer_of(num_experts=1, shared_experts=1), torch.randn(5, 6, dtype=torch.double)
    before, weight = layer(x), layer.base_layer.weight.clone()
    layer.merge(safe_merge=safe)
    assert (layer.base_layer.weight - weight).abs().max() > 0.01
    torch.testing.assert_close(layer(x), before)
    torch.testing.assert_close(layer.base_layer(x), before)
    layer.unmerge()
    torch.testing.assert_close(layer.base_layer.weight, weight)
    torch.testing.assert_close(layer(x), before)


def test_what_cannot_be_merged_is_named():
    weight = (layer := layer_of()).base_layer.weight.clone()
    with pytest.raises(ValueError, match=r"its 3 experts have gates that depend on the input \(router='token'\)"):
        layer.merge()
    assert torch.equal(layer.base_layer.weight, weight)
    broken = layer_of(num_experts=1)
    broken.moe_lora_B["default"].data.fill_(float("inf"))
    with pytest.raises(ValueError, match="the merged weight is not finite"):
        broken.merge(safe_merge=True)
    with pytest.raises(ValueError, match="cannot merge into a quantised Int8Linear"):
        layer_of(Int8Linear(6, 4), num_experts=1).merge()


@pytest.mark.parametrize("router", ["sequence", "task"])
def test_a_router_that_needs_the_forward_pass_says_so(router):
    with pytest.raises(RuntimeError, match=f"layer q has router='{router}' and is computed outside a forward pass"):
        layer_of(router=router, name="q")(tokens())


def test_inputs_that_do_not_fit_the_router_are_named(context):
    context()
    with pytest.raises(ValueError, match=r"layer q got \(7, 6\) and \(3, 5\)"):
        layer_of(router="sequence", name="q")(torch.randn(7, 6, dtype=torch.double))
    with pytest.raises(ValueError, match="call the model with routes=, one of query, document, passage, answer"):
        layer_of(router="task")(tokens())
    context(torch.eye(3).unsqueeze(1))
    with pytest.raises(ValueError, match=r"needs input \(3, seq, dim\), layer q got \(3, 6\)"):
        layer_of(router="task", name="q")(torch.randn(3, 6, dtype=torch.double))


class Int8Linear(nn.Linear):
    """Weight-only int8 with a scale per row: a quantised layer of the usual kind."""

    def __init__(self, in_features, out_features):
        super().__init__(in_features, out_features)
        scale = self.weight.data.abs().amax(1, keepdim=True) / 127
        self.register_buffer("scale", scale)
        self.weight = nn.Parameter((self.weight.data / scale).round().to(torch.int8), requires_grad=False)

    def forward(self, x):
        return nn.functional.linear(x, self.weight.to(x.dtype) * self.scale.to(x.dtype), self.bias)


def check_quantised(base, dtype=torch.float32):
    """It starts as the base layer exactly; its experts train and the base weight stays."""
    layer, x = layer_of(base, disturbed=False), torch.randn(5, base.in_features, dtype=dtype)
    assert layer.moe_lora_A["default"].dtype.is_floating_point
    assert torch.equal(layer(x), base(x))
    nn.init.normal_(layer.moe_lora_B["default"])
    layer(x).square().sum().backward()
    assert (layer(x) - base(x)).abs().max() > 0.1
    assert all(w.grad.abs().max() > 0 for w in (*layer.moe_lora_A.values(), *layer.moe_lora_router.values()))
    assert not base.weight.requires_grad or base.weight.grad is None


def test_a_quantised_linear_layer_is_wrapped():
    check_quantised(Int8Linear(6, 4))


@pytest.mark.filterwarnings("ignore")
def test_a_bitsandbytes_4_bit_layer_is_wrapped():
    bitsandbytes = pytest.importorskip("bitsandbytes")
    base = bitsandbytes.nn.Linear4bit(64, 64, compute_dtype=torch.float32, quant_type="nf4")
    check_quantised(base.to("cuda" if torch.cuda.is_available() else "cpu"))


@pytest.mark.filterwarnings("ignore")
def test_a_torchao_int8_layer_is_wrapped():
    quantization = pytest.importorskip("torchao.quantization")

    base = nn.Sequential(nn.Linear(64, 64))
    quantization.quantize_(base, quantization.Int8WeightOnlyConfig())
    base[0].weight.requires_grad_(False)
    check_quantised(base[0])
