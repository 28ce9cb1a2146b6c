"""What the 29 training sources share with the test sets of MTEB(eng, v1), and the texts of those sets.

`SHARED` lists the sets that come from the same place as a source: whether a text of theirs is in it only the texts say.
The paper does not take such pairs out, so neither does `paper`. `source: hub_filtered_disjoint` in place of
`hub_filtered` leaves out each pair with a text that a test set has too, but for case, white space and invisible
characters (`texts.same_key`). Queries count, and the texts of all sets that are no retrieval; the documents of a corpus
do not, since a source about Wikipedia shares articles with it by design.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from tsembed.files import write_text
from tsembed.hub import explained
from tsembed.texts import is_blank, same_key

BENCHMARK = "MTEB(eng, v1)"  # MoTE, Table 1
FILE = "test_texts.txt"  # in a folder of prepared data: the keys, one a line

_STACK_EXCHANGE = (
    *("StackExchangeClustering", "StackExchangeClusteringP2P", "CQADupstackRetrieval"),
    *("AskUbuntuDupQuestions", "StackOverflowDupQuestions"),
)
_PAPERS = ("SCIDOCS", "SciDocsRR", "SciFact", "TRECCOVID", "NFCorpus")
_PREPRINTS = tuple(f"{server}Clustering{kind}" for server in ("Arxiv", "Biorxiv", "Medrxiv") for kind in ("P2P", "S2S"))
_WIKIPEDIA = ("NQ", "HotpotQA", "FEVER", "ClimateFEVER", "DBPedia")
_REDDIT = ("RedditClustering", "RedditClusteringP2P")
_AMAZON = ("AmazonPolarityClassification", "AmazonReviewsClassification", "AmazonCounterfactualClassification")
# Training source -> the sets of MTEB(eng, v1) whose texts come from the same place.
SHARED: dict[str, tuple[str, ...]] = {
    "reddit_title_body": _REDDIT,
    "eli5": _REDDIT,
    "s2orc_title_abstract": (*_PAPERS, *_PREPRINTS),
    "s2orc_citation_titles": (*_PAPERS, *_PREPRINTS),
    "s2orc_abstract_citation": (*_PAPERS, *_PREPRINTS),
    "s2orc_abstract_body": (*_PAPERS, *_PREPRINTS),
    "stackexchange_duplicate_questions": _STACK_EXCHANGE,
    "stackexchange_title_body": _STACK_EXCHANGE,
    "stackexchange_body_body": _STACK_EXCHANGE,
    "amazon_reviews": _AMAZON,
    "amazonqa": _AMAZON,
    "quora": ("QuoraRetrieval",),
    "wikipedia": _WIKIPEDIA,
    "simplewiki": _WIKIPEDIA,
    "altlex": _WIKIPEDIA,
    "squad": _WIKIPEDIA,
    "paq": _WIKIPEDIA,
    "cnn": ("SummEval",),
}
_TEXTS = ("text", "sentence1", "sentence2", "sentences", "sent1", "sent2", "human_summaries", "machine_summaries")


def write_keys(folder: Path) -> Path:
    """The file with the keys of the benchmark's test texts, made if it is not there.

    Args:
        folder: Of prepared data.

    Raises:
        HubError: If the hub does not give a set.
    """
    path = folder / FILE
    if not path.is_file():
        import mteb

        keys = {same_key(text) for text in texts_of(mteb.get_benchmark(BENCHMARK).tasks) if not is_blank(text)}
        write_text(path, "".join(f"{key}\n" for key in sorted(keys)))
    return path


def read_keys(path: Path) -> frozenset[str]:
    """The keys that `write_keys` has written.

    Args:
        path: Its file.
    """
    return frozenset(path.read_text(encoding="utf-8").split("\n")) - {""}


def texts_of(tasks: Iterable) -> Iterator[str]:
    """The queries of the retrieval and reranking tasks, and all texts that the others score.

    Args:
        tasks: Of MTEB; each is loaded, read and unloaded.

    Raises:
        HubError: If the hub does not give a set.
    """
    for task in tasks:
        about = task.metadata.dataset
        with explained(about["path"], about["revision"], None):
            task.load_data()
        for part in _parts(task.dataset):
            if hasattr(part, "get") and part.get("queries") is not None:
                yield from part["queries"]["text"]
            elif hasattr(part, "column_names"):
                for name in set(_TEXTS) & set(part.column_names):
                    yield from _flat(part[name])
        task.unload_data()


def _parts(dataset) -> Iterator:
    """The test parts of a loaded dataset, whether or not it has subsets."""
    for name, part in dataset.items():
        if name in ("train", "validation"):
            continue
        if hasattr(part, "column_names") and not hasattr(part, "items") or "queries" in part:
            yield part
        else:
            yield from _parts(part)


def _flat(values) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        else:
            yield from _flat(value)
