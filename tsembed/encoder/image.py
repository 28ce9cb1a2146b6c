"""Text, pictures, or both in; unit-norm embedding out. The encoder of a multimodal language model."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxtyping import Float, Int
from torch import Tensor

from ..inputs import MARK, Input, check_item
from .chunks import Chunk
from .image_processing import IMAGE_FAMILIES, Picture, Pictures, read_pictures
from .text import Encoder

if TYPE_CHECKING:
    from .backbones import BackboneModel


BLOCK = 256  # inputs of `encode` that are prepared together: the pixels of two blocks are in memory


class ImageEncoder(Encoder):
    """An encoder whose inputs are texts or `Input`s. A batch may mix texts, pictures, and texts with a picture.

    An input ends in the end-of-text token, which is what "last" pooling reads.

    Args:
        backbone: Of one of `image_processing.IMAGE_FAMILIES`, with or without adapters.
        image_processor: As `image_processing.image_processor` returns it.
        settings: As `Encoder` takes them.
    """

    input_types = (str, Input)

    def __init__(self, backbone: "BackboneModel", tokenizer, image_processor: Any, **settings: Any):
        super().__init__(backbone, tokenizer, **settings)
        self.image_processor = image_processor
        self.family = IMAGE_FAMILIES[backbone.config.model_type]
        self._marks = [tokenizer.convert_tokens_to_ids(token) for token in self.family.tokens]

    def _as_list(self, inputs: Any) -> list[Any]:
        """The inputs by position: no text spells a token of pictures, no mark is without a picture."""
        listed = super()._as_list(inputs)
        for position, item in enumerate(listed):
            try:
                check_item(Input(item) if isinstance(item, str) else item)
            except ValueError as error:
                raise ValueError(f"input {position}: {error}") from None
        return listed

    @property
    def tower_is_frozen(self) -> bool:
        """Whether no weight of the vision tower is trained."""
        tower = getattr(self.backbone, self.family.tower)
        return not any(p.requires_grad for p in tower.parameters())

    def forward(
        self,
        input_ids: Int[Tensor, "batch seq"],
        attention_mask: Int[Tensor, "batch seq"],
        routes: str | Tensor,
        pictures: Pictures | None = None,
    ) -> Float[Tensor, "batch dim"]:
        """Unit-norm embeddings in fp32.

        Args:
            input_ids: With one placeholder token for each feature of a picture.
            attention_mask: 1 for a token, 0 for padding.
            routes: One of `routes` for all, or its index per sequence, on the CPU.
            pictures: Those of the sequences, in order.

        Raises:
            ValueError: If the placeholders in `input_ids` are not as many as the features of the pictures.
        """
        inputs: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask, "use_cache": False}
        if pictures is not None:
            inputs["mm_encoder_outputs"] = {"image": pictures.features(self.backbone, frozen=self.tower_is_frozen)}
            inputs["image_grid_thw"] = pictures.grids.to(input_ids.device)
            inputs["mm_token_type_ids"] = (input_ids == self._marks[1]).int()
        return self._embed(routes, inputs)

    def embed_chunk(self, chunk: Chunk) -> Float[Tensor, "batch dim"]:
        """Embeddings of one chunk, with gradient, in its own order."""
        ids, mask = (x.to(self.device, non_blocking=True) for x in (chunk.input_ids, chunk.attention_mask))
        return self(ids, mask, chunk.routes, chunk.pictures)

    def prepare(
        self,
        inputs: Sequence[Input | str],
        routes: str | Sequence[str],
        *,
        max_tokens: int,
        token_budget: int | None = None,
        pass_cost: int | None = None,
    ) -> tuple[list[Chunk], int]:
        """The inputs as chunks for `embed`, and their number of tokens without padding.

        Raises:
            ValueError: If a route is unknown, a picture cannot be read, or it alone has more than `max_tokens`.
        """
        names = [routes] * len(inputs) if isinstance(routes, str) else list(routes)
        if unknown := sorted(set(names) - set(self.routes)):
            raise ValueError(f"routes {unknown} are unknown; routes: {', '.join(self.routes)}")
        items = [Input(x) if isinstance(x, str) else x for x in inputs]
        at = [i for i, item in enumerate(items) if item.image is not None]
        pixels = read_pictures(self.image_processor, [items[i] for i in at])
        pictures: dict[int, Picture] = dict(zip(at, pixels, strict=True))
        tokens = self._sequences(items, pictures, max_tokens)
        parts = []
        for part in self._chunks(tokens, names, token_budget, pass_cost):
            inside = [pictures[i] for i in part.positions.tolist() if i in pictures]
            parts.append(part._replace(pictures=Pictures(inside) if inside else None))
        return parts, sum(map(len, tokens))

    def _prepared(
        self, inputs: list[Input | str], route: str, max_tokens: int, token_budget: int, pass_cost: int
    ) -> Iterator[tuple[slice, list[Chunk]]]:
        """The chunks of `BLOCK` inputs after the other; the next ones are prepared while the caller embeds some."""
        prepare = partial(
            self.prepare, routes=route, max_tokens=max_tokens, token_budget=token_budget, pass_cost=pass_cost
        )
        blocks = [slice(start, start + BLOCK) for start in range(0, len(inputs), BLOCK)]
        with ThreadPoolExecutor(1) as background:
            pending = background.submit(prepare, inputs[blocks[0]])
            for places, following in zip(blocks, [*blocks[1:], None], strict=True):
                parts, _ = pending.result()
                if following is not None:
                    pending = background.submit(prepare, inputs[following])
                yield places, parts

    def _sequences(self, items: list[Input], pictures: dict[int, Picture], max_tokens: int) -> list[list[int]]:
        """Token ids per item, cut in the text at `max_tokens`, never in the picture."""
        split = [item.text.partition(MARK) if MARK in item.text else ("", "", item.text) for item in items]
        before, after = (self._ids([parts[k].strip() for parts in split]) for k in (0, 2))
        end = [] if self.tokenizer.eos_token_id is None else [self.tokenizer.eos_token_id]
        first, pad, last = self._marks
        sequences = []
        for i, (head, tail) in enumerate(zip(before, after, strict=True)):
            picture = [first, *[pad] * pictures[i].tokens, last] if i in pictures else []
            room = max_tokens - len(picture) - len(end)
            if room < 0:
                raise ValueError(
                    f"a picture of {pictures[i].tokens} tokens does not fit into max_tokens {max_tokens}; "
                    "lower backbone.max_pixels or raise max_tokens"
                )
            head = head[:room]
            sequences.append([*head, *picture, *tail[: room - len(head)], *end])
        return sequences

    def _ids(self, texts: list[str], max_tokens: int | None = None) -> list[list[int]]:
        """Token ids per text, without special tokens, whatever `max_tokens`: `_sequences` cuts around the picture."""
        return self.tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]

    def tokenize(self, texts: Sequence[str], route: str, *, max_tokens: int) -> list[list[int]]:
        """Token ids of texts without pictures.

        Raises:
            ValueError: If the route is unknown.
        """
        if route not in self.routes:
            raise ValueError(f"route {route!r} is unknown; routes: {', '.join(self.routes)}")
        return self._sequences([Input(text) for text in texts], {}, max_tokens)

    def save(self, folder: str | Path) -> None:
        """Write what `Encoder.save` writes, and the image processor's settings."""
        super().save(folder)
        self.image_processor.save_pretrained(folder)
