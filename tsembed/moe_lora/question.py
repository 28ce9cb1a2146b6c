"""The question router: one choice of experts per sequence, from the words of its question, for all adapted layers."""

import zlib
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from .config import MoeLoraConfig
from .routing import gate
from .tuner_layer import MoeLoraLayer

NAME = (
    "question_router"  # of the module in the base model; PEFT passes over names that begin as an adapter's weights do
)
TEMPERATURE, LEAST_TEMPERATURE = 0.07, 0.01  # at first, and the least that it can be learned to be (X-MoE)


class QuestionGates(NamedTuple):
    """What the router chose for the sequences of a call, with gradient."""

    gates: Float[Tensor, "batch 1 experts"]
    probabilities: Float[Tensor, "batch 1 experts"]  # the softmax over all experts


class QuestionRouter(nn.Module, MoeLoraLayer):
    """softmax(cos(q, k_e) / temperature), q: mean word embedding of a sequence's text, k_e: an expert's key.

    The word embeddings are the base model's, without gradient: what a question says is known before the first layer, so
    all layers take the same experts. A sequence without text has equal gates, but for the top_k. Cosine and a learned
    temperature are X-MoE's (https://arxiv.org/abs/2204.09179); that the words alone decide is our choice, after the
    summaries' receptionist, who is asked a question and sees no picture.

    Args:
        table: The base model's word embeddings.
    """

    adapter_layer_names = ("moe_lora_router", "moe_lora_router_temperature")
    other_param_names = ("settings",)

    def __init__(self, table: nn.Embedding):
        super().__init__()
        self.dim = table.embedding_dim
        # PEFT reads the device off it. No module of this one: its weights stay the base model's alone.
        self.__dict__["base_layer"] = table
        self.moe_lora_router = nn.ParameterDict()  # adapter -> keys, (experts, dim)
        self.moe_lora_router_temperature = nn.ParameterDict()  # adapter -> its logarithm
        self.settings: dict[str, MoeLoraConfig] = {}
        self.merged_adapters = []

    def update_layer(self, adapter_name: str, config: MoeLoraConfig) -> None:
        """Add an adapter's router, with new weights."""
        generator = None
        if config.init_seed is not None:
            generator = torch.Generator().manual_seed(zlib.crc32(f"{config.init_seed} {NAME}".encode()))
        keys = torch.randn(config.num_experts, self.dim, generator=generator) / self.dim**0.5
        self.settings[adapter_name] = config
        self.moe_lora_router[adapter_name] = nn.Parameter(keys)
        self.moe_lora_router_temperature[adapter_name] = nn.Parameter(torch.tensor(TEMPERATURE).log())
        self._move_adapter_to_device_of_base_layer(adapter_name)

    def forward(
        self, words: Float[Tensor, "batch seq dim"], is_text: Float[Tensor, "batch seq"], adapter: str
    ) -> QuestionGates:
        """Gates of the sequences, at least in fp32.

        Args:
            words: Word embeddings.
            is_text: 1 for the tokens of the text, 0 for padding and for those of pictures.
            adapter: Whose router.
        """
        with torch.autocast(words.device.type, enabled=False):
            words = words.to(torch.promote_types(words.dtype, torch.float32))
            means = torch.bmm(is_text.to(words.dtype).unsqueeze(1), words)  # (batch, 1, dim), not divided: a cosine
            keys = self.moe_lora_router[adapter].to(words.dtype)
            temperature = self.moe_lora_router_temperature[adapter].exp().clamp_min(LEAST_TEMPERATURE)
            logits = normalize(means, dim=-1) @ normalize(keys, dim=-1).T / temperature
            probabilities, gates = gate(logits, self.settings[adapter].top_k)
        return QuestionGates(gates, probabilities)

    def merge(self, *_, **__) -> None:
        """Nothing: the adapted layers say that gates which depend on the input cannot be merged."""

    def unmerge(self) -> None:
        """Nothing, as `merge`."""


def text_tokens(
    input_ids: Int[Tensor, "batch seq"], mask: Float[Tensor, "batch seq"], of_pictures: Int[Tensor, " tokens"]
) -> Float[Tensor, "batch seq"]:
    """1 for the tokens of a sequence's text, 0 for padding and the tokens that stand for pictures or around them."""
    return mask * ~torch.isin(input_ids, of_pictures)
