"""Tasks, task types and routes as figures and tables name them."""

WORDS = {
    "image_classification": "classification",
    "image_retrieval": "retrieval",
    "visual_question_answering": "question answering",
    "visual_grounding": "grounding",
    "search_query": "query",
    "search_document": "document",
    "ImageClassification": "classification",
    "ImageRetrieval": "retrieval",
    "VisualQuestionAnswering": "question answering",
    "VisualGrounding": "grounding",
    "Retrieval": "retrieval",
    "Classification": "classification",
    "Clustering": "clustering",
    "Reranking": "re-ranking",
    "PairClassification": "pair classification",
    "Summarization": "summarization",
    "mean of datasets": "mean of all datasets",
    "seen types": "all seen types",
    "unseen types": "all unseen types",
    "seen": "all seen datasets",
    "unseen": "all unseen datasets",
    "all sets": "all datasets",
}


def words(name: str) -> str:
    """A task, a type, or a pair of them ("a–b"), in words.

    >>> words("classification–search_query"), words("PairClassification"), words("STS")
    ('classification – query', 'pair classification', 'STS')
    """
    return " – ".join(WORDS.get(part, part) for part in name.split("–"))


def mid_sentence(label: str) -> str:
    """A label or sentence as it stands inside another one: its first word in small letters, unless it is a name.

    >>> [mid_sentence(text) for text in ("Matched-parameter LoRA", "MoTE gains", "A router learns", "EANS helps")]
    ['matched-parameter LoRA', 'MoTE gains', 'a router learns', 'EANS helps']
    """
    first = label.split()[0]
    return label[0].lower() + label[1:] if first[1:] == first[1:].lower() else label


def number(value: float, digits: int = 1) -> str:
    """A number with a minus of its own and no minus before zero.

    >>> number(-1.26), number(-0.04), number(0.125, 2)
    ('−1.3', '0.0', '0.12')
    """
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if not float(text) else text.replace("-", "−")
