"""The README.md of an exported model: how to use it, what it scores, what it was trained on. All of it is computed."""

import re
from pathlib import Path
from typing import Any

from ..contrastive.matryoshka import nested_dims
from ..tasks import CAPTIONING, IMAGE_TASKS, ROUTES, TEXT_TASKS
from .run import Run
from .score_section import markdown_table, score_section, scores_of_export
from .sentence_transformers import code_hashes

TEMPLATE = """\
---
{{ card_data }}
---

# {{ name }}

{{ about }}

## Use

{{ use }}

## Scores

{{ scores }}

## Training data

{{ data }}

## Settings

{{ settings }}

## Limits

{{ limits }}
"""


def model_card(
    encoder,
    run: Run | None,
    prompts,
    tokens: int,
    name: str,
    route: str | None,
    average: bool,
    measured: list[dict[str, Any]] | None = None,
) -> str:
    """The text of the card.

    Args:
        encoder: As exported; see `folder.py`.
        run: What the run's folder says, or None: the card then says that nothing is known.
        name: Of the folder, for the example.
        prompts: Of the exported folder.
        tokens: At how many tokens a text is cut.
        route: The route whose dense model was exported, if it was one.
        average: Whether the dense model of the averaged experts was exported.
        measured: Scores of the exported model, where it is not the run's own and was evaluated.
    """
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    base = _base_model(run)
    front: dict[str, Any] = {
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "tags": ["sentence-transformers", "feature-extraction", "sentence-similarity", "tsembed"],
    }
    if images := _of_images(encoder):
        front = {"library_name": "transformers", "pipeline_tag": "feature-extraction", "tags": ["tsembed"]}
    if base and re.fullmatch(r"[\w.-]+/[\w.-]+", base):
        front["base_model"] = base
    if scores := scores_of_export(run, route, average, measured):  # the hub shows them on the model's page
        front["model_name"] = name
        front["eval_results"] = [
            EvalResult(
                task_type=row["task_type"],
                dataset_type=row["dataset"],
                dataset_name=row["dataset"],
                metric_type=row["metric"],
                metric_value=float(row["score"]),
            )
            for row in scores
        ]
    card = ModelCard.from_template(
        ModelCardData(**front),
        template_str=TEMPLATE,
        name=name,
        about=_about(encoder, run, base, tokens, route, average),
        use=_use_of_images(encoder, name, route) if images else _use(encoder, prompts, name, route, run),
        scores=score_section(run, route, average, measured),
        data=_data(run),
        settings=_settings(run),
        limits=_limits(encoder, run, tokens, route, average),
    )
    return card.content.rstrip("\n") + "\n"


def _of_images(encoder) -> bool:
    from ..encoder.image import ImageEncoder

    return isinstance(encoder, ImageEncoder)


def _base_model(run) -> str | None:
    """Name on the hub of what training started from; the embedded weights are the official ones (see encoder.py)."""
    if run is None:
        return None
    name = run.config["backbone"]["name"].replace("embedded:", "sentence-transformers/")
    return Path(name).name if Path(name).is_dir() else name


def _about(encoder, run, base: str | None, tokens: int, route: str | None, average: bool) -> str:
    from ..mote.experts import TaskRouted

    backbone = encoder.backbone
    description = "a dense model"
    if isinstance(backbone, TaskRouted):
        description = (
            f"{len(backbone.expert_names)} task experts in {len(backbone.blocks)} blocks (MoTE, Romero et al. 2025)"
        )
    elif average:
        description = "a dense model, the mean of the task experts of a MoTE model"
    elif route is not None:
        description = f"a dense model, for the route `{route}` alone"
    if adapter := run and run.config["variant"].get("adapter"):
        gates = f", at the mean gates of its routers ({adapter['router']})" if average else ""
        description = f"a dense model: {adapter['kind']} of rank {adapter['r']} merged into its backbone{gates}"
        description += f", for the route `{route}` alone" if route is not None and adapter["router"] == "task" else ""
    parameters = sum(p.numel() for p in backbone.parameters())
    kind = "Embeddings of texts and pictures," if _of_images(encoder) else "Text embeddings"
    lines = [
        f"{kind} of {encoder.dim} dimensions and unit norm, from {description}: "
        f"{parameters / 1e6:.1f} M parameters, {encoder.pooling} pooling, at most {tokens} tokens."
    ]
    if run is not None:
        revision = run.config["backbone"]["revision"]
        layers = run.config["backbone"]["num_layers"]
        preset = f" of the preset `{run.config['preset']}`" if run.config.get("preset") else ""
        lines.append(
            f"Variant {run.config['variant']['label']}{preset}, seed {run.config['seed']}. Base model: {base}"
            + (f" at {revision}" if revision else "")
            + (f", its first {layers} blocks" if layers else "")
            + "."
        )
    return "\n\n".join(lines)


def _matryoshka_dims(encoder, run: Run | None) -> list[int]:
    """Lengths that an embedding may be cut to, longest first; none where it was not trained for it."""
    shorter = run.config["training"].get("matryoshka_dims") if run else None
    return nested_dims(shorter, encoder.dim) if shorter else []


def _cutting(name: str, trust: str, dims: list[int]) -> list[str]:
    listed = ", ".join(map(str, dims))
    return [
        "",
        f"Trained with Matryoshka dimensions {listed}: an embedding may be cut to one of these lengths.",
        "",
        "```python",
        f'model = SentenceTransformer("{name}"{trust}, truncate_dim={dims[-1]})',
        "```",
        "",
        "A cut embedding no longer has unit norm. `model.similarity` normalises; for an index of inner products use",
        "`encode(..., normalize_embeddings=True)`.",
    ]


def _use(encoder, prompts, name: str, route: str | None, run: Run | None) -> str:
    from ..mote.experts import TaskRouted

    routed = isinstance(encoder.backbone, TaskRouted)
    trust = ", trust_remote_code=True" if routed else ""
    lines = ["```python", "from sentence_transformers import SentenceTransformer", ""]
    lines.append(f'model = SentenceTransformer("{name}"{trust})')
    if route is not None or not encoder.specialised:
        lines += ['model.encode(["a text"])', "```"]
    else:
        lines += [
            'model.encode_query(["a question"])',
            'model.encode_document(["a passage"])',
            'model.encode(["a text"], prompt_name="classification")',
            'model.encode(["a text"], prompt_name="clustering")',
            "```",
        ]
    if routed:
        lines += [
            "",
            "The prompt decides which expert a text takes; a text without a known prompt is an error. The",
            "Python files in this folder are the model's code; read them before you trust them. Their sha256:",
            "",
            *(f"- `{name}`: `{sha256}`" for name, sha256 in code_hashes().items()),
        ]
    elif route is not None:
        lines += [
            "",
            f"The model has one route, `{route}`: `encode`, `encode_query` and `encode_document` all take it.",
        ]
    elif prompts.default:
        lines += ["", f"`encode` without a prompt name takes `{prompts.default}`."]
    if texts := {key: text for key, text in prompts.of.items() if key in (*ROUTES, "query", "document")}:
        lines += ["", "Prompts: " + ", ".join(f"`{key}` → {text!r}" for key, text in texts.items()) + "."]
    if dims := _matryoshka_dims(encoder, run):
        lines += _cutting(name, trust, dims)
    return "\n".join(lines)


def _use_of_images(encoder, name: str, route: str | None) -> str:
    routes = [route] if route is not None else list(encoder.routes)
    named = ", ".join(f"`{route}`" for route in routes)
    lines = [
        "```python",
        "from tsembed.inputs import Input",
        "from tsembed import Encoder",
        "",
        f'encoder = Encoder.load("{name}")',
        f'encoder.encode(["a text", Input("", open("a.png", "rb").read())], "{routes[0]}")',
        "```",
        "",
        f"Routes: {named}. The weights alone are a plain `{type(encoder.backbone).__name__}` of transformers:",
        f'`AutoModel.from_pretrained("{name}")`.',
    ]
    return "\n".join(lines)


def _data(run) -> str:
    if run is None:
        return "Unknown: the model folder does not name it."
    tasks = run.config["variant"]["tasks"]
    rows = [
        [entry["name"], entry["task"], f"{entry['rows']['rows']:,}", entry["licence"], entry["origin"]]
        for entry in run.manifest["datasets"]
        if entry["part"] == "train" and entry["task"] in tasks
    ]
    if not run.config["variant"]["trained"] and not run.config["variant"].get("weights_of"):
        return "None: the base model's weights are as they were."
    return markdown_table(["dataset", "task", "pairs", "licence", "origin"], rows)


def _settings(run) -> str:
    if run is None:
        return "Unknown."
    training, variant, env = run.config["training"], run.config["variant"], run.env
    rows = [[key, str(training[key])] for key in ("steps", "batch_size", "learning_rate", "weight_decay", "precision")]
    rows += [[key, str(variant[key])] for key in ("batching", "temperature", "blocks")]
    if variant.get("experts"):
        rows += [["experts", ", ".join(f"{route} → {expert}" for route, expert in variant["experts"].items())]]
    for part in ("adapter", "negatives"):
        if variant.get(part):
            rows += [[part, ", ".join(f"{key} {value}" for key, value in variant[part].items() if value is not None)]]
    rows += [["hard negatives of a pair", str(training["hard_negatives"])]] if training.get("hard_negatives") else []
    rows += [["tasks", ", ".join(variant["tasks"])]]
    rows += [["commit", env["commit"] + _changed(env)]] if env.get("commit") else []
    rows += [["data sha256", run.config["data_sha256"]]]
    rows += [["lock sha256", env["requirements_lock_sha256"]]] if env.get("requirements_lock_sha256") else []
    rows += [[package, number] for package, number in env["versions"].items()]
    rows += [["hardware", ", ".join(env["gpus"]) or f"{env['processor']}, {env['cores']} cores"]]
    return markdown_table(["setting", "value"], rows)


def _changed(env: dict[str, Any]) -> str:
    return " and uncommitted changes" if env["uncommitted_changes"] else ""


def _limits(encoder, run, tokens: int, route: str | None, average: bool) -> str:
    limits = [f"Texts are cut at {tokens} tokens, the prompt included."]
    if run is None:
        limits.append("Neither scores nor training data are known here; ask whoever made the folder.")
    else:
        evaluation, data = run.config["evaluation"], run.config["data"]
        limits.append(
            f"Scored at {evaluation['max_tokens']} tokens and precision {run.config['training']['precision']}"
        )
        limits[-1] += f", on at most {data['eval_rows']} rows per set." if data["eval_rows"] else "."
        limits.append(f"The scores are of one run (seed {run.config['seed']}), without an interval.")
        if run.config["variant"].get("weights_of"):
            limits.append(
                f"The weights come from the run of `{run.config['variant']['weights_of']}`, not trained again."
            )
        all_tasks = IMAGE_TASKS if set(run.config["variant"]["tasks"]) & {*IMAGE_TASKS, CAPTIONING} else TEXT_TASKS
        if lacking := sorted(set(all_tasks) - set(run.config["variant"]["tasks"])):
            limits.append(f"Not trained on: {', '.join(lacking)}.")
        limits.append("A licence in the table covers that data set; whoever publishes the model checks them all.")
    if route is not None and route.startswith("search_"):
        limits.append("Queries and documents take two exports, one per route; embeddings of both are comparable.")
    if average:
        limits.append("Averaging is not what was trained.")
    if _of_images(encoder):
        limits.append("Pictures keep their proportions within the bounds of the image processor.")
    return "\n".join(f"- {limit}" for limit in limits)
