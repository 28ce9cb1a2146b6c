"""Invariants of the probe of MoE-LoRA's routers.

- Information has two baselines on the same pairs: the adapter as it was before training, and routers drawn anew at the
  trained ones' scale. Experts by set tell the set apart entirely, whatever is random.
- The untrained adapter is that which training began with, to the bit; the encoder is left as it was.
- Use sums to 1 over the experts; routing as a proxy is of trained and random routers.
"""

import math

import numpy as np
import pytest
import torch

from study.probes import lora_experts
from tests.study.probes.three_sets import TASKS, encoder_of, tables, train_a_little
from tsembed.settings import Adapter


@pytest.mark.parametrize("router", ["token", "question"])
def test_information_stands_beside_its_baselines(base, router):
    encoder = encoder_of(base, Adapter(r=4, router=router))
    before = {n: p.clone() for n, p in encoder.named_parameters()}
    use, proxy, start = lora_experts.measure(encoder, tables(), TASKS, max_tokens=48)
    whole = start[start.layer == "all"].set_index(["router", "label"])
    for label in ("task", "set"):
        assert whole.information["trained", label] == pytest.approx(whole.information["untrained", label], abs=1e-9)
    train_a_little(encoder)
    trained = {n: p.clone() for n, p in encoder.named_parameters()}
    *_, found = lora_experts.measure(encoder, tables(), TASKS, max_tokens=48)
    after = found[found.layer == "all"].set_index(["router", "label"])
    for label in ("task", "set"):
        assert after.information["untrained", label] == pytest.approx(whole.information["untrained", label], abs=1e-9)
        grown = after.information["trained", label] / after.information["untrained", label]
        assert grown > 2 if router == "token" else grown != pytest.approx(1), "a cosine knows no size"
        assert after.information["random", label] != after.information["trained", label]
    assert (after.noise > 0).all()
    layers = found[found.layer != "all"].groupby(["router", "label"]).information.agg(["size", "mean"])
    np.testing.assert_allclose(layers["mean"], after.information.reindex(layers.index))
    assert all(torch.equal(p, trained[n]) for n, p in encoder.named_parameters())
    untrained = lora_experts.with_untrained_adapters(encoder)
    assert all(torch.equal(p, before[n]) for n, p in untrained.named_parameters())
    assert use.groupby(["dataset", "side", "layer"]).share.sum().to_numpy() == pytest.approx(1.0)
    assert set(proxy.router) == {"trained", "random"}


def test_experts_by_set_tell_the_set_apart_entirely(base):
    adapter = Adapter(r=4, router="task", shared_experts=1)
    encoder = encoder_of(base, adapter, experts={name: name.upper() for name in TASKS}, routed_by="set")
    train_a_little(encoder)
    *_, found = lora_experts.measure(encoder, tables(), TASKS, max_tokens=48)
    whole = found[(found.layer == "all") & (found.label == "set")]
    assert whole.information.to_numpy() == pytest.approx(math.log(3))
    assert whole.noise.to_numpy() == pytest.approx(0.0, abs=1e-9)


def test_an_adapter_without_a_seed_of_its_own_is_named(base):
    encoder = encoder_of(base, Adapter(r=4))
    encoder.backbone.peft_config["default"].init_seed = None
    with pytest.raises(ValueError, match="adapter 'default' has no init_seed: how it began is not known"):
        lora_experts.with_untrained_adapters(encoder)
