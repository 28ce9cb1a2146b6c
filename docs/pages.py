"""Hook of mkdocs: a page per module of tsembed, made from its docstrings when the site is built."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PACKAGE = Path(__file__).resolve().parent.parent / "tsembed"


def modules() -> dict[str, str]:
    """Page -> module, for every public module that says anything."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if path.read_text().strip():
            names[f"reference/{module}.md"] = module
    return names


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The pages in the navigation, one section per part of the package."""
    sections: dict[str, list[dict[str, str]]] = {}
    for page, module in modules().items():
        words = module.split(".")
        is_part = len(words) > 1 and (PACKAGE / words[1]).is_dir()
        sections.setdefault(words[1] if is_part else "tsembed", []).append({module: page})
    config.nav = [*config.nav, {"Reference": [{part: pages} for part, pages in sections.items()]}]
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """The pages themselves."""
    for page, module in modules().items():
        files.append(File.generated(config, page, content=f"# {module}\n\n::: {module}\n"))
    return files
