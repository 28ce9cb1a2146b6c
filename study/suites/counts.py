"""What a suite's datasets have: the texts of a row, and a table of counts for the documentation."""

import sys
from collections.abc import Callable, Iterable, Iterator

from tsembed.data.schema import DatasetSpec


def texts(row: dict) -> Iterator[str]:
    """The texts of a row of any format."""
    for column, value in row.items():
        if isinstance(value, list):
            yield from (item for item in value if isinstance(item, str))
        elif isinstance(value, str) and column not in ("label", "id", "query_id", "doc_id"):
            yield value


def counts(specs: Iterable[DatasetSpec]) -> Iterator[str]:
    """A Markdown table: rows, labels and mean words per text of every dataset."""
    yield "| part | dataset | format | rows | labels | words per text |"
    yield "|---|---|---|---|---|---|"
    for spec in specs:
        if spec.part == "unused":
            yield f"| unused | {spec.name} | {spec.format} | {spec.notes['reason']} | | |"
            continue
        tables = {name: list(rows) for name, rows in spec.tables.items()}
        rows = ", ".join(f"{len(table):,} {name}" for name, table in tables.items() if name != "qrels")
        labels = {row["label"] for table in tables.values() for row in table if "label" in row}
        lengths = [len(text.split()) for table in tables.values() for row in table for text in texts(row)]
        mean = sum(lengths) / max(1, len(lengths))
        yield f"| {spec.part} | {spec.name} | {spec.format} | {rows} | {len(labels) or ''} | {mean:.1f} |"


def print_counts(
    arguments: list[str],
    module: str,
    specs_of: Callable[[int], Iterable[DatasetSpec]],
    table: Callable[[Iterable[DatasetSpec]], Iterator[str]] = counts,
) -> None:
    """Print the table of a suite's datasets for the documentation.

    Args:
        arguments: `--counts`, and how many evaluation rows a dataset may have (400 by default).
        module: Name of the suite's module, for the message.
        specs_of: Evaluation rows -> datasets.
        table: Datasets -> the table's lines.

    Raises:
        SystemExit: For other arguments, or with the reason why the datasets cannot be made.
    """
    if not arguments or arguments[0] != "--counts" or len(arguments) > 2:
        raise SystemExit(f"usage: python -m {module} --counts [EVAL_ROWS]")
    try:
        print("\n".join(table(specs_of(int(arguments[1]) if len(arguments) == 2 else 400))))
    except ValueError as error:
        sys.exit(f"error: {error}")
