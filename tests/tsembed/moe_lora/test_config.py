"""Invariants of MoE-LoRA's settings.

- PEFT knows the method: its enum, its registries, its JSON.
- Routes keep their order through JSON, which sorts keys; experts are stacked in that order.
- A setting out of its range is one line with value and rule.
"""

import pickle

import pytest
from peft import PeftConfig
from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.utils import PeftType

from tests.tsembed.moe_lora.models import ROUTES
from tsembed.moe_lora.config import NO_EXPERT, MoeLoraConfig
from tsembed.moe_lora.model import MoeLoraModel


def test_peft_knows_the_method():
    assert PeftType("MOE_LORA") is PeftType.MOE_LORA
    assert PeftType.MOE_LORA in list(PeftType)
    assert pickle.loads(pickle.dumps(PeftType.MOE_LORA)) is PeftType.MOE_LORA
    assert PEFT_TYPE_TO_TUNER_MAPPING["MOE_LORA"] is MoeLoraModel
    assert PEFT_TYPE_TO_PREFIX_MAPPING["MOE_LORA"] == "moe_lora_"
    assert MoeLoraConfig().peft_type == "MOE_LORA"


def test_defaults():
    config = MoeLoraConfig()
    assert (config.num_experts, config.r, config.lora_alpha, config.top_k, config.router) == (4, 16, 64, None, "token")
    assert config.scaling == 4.0
    assert config.has_router
    assert not MoeLoraConfig(num_experts=1).has_router


def test_json_keeps_everything_and_the_order_of_the_routes(tmp_path):
    config = MoeLoraConfig(router="task", routes=ROUTES, target_modules=["value", "query"], shared_experts=1)
    config.save_pretrained(tmp_path)
    again = PeftConfig.from_pretrained(tmp_path)
    assert type(again) is MoeLoraConfig
    assert again == config
    assert again.route_names == ["query", "document", "passage", "answer"]
    assert again.expert_names == ["q", "d", "a"]
    assert again.route_experts == [0, 1, 1, 2]
    assert again.target_modules == ("value", "query")


def test_routes_set_the_number_of_experts():
    assert MoeLoraConfig(router="task", routes=ROUTES).num_experts == 3
    assert MoeLoraConfig(router="task", routes=["b", "a"]).expert_names == ["b", "a"]
    assert MoeLoraConfig(router="task", routes=ROUTES).expert_of("passage") == 1
    some = MoeLoraConfig(router="task", routes={"a": None, "b": "x"}, shared_experts=1)
    assert (some.num_experts, some.expert_names, some.route_experts) == (1, ["x"], [NO_EXPERT, 0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_experts": 0}, "num_experts must be an integer >= 1, got 0"),
        ({"r": 0}, "r must be an integer >= 1, got 0"),
        ({"r": 2.5}, "r must be an integer >= 1, got 2.5"),
        ({"shared_experts": -1}, "shared_experts must be an integer >= 0, got -1"),
        ({"top_k": 5}, r"top_k must be in 1..num_experts \(4\), got 5"),
        ({"top_k": 0}, r"top_k must be in 1..num_experts \(4\), got 0"),
        ({"router": "batch"}, "router must be one of token, sequence, question, task, got 'batch'"),
        ({"router": "task"}, "router='task' needs routes .*, got None"),
        ({"router": "task", "routes": []}, r"router='task' needs routes .*, got \[\]"),
        ({"routes": ROUTES}, "routes are for router='task', got routes with router='token'"),
        ({"router": "task", "routes": ROUTES, "top_k": 1}, "no top_k, load_balancing or scale_gates, got top_k=1"),
        ({"router": "task", "routes": ROUTES, "scale_gates": True}, "no learned router.*scale_gates=True"),
        ({"router": "task", "routes": ROUTES, "num_experts": 8}, "num_experts is 8, but routes name 3"),
        (
            {"router": "task", "routes": {"a": "x", "b": None}},
            r"routes \['b'\] have no expert, so shared_experts must be",
        ),
        ({"lora_dropout": 1.0}, r"lora_dropout must be in \[0, 1\), got 1.0"),
        ({"load_balancing": float("nan")}, "load_balancing must be finite and >= 0, got nan"),
        ({"target_modules": ".*", "layers_to_transform": [0]}, "needs a list of target_modules, got '.*'"),
        ({"layers_pattern": "layer"}, "layers_pattern 'layer' needs layers_to_transform"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        MoeLoraConfig(**settings)


def test_an_unknown_route_is_named():
    with pytest.raises(ValueError, match="'sts' has no expert; routes: query, document, passage, answer"):
        MoeLoraConfig(router="task", routes=ROUTES).expert_of("sts")
