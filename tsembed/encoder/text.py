"""Text in, unit-norm embedding out: instruction, backbone (dense or with task experts), pooling.

encoder = Encoder.load("runs/cpu/mote/seed0/model")
encoder.encode(["What is BM25?"], "search_query")
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..inputs import as_list
from ..mote.experts import TaskRouted
from ..mote.token_routing import TokenRouted
from ..tasks import ROUTES
from .chunks import Chunk, chunks
from .pass_cost import of_encoder, suitable_budget
from .pooling import pool
from .positions import learned_positions, longest_input
from .precision import autocast
from .tokens import token_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from .backbones import BackboneModel


class Encoder(nn.Module):
    """Backbone, pooling and unit norm, under a route.

    Args:
        backbone: A Hugging Face encoder, a `TaskRouted` one, or one with adapters (a `PeftModel`).
        tokenizer: Its tokenizer.
        pooling: "mean" over the tokens of the mask, instruction included, the first ("cls") or the "last" of them.
        instructions: Route -> text put before the input; None for an encoder without instructions.
        routes: Names that a route may have, in the order of their indices.
        base: Of an encoder with adapters: where its frozen backbone comes from, {"backbone": settings} or
            {"folder": a saved encoder}.
    """

    input_types: tuple[type, ...] = (str,)  # what one input may be

    def __init__(
        self,
        backbone: "BackboneModel",
        tokenizer: "PreTrainedTokenizerBase",
        *,
        pooling: str = "mean",
        instructions: dict[str, str] | None = None,
        routes: Sequence[str] = ROUTES,
        base: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        if pooling not in ("mean", "cls", "last"):
            raise ValueError(f"pooling must be 'mean', 'cls' or 'last', got {pooling!r}")
        self.backbone, self.tokenizer = backbone, tokenizer
        self.pooling, self.instructions = pooling, instructions
        self.routes, self.base = tuple(routes), base
        self.positions = learned_positions(backbone)  # kept: a copy without weights checks lengths too
        self.pass_costs: dict[tuple[str, str], int] = {}  # (device, precision) -> tokens, see pass_cost.py

    def _as_list(self, inputs: Any) -> list[Any]:
        return as_list(inputs, self.input_types)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.backbone.parameters()).device

    @property
    def word_embeddings(self) -> nn.Module:
        """The backbone's table of words."""
        model = self.backbone.model if isinstance(self.backbone, TaskRouted | TokenRouted) else self.backbone
        return model.get_input_embeddings()

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.backbone.config.get_text_config().hidden_size

    @property
    def max_tokens(self) -> int:
        """How many tokens an input may have, special tokens included: what positions and tokenizer allow.

        A tokenizer that knows no limit says a huge number; where the model has no positions either, it is 512.
        """
        return longest_input(self.tokenizer, self.backbone.config.get_text_config())

    def check_max_tokens(self, max_tokens: int, setting: str = "max_tokens") -> None:
        """That an input of this length has room for text, and the model a learned position for each of its tokens.

        Raises:
            ValueError: If not; names the setting.
        """
        for route in self.routes:
            taken = len(self._ids([self._instruction(route)], None)[0])
            if max_tokens <= taken:
                what = (
                    f"instruction and special tokens of the route {route!r}" if self.instructions else "special tokens"
                )
                raise ValueError(f"{setting} {max_tokens} leaves no room for text: {what} take {taken}")
        if self.positions is not None and max_tokens > self.positions:
            raise ValueError(f"{setting} {max_tokens} must be <= {self.positions}, the positions that the backbone has")

    @property
    def specialised(self) -> bool:
        """Whether the embedding of a text depends on the route."""
        return self.instructions is not None or isinstance(self.backbone, TaskRouted) or self._adapters_by_route

    @property
    def _adapters_by_route(self) -> bool:
        """Whether the adapters are experts that the route chooses."""
        configs = getattr(self.backbone, "peft_config", {})
        return any(getattr(config, "router", None) == "task" for config in configs.values())

    def forward(
        self, input_ids: Int[Tensor, "batch seq"], attention_mask: Int[Tensor, "batch seq"], routes: str | Tensor
    ) -> Float[Tensor, "batch dim"]:
        """Unit-norm embeddings in fp32.

        Args:
            input_ids: The route's instruction included, if the encoder has instructions.
            attention_mask: 1 for a token, 0 for padding.
            routes: One of `routes` for all, or its index per sequence, on the CPU.
        """
        return self._embed(routes, {"input_ids": input_ids, "attention_mask": attention_mask})

    def _embed(self, routes: str | Tensor, inputs: dict[str, Any]) -> Float[Tensor, "batch dim"]:
        if isinstance(self.backbone, TaskRouted):
            pooled = self.backbone(routes, pool=self.pool, **inputs)
        else:
            adapter_routes = {"routes": routes} if self._adapters_by_route else {}
            pooled = self.pool(self.backbone(**inputs, **adapter_routes).last_hidden_state, inputs["attention_mask"])
        return nn.functional.normalize(pooled, dim=-1)

    def pool(
        self, hidden: Float[Tensor, "batch seq dim"], mask: Int[Tensor, "batch seq"]
    ) -> Float[Tensor, "batch dim"]:
        """By the encoder's pooling, in fp32."""
        return pool(hidden, mask, self.pooling)

    def embed_chunk(self, chunk: Chunk) -> Float[Tensor, "batch dim"]:
        """Embeddings of one chunk, with gradient, in its own order."""
        ids, mask = (x.to(self.device, non_blocking=True) for x in (chunk.input_ids, chunk.attention_mask))
        return self(ids, mask, chunk.routes)

    def embed(self, parts: Sequence[Chunk]) -> Float[Tensor, "batch dim"]:
        """Embeddings of chunks that `prepare` made, with gradient, in the order before chunking."""
        positions = torch.cat([c.positions for c in parts]).to(self.device)
        return torch.cat([self.embed_chunk(c) for c in parts])[positions.argsort()]

    def prepare(
        self,
        inputs: Sequence[Any],
        routes: str | Sequence[str],
        *,
        max_tokens: int,
        token_budget: int | None = None,
        pass_cost: int | None = None,
    ) -> tuple[list[Chunk], int]:
        """The inputs as chunks for `embed`, and their number of tokens without padding.

        Args:
            inputs: Texts; of an encoder of images, also `inputs.Input`s.
            routes: One of `routes` for all, or one per input.
            max_tokens: Longer inputs are cut.
            token_budget: Upper bound of a chunk's size, padding included.
            pass_cost: What one more forward pass costs, in tokens; by default what it costs on a CPU.

        Raises:
            ValueError: If a route is unknown, or the backbone has fewer positions than `max_tokens`.
        """
        self.check_max_tokens(max_tokens)
        names = [routes] * len(inputs) if isinstance(routes, str) else list(routes)
        tokens: list[list[int]] = [[]] * len(inputs)
        for route in dict.fromkeys(names):
            at = [i for i, name in enumerate(names) if name == route]
            ids_of_route = self.tokenize([inputs[i] for i in at], route, max_tokens=max_tokens)
            for i, ids in zip(at, ids_of_route, strict=True):
                tokens[i] = ids
        return self._chunks(tokens, names, token_budget, pass_cost), sum(map(len, tokens))

    def _chunks(
        self, tokens: list[list[int]], names: list[str], token_budget: int | None, pass_cost: int | None
    ) -> list[Chunk]:
        return chunks(
            tokens,
            names[0] if len(set(names)) == 1 else torch.tensor([self.routes.index(name) for name in names]),
            pad_id=self.tokenizer.pad_token_id,
            max_tokens=token_budget,
            padding_side=self.tokenizer.padding_side,
            pass_cost=pass_cost,
        )

    def tokenize(self, texts: Sequence[str], route: str, *, max_tokens: int) -> list[list[int]]:
        """Token ids per text, with the route's instruction, cut at `max_tokens` special tokens included.

        Raises:
            ValueError: If the route is unknown.
        """
        if route not in self.routes:
            raise ValueError(f"route {route!r} is unknown; routes: {', '.join(self.routes)}")
        before = self._instruction(route)
        return [ids or self._end() for ids in self._ids([before + text for text in texts], max_tokens)]

    def _instruction(self, route: str) -> str:
        return "" if self.instructions is None else self.instructions[route]

    def _ids(self, texts: list[str], max_tokens: int | None) -> list[list[int]]:
        return token_ids(self.tokenizer, texts, max_tokens)

    def _end(self) -> list[int]:
        """What stands for a text of which the tokenizer makes nothing: the end-of-text token."""
        if self.tokenizer.eos_token_id is None:
            raise ValueError("a text has no token, and the tokenizer has no eos_token that could stand for it")
        return [self.tokenizer.eos_token_id]

    def encode(
        self,
        inputs: Any,
        route: str,
        *,
        max_tokens: int | None = None,
        token_budget: int | None = None,
        precision: str = "fp32",
        truncate_dim: int | None = None,
        convert_to_tensor: bool = False,
        show_progress_bar: bool = False,
    ) -> Float[np.ndarray, "*inputs dim"] | Float[Tensor, "*inputs dim"]:
        """Unit-norm embeddings, fp32, in the order of the inputs: (inputs, dim), or (dim,) of a single text.

        They are sorted by length and packed into batches of at most `token_budget` tokens, padding included. How large
        batches should be is measured at the first call on an accelerator, which takes about a second.

        Args:
            inputs: A text, or a sequence, array or column of texts, which are taken by position whatever its index; of
                an encoder of images, also `inputs.Input`s.
            route: One of `routes`.
            max_tokens: Longer inputs are cut; by default at what model and tokenizer take, `self.max_tokens`.
            token_budget: Upper bound of a forward pass in tokens, padding included; a longer single input is a pass of
                its own. By default 1,536 on a CPU, and what suits the model on an accelerator.
            precision: "fp32", "bf16" (autocast), or "auto": bf16 where the processor has it.
            truncate_dim: Keep this many leading dimensions and normalise anew, so that the shorter embeddings have unit
                norm too. For models that were trained for it.
            convert_to_tensor: Return a tensor on the encoder's device in place of a numpy array.
            show_progress_bar: Count the embedded inputs on stderr.

        Raises:
            ValueError: If the route is unknown, `truncate_dim` is not in 1..dim, or the inputs are neither; names the
                first position that is no text.
        """
        single = isinstance(inputs, self.input_types)
        listed = self._as_list([inputs] if single else inputs)
        dim = self.dim if truncate_dim is None else truncate_dim
        if not 1 <= dim <= self.dim:
            raise ValueError(f"truncate_dim must be in 1..{self.dim}, got {truncate_dim}")
        out = torch.zeros(len(listed), dim, device=self.device if convert_to_tensor else "cpu")
        if listed:
            max_tokens = self.max_tokens if max_tokens is None else max_tokens
            cost = 0 if single else of_encoder(self, route, precision)
            budget = suitable_budget(cost) if token_budget is None else token_budget
            blocks = self._prepared(listed, route, max_tokens, budget, cost)
            self._embed_into(out, blocks, precision, show_progress_bar)
        vectors = out if convert_to_tensor else out.numpy()
        return vectors[0] if single else vectors

    def _prepared(
        self, inputs: list[Any], route: str, max_tokens: int, token_budget: int, pass_cost: int
    ) -> Iterator[tuple[slice, list[Chunk]]]:
        """The chunks of inputs that are prepared together, and where these inputs stand: here of all at once."""
        parts, _ = self.prepare(inputs, route, max_tokens=max_tokens, token_budget=token_budget, pass_cost=pass_cost)
        yield slice(0, len(inputs)), parts

    @torch.inference_mode()
    def _embed_into(
        self, out: Tensor, blocks: Iterable[tuple[slice, list[Chunk]]], precision: str, show_progress_bar: bool
    ) -> None:
        """Write the chunks' embeddings into `out` (inputs, dim), cut to its dim, without dropout."""
        from transformers.utils.logging import tqdm  # tqdm's own, unless progress bars are off in transformers

        was_training = self.training
        self.eval()
        with (
            autocast(self.device, precision),
            tqdm(total=len(out), unit="input", disable=not show_progress_bar) as bar,
        ):
            for places, parts in blocks:
                for part in parts:
                    vectors = self.embed_chunk(part)[:, : out.shape[1]]  # (batch, dim)
                    if out.shape[1] < self.dim:
                        vectors = nn.functional.normalize(vectors, dim=-1)
                    out[places][part.positions.to(out.device)] = vectors.to(out)
                    bar.update(len(vectors))
        self.train(was_training)

    def save(self, folder: str | Path) -> None:
        """The same as `encoder.build.save`."""
        from .build import save

        save(self, folder)

    @staticmethod
    def load(
        folder: str | Path, device: str | torch.device | None = None, *, offloaded: str | None = None
    ) -> "Encoder":
        """The same as `encoder.build.load`."""
        from .build import load

        return load(folder, device, offloaded=offloaded)
