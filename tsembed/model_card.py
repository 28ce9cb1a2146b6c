"""The README.md of an exported model: how to use it, what it scores, what it was trained on. All of it is computed."""

import re
from pathlib import Path
from typing import Any

from .tasks import ROUTES, TASKS, TEXT_TASKS


def model_card(encoder, run, prompts, tokens: int, name: str, route: str | None, average: bool) -> str:
    """The text of the card.

    Args:
        encoder, prompts, tokens: As exported; see `export.py`.
        run: What the run's folder says, or None: the card then says that nothing is known.
        name: Of the folder, for the example.
        route, average: Which dense model was made of the run's, if any.
    """
    import yaml

    base = _base_model(run)
    front = {
        "library_name": "sentence-transformers", "pipeline_tag": "sentence-similarity",
        "tags": ["sentence-transformers", "feature-extraction", "sentence-similarity", "tsembed"],
    }  # fmt: skip
    if base and re.fullmatch(r"[\w.-]+/[\w.-]+", base):
        front["base_model"] = base
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---",
        f"# {name}",
        _about(encoder, run, base, tokens, route, average),
        "## Use",
        _use(encoder, prompts, name, route),
        "## Scores",
        _scores(run, route, average),
        "## Training data",
        _data(run),
        "## Settings",
        _settings(run),
        "## Limits",
        _limits(run, tokens, route, average),
    ]
    return "\n\n".join(parts) + "\n"


def _base_model(run) -> str | None:
    """Name on the hub of what training started from; the embedded weights are the official ones (see encoder.py)."""
    if run is None:
        return None
    name = run.config["backbone"]["name"].replace("embedded:", "sentence-transformers/")
    return Path(name).name if Path(name).is_dir() else name


def _about(encoder, run, base: str | None, tokens: int, route: str | None, average: bool) -> str:
    from .mote.experts import TaskRouted

    backbone = encoder.backbone
    what = "a dense model"
    if isinstance(backbone, TaskRouted):
        what = f"{len(backbone.expert_names)} task experts in {len(backbone.blocks)} blocks (MoTE, Romero et al. 2025)"
    elif average:
        what = "a dense model, the mean of the task experts of a MoTE model"
    elif route is not None:
        what = f"a dense model, for the route `{route}` alone"
    parameters = sum(p.numel() for p in backbone.parameters())
    lines = [
        f"Text embeddings of {backbone.config.hidden_size} dimensions and unit norm, from {what}: "
        f"{parameters / 1e6:.1f} M parameters, {encoder.pooling} pooling, at most {tokens} tokens."
    ]
    if run is not None:
        revision = run.config["backbone"]["revision"]
        layers = run.config["backbone"]["num_layers"]
        lines.append(
            f"Variant {run.config['variant']['label']} of the preset `{run.config['preset']}`, seed "
            f"{run.config['seed']}. Base model: {base}" + (f" at {revision}" if revision else "")
            + (f", its first {layers} blocks" if layers else "") + "."
        )  # fmt: skip
    return "\n\n".join(lines)


def _use(encoder, prompts, name: str, route: str | None) -> str:
    from .mote.experts import TaskRouted

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
        lines += ["", "The prompt decides which expert a text takes; a text without a known prompt is an error. The",
                  "Python files in this folder are the model's code; read them before you trust them."]  # fmt: skip
    elif route is not None:
        lines += [
            "",
            f"The model has one route, `{route}`: `encode`, `encode_query` and `encode_document` all take it.",
        ]
    elif prompts.default:
        lines += ["", f"`encode` without a prompt name takes `{prompts.default}`."]
    if texts := {key: text for key, text in prompts.of.items() if key in (*ROUTES, "query", "document")}:
        lines += ["", "Prompts: " + ", ".join(f"`{key}` → {text!r}" for key, text in texts.items()) + "."]
    return "\n".join(lines)


def _scores(run, route: str | None, average: bool) -> str:
    from .export import task_of_type

    if run is None:
        return "Exported from a model folder, not from a run: no measured scores."
    if average:
        return (
            "The averaged model was not evaluated. The scores of the run are those of its experts, so none are given."
        )
    tasks = task_of_type(run)
    rows = run.scores
    about = "MTEB tasks, 0 to 100, one run."
    if route is not None:
        of_route = {t for t, task in tasks.items() if route in (TASKS[task].query_route, TASKS[task].document_route)}
        rows = [row for row in rows if row["task_type"] in of_route]
        about += f" Task types that use the route `{route}`."
        if route.startswith("search_"):
            other = "search_document" if route == "search_query" else "search_query"
            about += f" The other side of the pairs was embedded under `{other}`."
    if not rows:
        return f"The run has no scores for {route or 'any task'}."
    types = sorted({row["task_type"] for row in rows}, key=list(tasks).index)
    means = []
    for task_type in types:
        own = [row["score"] for row in rows if row["task_type"] == task_type]
        means.append([task_type, str(len(own)), f"{sum(own) / len(own):.1f}"])
    each = [[r["task_type"], r["dataset"], r["metric"], f"{r['score']:.1f}"] for r in rows]
    return "\n\n".join(
        [
            about,
            _table(["task type", "datasets", "mean score"], means),
            _table(["task type", "dataset", "metric", "score"], each),
        ]
    )


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
    return _table(["dataset", "task", "pairs", "licence", "origin"], rows)


def _settings(run) -> str:
    if run is None:
        return "Unknown."
    training, variant, env = run.config["training"], run.config["variant"], run.env
    rows = [[key, str(training[key])] for key in ("steps", "batch_size", "learning_rate", "weight_decay", "precision")]
    rows += [[key, str(variant[key])] for key in ("batching", "temperature", "blocks")]
    if variant.get("experts"):
        rows += [["experts", ", ".join(f"{route} → {expert}" for route, expert in variant["experts"].items())]]
    rows += [["tasks", ", ".join(variant["tasks"])], ["commit", env["commit"] + _changed(env)]]
    rows += [["data sha256", run.config["data_sha256"]], ["lock sha256", str(env["requirements_lock_sha256"])]]
    rows += [[package, number] for package, number in env["versions"].items()]
    rows += [["hardware", ", ".join(env["gpus"]) or f"{env['processor']}, {env['cores']} cores"]]
    return _table(["setting", "value"], rows)


def _changed(env: dict[str, Any]) -> str:
    return " and uncommitted changes" if env["uncommitted_changes"] else ""


def _limits(run, tokens: int, route: str | None, average: bool) -> str:
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
        if lacking := sorted(set(TEXT_TASKS) - set(run.config["variant"]["tasks"])):
            limits.append(f"Not trained on: {', '.join(lacking)}.")
        limits.append("A licence in the table covers that data set; whoever publishes the model checks them all.")
    if route is not None and route.startswith("search_"):
        limits.append("Queries and documents take two exports, one per route; embeddings of both are comparable.")
    if average:
        limits.append("Averaging is not what was trained.")
    return "\n".join(f"- {limit}" for limit in limits)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in lines
    )
