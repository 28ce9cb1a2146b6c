"""How the code reads, in numbers: names that do not say what the value is, lines with a comment, formatter exceptions.

    python -m tests.readability [FOLDER]

Printed for `tsembed/` and `study/` of a checkout (or, where there is no `study/`, for all of `tsembed/`).
"""

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path

VAGUE = {  # a name made of these words alone says nothing about the value
    *("found", "one", "own", "made", "kept", "said", "chosen", "asked", "wanted", "given", "known", "told", "taken"),
    *("held", "seen", "meant", "every", "other", "others", "both", "all", "thing", "things", "what", "these", "those"),
}


def bound_names(tree: ast.AST) -> list[str]:
    """Every name that is bound: variables, arguments, functions and classes, once per binding."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append(node.id)
        elif isinstance(node, ast.arg):
            names.append(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
    return [name for name in names if name not in ("self", "cls", "_")]


def vague(name: str) -> bool:
    """Whether a name consists of vague words only."""
    words = [word for word in name.lower().split("_") if word]
    return bool(words) and all(word in VAGUE for word in words)


def measure(folder: Path) -> dict[str, object]:
    """Counts over all Python files of a folder."""
    names, comments, code_lines, skips = Counter(), 0, 0, 0
    for path in folder.rglob("*.py"):
        text = path.read_text()
        names.update(bound_names(ast.parse(text)))
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
        comments += sum(token.type == tokenize.COMMENT for token in tokens)
        code_lines += sum(bool(line.strip()) for line in text.splitlines())
        skips += text.count("# fmt: " + "skip")
    offending = Counter({name: count for name, count in names.items() if vague(name)})
    return {
        "names bound": names.total(),
        "vague names": offending.total(),
        "share of vague names": f"{offending.total() / names.total():.1%}",
        "lines with a comment": f"{comments / code_lines:.1%}",
        "fmt exceptions": skips,
        "most frequent": dict(offending.most_common(8)),
    }


def main() -> None:
    """Print the counts of each house."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    for house in ("tsembed", "study"):
        if (root / house).is_dir():
            print(house, measure(root / house))


if __name__ == "__main__":
    main()
