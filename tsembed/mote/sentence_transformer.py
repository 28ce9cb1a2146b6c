"""A MoTE encoder as the first module of a SentenceTransformer. An export carries a copy of this file.

A text takes the expert of its prompt. The prompt comes from `encode_query`, `encode_document`, `encode(prompt_name=…)`
or `encode(prompt=…)`, or, where none is given, stands at the beginning of the text itself. A text without a known
prompt is an error: no expert is the right one for it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers.base.modules import InputModule
from torch import Tensor

from .experts import TaskRouted


class TaskRoutedTransformer(InputModule):
    """Texts to token embeddings, each text under the route of its prompt.

    Args:
        model: The encoder with task experts.
        tokenizer: Its tokenizer.
        prompts: Route -> prompt, all different.
        prepend: Whether the prompt is put before the text, or names the route alone.
        max_seq_length: In tokens, the prompt and special tokens included; longer texts are cut.
    """

    config_file_name = "task_routed.json"
    config_keys = ["prompts", "prepend", "max_seq_length"]

    def __init__(self, model: TaskRouted, tokenizer: Any, *, prompts: dict, prepend: bool, max_seq_length: int):
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        self.prompts, self.prepend, self.max_seq_length = prompts, prepend, max_seq_length
        self._indices = {prompts[route]: index for index, route in enumerate(model.routes)}  # as TaskRouted wants them

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **_: Any) -> dict[str, Tensor]:
        """Token ids and mask (batch, seq), and the route's index of each text (batch,).

        Raises:
            ValueError: If an input is no text, or has no known prompt.
        """
        if wrong := [x for x in inputs if not isinstance(x, str)]:
            raise ValueError(f"this model embeds text alone, got {type(wrong[0]).__name__}")
        routes = torch.tensor([self._route(text, prompt) for text in inputs])
        texts = [prompt + text for text in inputs] if prompt and self.prepend else list(inputs)
        encoded = self.tokenizer(
            texts,
            truncation=True,
            max_length=self.max_seq_length,
            padding=True,
            return_tensors="pt",
            return_token_type_ids=False,
        )
        return {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"], "routes": routes}

    def _route(self, text: str, prompt: str | None) -> int:
        if prompt in self._indices:
            return self._indices[prompt]
        if not prompt and self.prepend:
            for known, index in self._indices.items():
                if text.startswith(known):
                    return index
        what = f"prompt {prompt!r} is unknown" if prompt else f"the text {text[:40]!r} has no prompt"
        raise ValueError(
            f"{what}, so it has no expert: use encode_query, encode_document or encode(prompt_name=…); "
            f"prompts: {', '.join(map(repr, self._indices))}"
        )

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Adds token_embeddings (batch, seq, dim)."""
        inputs = {name: features[name] for name in ("input_ids", "attention_mask")}
        features["token_embeddings"] = self.model(features["routes"].cpu(), **inputs).last_hidden_state
        return features

    def get_embedding_dimension(self) -> int:
        """Of a token's embedding."""
        return self.model.config.hidden_size

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Write weights, configs and tokenizer."""
        self.model.save_pretrained(output_path)
        self.tokenizer.save_pretrained(output_path)
        self.save_config(output_path)

    @classmethod
    def load(
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        **other: Any,
    ) -> "TaskRoutedTransformer":
        """Read what `save` wrote, from a folder or from the hub.

        Raises:
            ValueError: If arguments for a Hugging Face model, tokenizer or another backend are given.
        """
        from transformers import AutoTokenizer

        for name in ("model_kwargs", "processor_kwargs", "config_kwargs"):
            if other.get(name):
                raise ValueError(f"{name} {other[name]!r}: this model takes none; after loading, use .to() and .half()")
        if other.get("backend", "torch") != "torch":
            raise ValueError(f"backend {other['backend']!r}: this model runs on torch alone")
        where = {
            "token": token,
            "cache_folder": cache_folder,
            "revision": revision,
            "local_files_only": local_files_only,
        }
        folder = Path(cls.load_dir_path(model_name_or_path, subfolder=subfolder, **where))
        settings = cls.load_config(model_name_or_path, subfolder=subfolder, **where)
        return cls(TaskRouted.from_pretrained(folder), AutoTokenizer.from_pretrained(folder), **settings).eval()
