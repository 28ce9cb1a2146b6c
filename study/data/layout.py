"""The tables of docs/data_layout.md, made of the row classes: `python -m study.data.layout` writes them into the page.

A table stands between `<!-- NAME -->` and `<!-- end -->`.
"""

import re
from collections.abc import Iterator

from tsembed.data.folder.images import ImageRow
from tsembed.data.folder.text import USED, TitledDocument
from tsembed.data.schema import FORMATS, Document, Row, kinds, needed
from tsembed.files import write_text

from .. import paths

PAGE = paths.ROOT / "docs" / "data_layout.md"
BECOMES = {
    "pairs": "a training task: *retrieval*, or the one that the set names",
    "classification": "training task *classification*; MTEB Classification (accuracy)",
    "clustering": "training task *clustering*; MTEB Clustering (v-measure)",
    "retrieval": "MTEB Retrieval (ndcg@10); all three files are needed",
    "reranking": "MTEB Reranking (map)",
    "pair_classification": "MTEB PairClassification (max ap)",
    "sts": "MTEB STS (Spearman of cosine)",
    "summarization": "MTEB Summarization (Spearman of cosine)",
    "wikipedia": "the articles of the similarity analysis",
}


def formats() -> Iterator[str]:
    """The lines of the table of formats: files, columns, and what a set becomes."""
    yield "| format | files | columns | becomes |"
    yield "|---|---|---|---|"
    for name, used in USED.items():
        if name == "retrieval":
            stems = {(stem,): FORMATS[name][stem] for stem in used}
        else:
            stems = {tuple(used): FORMATS[name]["rows"]}
        for number, (files, row_class) in enumerate(stems.items()):
            about = ("", "") if number else (f"`{name}`", BECOMES[name])
            listed = ", ".join(f"`{file}`" for file in files)
            yield f"| {about[0]} | {listed} | {_columns(row_class)} | {about[1]} |"
    yield '| `images` | `train`, `test`, `images.zip` | see "Images" | not read by this source; see `local_images` |'


def images() -> Iterator[str]:
    """The lines of the table of columns of an image set; every other one may be missing."""
    yield "| column | content |"
    yield "|---|---|"
    about = {
        "image": "name of the image in `images.zip`; needed",
        "text": "its name, or a sentence about it",
        "label": "its kind; or 0 or 1 in all rows: whether `text` is true of it",
        "keywords": "what it shows",
    }
    for name, kind in kinds(ImageRow).items():
        yield f"| `{name}` | {kind.rule}: {about[name]} |"
    yield "| `image_<view>` | text: name of an image of the same thing in another view |"


def _columns(row_class: type[Row]) -> str:
    always = needed(row_class)
    columns = []
    for name, kind in kinds(row_class).items():
        about = [kind.rule] if kind.rule != "text" else []
        about += [] if name in always else ["optional"]
        columns.append(f"`{name}`" + (f" ({', '.join(about)})" if about else ""))
    if issubclass(TitledDocument, row_class) and row_class is Document:
        columns.append("`title` (optional)")
    return ", ".join(columns)


TABLES = {"formats": formats, "images": images}


def current(page: str) -> str:
    """The page with the tables of the row classes as they are now."""
    for name, lines in TABLES.items():
        table = "\n".join(lines())
        pattern = rf"(<!-- {name} -->\n\n).*?(\n\n<!-- end -->)"
        page, count = re.subn(pattern, lambda match, table=table: match[1] + table + match[2], page, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"{PAGE.name} has {count} tables between <!-- {name} --> and <!-- end -->; it needs one")
    return page


if __name__ == "__main__":
    write_text(PAGE, current(PAGE.read_text(encoding="utf-8")))
