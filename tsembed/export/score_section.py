"""The scores in a model card, as tables: those of the exported model alone, or beside the trained one."""

from typing import Any

from ..tasks import TASK_OF_IMAGE_TYPE, TASKS
from .run import Run, task_of_type


def score_section(run: Run | None, route: str | None, average: bool, measured: list[dict[str, Any]] | None) -> str:
    """The card's section on scores, in Markdown; a sentence that says why where there are none.

    Args:
        run: What the run's folder says, or None.
        route: The route whose dense model was exported, if it was one; only task types that use it are shown.
        average: Whether the dense model of the averaged experts was exported.
        measured: Scores of the exported model, where it was evaluated; the run's stand beside them.
    """
    if run is None:
        return "Exported from a model folder, not from a run: no measured scores."
    if average and measured is None:
        return (
            "The averaged model was not evaluated. The scores of the run are those of its experts, so none are given."
        )
    if measured is not None:
        return _loss(run.scores, measured)
    tasks = task_of_type(run) | TASK_OF_IMAGE_TYPE
    rows = scores_of_export(run, route, average, measured)
    about = "MTEB tasks, 0 to 100, one run."
    if run.scores and run.scores[0]["task_type"] in TASK_OF_IMAGE_TYPE:
        about = "Ranking of each query's candidates, 0 to 100, one run."
    if route is not None:
        about += f" Task types that use the route `{route}`."
        if route.startswith("search_"):
            other_route = "search_document" if route == "search_query" else "search_query"
            about += f" The other side of the pairs was embedded under `{other_route}`."
    if not rows:
        return f"The run has no scores for {route or 'any task'}."
    order = [*tasks, *(row["task_type"] for row in rows)]  # a type that MTEB does not have comes last
    types = sorted({row["task_type"] for row in rows}, key=order.index)
    means = [[t, str(len(own := _of_type(rows, t))), f"{_mean(own):.1f}"] for t in types]
    before = {(r["task_type"], r["dataset"]): f"{r['score']:.1f}" for r in run.untrained}
    head = ["task type", "dataset", "metric", "score", *(["untrained"] if before else [])]
    each = [[r["task_type"], r["dataset"], r["metric"], f"{r['score']:.1f}"] for r in rows]
    if before:
        each = [[*line, before.get((line[0], line[1]), "")] for line in each]
    return "\n\n".join(
        [
            about,
            markdown_table(["task type", "datasets", "mean score"], means),
            markdown_table(head, each),
        ]
    )


def scores_of_export(
    run: Run | None, route: str | None, average: bool, measured: list[dict[str, Any]] | None
) -> list[dict[str, Any]]:
    """The scores that are the exported model's own: none of an average that was not evaluated."""
    if measured is not None:
        return measured
    if run is None or average:
        return []
    if route is None:
        return run.scores
    tasks = task_of_type(run) | TASK_OF_IMAGE_TYPE
    of_route = {t for t, task in tasks.items() if route in (TASKS[task].query_route, TASKS[task].document_route)}
    return [row for row in run.scores if row["task_type"] in of_route]


def _loss(of_run: list[dict[str, Any]], measured: list[dict[str, Any]]) -> str:
    """What the exported model scores beside the trained one."""
    names = ["all", *dict.fromkeys(row["task_type"] for row in measured)]
    rows = []
    for name in names:
        before, after = (scores if name == "all" else _of_type(scores, name) for scores in (of_run, measured))
        loss = _mean(after) - _mean(before)
        rows.append([name, str(len(after)), f"{_mean(after):.1f}", f"{_mean(before):.1f}", f"{loss:+.1f}"])
    each = [[r["task_type"], r["dataset"], r["metric"], f"{r['score']:.1f}"] for r in measured]
    return "\n\n".join(
        [
            "Measured on the exported model, 0 to 100, one run; beside it the trained model, which routes every input.",
            markdown_table(["task type", "datasets", "exported", "trained", "difference"], rows),
            markdown_table(["task type", "dataset", "metric", "score"], each),
        ]
    )


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown, with bars in a cell escaped and its line breaks as blanks."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in lines
    )


def _of_type(rows: list[dict[str, Any]], task_type: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["task_type"] == task_type]


def _mean(rows: list[dict[str, Any]]) -> float:
    return sum(row["score"] for row in rows) / len(rows)
