"""The arrows between the parts run one way (docs/extending.md); imports inside functions count too.

- Nothing in tsembed imports study, tests or notebooks.
- Within tsembed a part imports those of lower layers, and the parts form no circle; neither do the modules.
- Within study: nothing imports report but report and cli; analysis never loads torch or tsembed's models; suites are
  imported by nothing but the table of origins.
- A module defines no name twice: the second value would silently replace the first.
"""

import ast
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LAYERS = (
    ("tasks", "inputs", "files", "strict", "texts", "hub"),
    ("settings",),
    ("data",),
    ("mote", "moe_lora", "contrastive"),
    ("encoder",),
    ("training", "evaluation", "export"),
    ("fitting",),
)


def imports(house: str, *, functions: bool = True) -> dict[str, set[str]]:
    """Module -> modules of both houses that it imports, those inside functions too if asked for."""
    files = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in (ROOT / house).rglob("*.py")}
    found = {}
    for module, path in files.items():
        tree = ast.parse(path.read_text())
        nodes = ast.walk(tree) if functions else tree.body
        package = module.split(".")[:-1]
        targets = set()
        for node in nodes:
            if isinstance(node, ast.ImportFrom):
                base = package[: len(package) - node.level + 1] if node.level else []
                start = ".".join([*base, *([node.module] if node.module else [])])
                for alias in node.names:
                    inner = f"{start}.{alias.name}"
                    targets.add(inner if (ROOT / (inner.replace(".", "/") + ".py")).is_file() else start)
            elif isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
        found[module] = targets - {module}
    assert len(found) > 30
    return found


def part_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_the_library_does_not_know_the_study():
    wrong = {
        m: t for m, targets in imports("tsembed").items() for t in targets if t.split(".")[0] in ("study", "tests")
    }
    assert not wrong


def test_within_the_library_arrows_run_downwards():
    layer = {part: number for number, parts in enumerate(LAYERS) for part in parts}
    wrong = []
    for module, targets in imports("tsembed").items():
        for target in targets:
            if target.startswith("tsembed.") and part_of(module) in layer and part_of(target) != part_of(module):
                if layer[part_of(target)] > layer[part_of(module)]:
                    wrong.append(f"{module} imports {target}")
    assert not wrong


def test_no_circles():
    for house in ("tsembed", "study"):
        graph = {
            m: {t for t in targets if t.startswith(house)} for m, targets in imports(house, functions=False).items()
        }
        TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_within_the_study_nothing_imports_the_report_and_analysis_needs_no_torch():
    wrong = []
    for module, targets in imports("study").items():
        for target in targets:
            if part_of(target) == "report" and part_of(module) not in ("report", "cli", "__main__"):
                wrong.append(f"{module} imports {target}")
            if part_of(target) == "suites" and part_of(module) != "suites":
                wrong.append(f"{module} imports {target}")
            heavy = target.split(".")[0] == "torch" or target.startswith(
                ("tsembed.encoder", "tsembed.training", "tsembed.mote")
            )
            if part_of(module) == "analysis" and (
                heavy or part_of(target) in ("runs", "probes", "evaluation") and target.startswith("study")
            ):
                wrong.append(f"{module} imports {target}")
    assert not wrong


def test_no_module_defines_a_name_twice():
    wrong = {}
    for path in [*(ROOT / "tsembed").rglob("*.py"), *(ROOT / "study").rglob("*.py")]:
        names: Counter[str] = Counter()
        for node in ast.parse(path.read_text()).body:
            targets = node.targets if isinstance(node, ast.Assign) else [node]
            for target in (name for one in targets for name in getattr(one, "elts", [one])):
                name = getattr(target, "name", None) or getattr(target, "id", None)
                names.update([name] if name else [])
        if twice := [name for name, count in names.items() if count > 1]:
            wrong[path.name] = twice
    assert not wrong
