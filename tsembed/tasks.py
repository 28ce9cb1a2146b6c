"""What a task is: its routes, instructions, temperature and batching, and which type of evaluation goes to which route.

A *task* is what a training batch has (classification, clustering, retrieval). A *route* is what one sequence has:
retrieval has two, one for queries and one for documents. A route names an instruction and, in MoTE, an expert. MoTE's
tasks are of text; the tasks of images are MMEB's four meta-tasks, with one route each and instructions in the queries.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

ROUTES = ("classification", "clustering", "search_query", "search_document")  # of text
OTHER_SETS = "other sets"  # the route of what no expert was trained on, where experts are routed by set
IMAGE_ROUTES = ("image_classification", "image_retrieval", "visual_question_answering", "visual_grounding")

# The base model's own spelling (contrastors); the paper prints spaces: "search query: " (MoTE §4).
INSTRUCTIONS: dict[str, str] = {route: f"{route}: " for route in ROUTES}


class Task(NamedTuple):
    """One training task with its Task-Aware Contrastive Learning settings (MoTE App. D.2)."""

    name: str
    query_route: str
    document_route: str
    temperature: float  # of InfoNCE, in units of cosine similarity
    batching: Literal["homogeneous", "heterogeneous"]  # one dataset per batch | mixed over the task's datasets


TASKS: dict[str, Task] = {
    "classification": Task("classification", "classification", "classification", 0.03, "heterogeneous"),
    "clustering": Task("clustering", "clustering", "clustering", 0.06, "heterogeneous"),
    "retrieval": Task("retrieval", "search_query", "search_document", 0.03, "homogeneous"),
    # MMEB's meta-tasks; VLM2Vec's temperature (https://arxiv.org/abs/2410.05160). Retrieval has one dataset per batch,
    # for a picture may answer what another set asks.
    **{
        route: Task(route, route, route, 0.02, "homogeneous" if route == "image_retrieval" else "heterogeneous")
        for route in IMAGE_ROUTES
    },
    # Pictures and captions, to pre-train a small backbone on before TSEmbed's two stages: trained alone, never scored.
    "captioning": Task("captioning", "image_retrieval", "image_retrieval", 0.05, "heterogeneous"),
}
TEXT_TASKS = ("classification", "clustering", "retrieval")
IMAGE_TASKS = IMAGE_ROUTES
CAPTIONING = "captioning"

# MTEB task type -> the training task whose routes it takes (MoTE §5.3). The first three are seen in training.
TASK_OF_TYPE: dict[str, str] = {
    "Retrieval": "retrieval",
    "Classification": "classification",
    "Clustering": "clustering",
    "Reranking": "retrieval",
    "PairClassification": "classification",
    "STS": "classification",
    "Summarization": "classification",
}
SEEN_TYPES = ("Retrieval", "Classification", "Clustering")
ONE_SIDED = ("Classification", "Clustering", "PairClassification", "STS", "Summarization")  # no queries, no documents
UNSEEN_TYPES = ("Reranking", "PairClassification", "STS", "Summarization")

# Meta-task of an image set (MMEB, https://arxiv.org/abs/2410.05160, Table 1) -> its task.
TASK_OF_IMAGE_TYPE: dict[str, str] = {
    "ImageClassification": "image_classification",
    "VisualQuestionAnswering": "visual_question_answering",
    "ImageRetrieval": "image_retrieval",
    "VisualGrounding": "visual_grounding",
}


def route_of_set(routes: Sequence[str], name: str, route: str) -> str:
    """The route of a dataset's sequences: that of their task, or the dataset's own where a model is routed by set.

    Args:
        routes: Those that the model knows.
        name: The dataset's.
        route: Of its task.

    Examples:
        >>> route_of_set(ROUTES, "squad", "search_query"), route_of_set(("squad", OTHER_SETS), "squad", "search_query")
        ('search_query', 'squad')
        >>> route_of_set(("squad", OTHER_SETS), "trec", "search_query")
        'other sets'
    """
    if OTHER_SETS not in routes:
        return route
    return name if name in routes else OTHER_SETS


def route_of(task_type: str, prompt_type: str | None, task_of_type: Mapping[str, str] = TASK_OF_TYPE) -> str:
    """The route of one text of an MTEB task.

    Args:
        task_type: MTEB's `TaskMetadata.type`, a key of `TASK_OF_TYPE`.
        prompt_type: "query", "document" or None, as mteb passes it. A type with one route ignores it.
        task_of_type: Which task serves which type.

    Raises:
        ValueError: If the type is unknown, or a retrieval-like type comes without a prompt type.

    Examples:
        >>> route_of("Reranking", "document"), route_of("STS", None)
        ('search_document', 'classification')
    """
    if task_type not in task_of_type:
        raise ValueError(f"MTEB type {task_type!r} has no route; known types: {', '.join(task_of_type)}")
    task = TASKS[task_of_type[task_type]]
    if task.query_route == task.document_route:
        return task.query_route
    if task_type in ONE_SIDED:  # both texts play the same part
        return task.document_route
    if prompt_type not in ("query", "document"):
        raise ValueError(f"a {task_type} text needs prompt_type 'query' or 'document', not {prompt_type!r}")
    return task.query_route if prompt_type == "query" else task.document_route
