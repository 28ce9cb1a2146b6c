"""A MoTE encoder as the first module of a SentenceTransformer. An export carries a copy of this file.

A text takes the expert of its prompt. The prompt comes from `encode_query`, `encode_document`, `encode(prompt_name=…)`
or `encode(prompt=…)`, from a task (`encode(task="clustering")`), or, where none is given, stands at the beginning of
the text itself. Embedding a text without any of them is an error: no expert is the right one for it. Tokenizing it is
none, for a trainer counts the tokens of its texts without a prompt.
"""

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers.base.modules import InputModule
from torch import Tensor

from .experts import TaskRouted

SIDES = {"query": "search_query", "document": "search_document"}  # task of encode_query, encode_document -> route


class TaskRoutedTransformer(InputModule):
    """Texts to token embeddings, each text under the route of its prompt.

    Args:
        model: The encoder with task experts.
        tokenizer: Its tokenizer.
        prompts: Route -> prompt, all different.
        prepend: Whether the prompt is put before the text, or names the route alone.
        max_seq_length: In tokens, the prompt and special tokens included; longer texts are cut.
    """

    tokenizer: Any  # one of transformers; the base class allows others
    config_file_name = "task_routed.json"
    config_keys = ["prompts", "prepend", "max_seq_length"]
    forward_kwargs = {"task"}  # so that `get_model_kwargs` names it; `preprocess` is where it is read

    def __init__(self, model: TaskRouted, tokenizer: Any, *, prompts: dict, prepend: bool, max_seq_length: int):
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        self.prompts, self.prepend, self.max_seq_length = prompts, prepend, max_seq_length
        self._index_of_route = {route: index for index, route in enumerate(model.routes)}  # as TaskRouted wants them
        self._indices = {prompts[route]: index for route, index in self._index_of_route.items()}  # by prompt

    def preprocess(
        self,
        inputs: Sequence[Any],
        prompt: str | None = None,
        task: str | None = None,
        max_length: int | None = None,
        **_: Any,
    ) -> dict[str, Tensor]:
        """Token ids and mask (batch, seq), and the index of each text's route (batch,), -1 where nothing names one.

        Args:
            inputs: Texts.
            prompt: Of a route. It is put before the texts; if the model was trained without, it names the route alone.
            task: "query", "document" or a route: the same as the prompt of that route. A known prompt takes precedence,
                as encode_query(prompt_name="clustering") gives both; an unknown one is put before the texts.
            max_length: Cuts at fewer tokens than `max_seq_length`.

        Raises:
            ValueError: If an input is no text, or the task is unknown.
        """
        if wrong := [x for x in inputs if not isinstance(x, str)]:
            raise ValueError(f"this model embeds text alone, got {type(wrong[0]).__name__}")
        task_route = self._route_of_task(task)
        if prompt in self._indices or task_route is None:
            routes = [self._route_of_prompt(text, prompt) for text in inputs]
        else:
            routes = [self._index_of_route[task_route]] * len(inputs)
            prompt = prompt or self.prompts[task_route]
        encoded = self.tokenizer(
            [prompt + text for text in inputs] if prompt and self.prepend else list(inputs),
            truncation=True,
            max_length=min(self.max_seq_length, max_length or self.max_seq_length),
            padding=True,
            return_tensors="pt",
            return_token_type_ids=False,
        )
        ids, mask = encoded["input_ids"], encoded["attention_mask"]  # (batch, seq)
        return {"input_ids": ids, "attention_mask": mask, "routes": torch.tensor(routes)}

    def _route_of_task(self, task: str | None) -> str | None:
        """The route that a task names; None without a task, or for a side that this model has no route for."""
        if task is None or task in self.prompts:
            return task
        if task not in SIDES:
            names = ", ".join([*SIDES, *self.prompts])
            raise ValueError(f"task {task!r} is unknown; tasks: {names}")
        return SIDES[task] if SIDES[task] in self.prompts else None

    def _route_of_prompt(self, text: str, prompt: str | None) -> int:
        """Index of the route of a prompt, or of the prompt that the text begins with; -1 if there is none."""
        if prompt in self._indices:
            return self._indices[prompt]
        if not prompt and self.prepend:
            for prefix, index in self._indices.items():
                if text.startswith(prefix):
                    return index
        return -1

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """The features with token_embeddings (batch, seq, dim).

        Raises:
            ValueError: If a text has no route.
        """
        routes = features["routes"].cpu()  # (batch,)
        if (routes < 0).any():
            row = int((routes < 0).nonzero()[0])
            text = self.tokenizer.decode(features["input_ids"][row], skip_special_tokens=True)[:40]
            raise ValueError(
                f"the text {text!r} has no known prompt and no task, so it has no expert: use encode_query, "
                f"encode_document, encode(prompt_name=…) or encode(task=…); prompts: "
                f"{', '.join(map(repr, self._indices))}; tasks: {', '.join([*SIDES, *self.prompts])}"
            )
        inputs = {name: features[name] for name in ("input_ids", "attention_mask")}
        features["token_embeddings"] = self.model(routes, **inputs).last_hidden_state
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
        init_defaults: dict[str, Any] | None = None,
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
        where: dict[str, Any] = {
            "token": token,
            "cache_folder": cache_folder,
            "revision": revision,
            "local_files_only": local_files_only,
        }
        folder = cls.load_dir_path(model_name_or_path, subfolder=subfolder, **where)
        if folder is None:
            raise ValueError(f"{model_name_or_path}: no such folder or model of the hub")
        settings = cls.load_config(model_name_or_path, subfolder=subfolder, **where)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        return cls(TaskRouted.from_pretrained(folder), tokenizer, **settings).eval()
