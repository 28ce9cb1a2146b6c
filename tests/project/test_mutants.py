"""Invariants of the mutants (`python -m tests.mutation` kills them; this only keeps them in step with the code).

- The old text of each stands exactly once in its file, and the new one makes another file that still compiles.
- The tests that should kill it exist.
- The committed table has them all, killed.
"""

import ast
from collections import Counter

import pytest

from tests.mutation import __main__ as mutation

MUTANTS = mutation.read()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_fits_the_code_and_its_tests_exist(mutant):
    text = (mutation.ROOT / mutant.file).read_text()
    assert text.count(mutant.old) == 1
    changed = text.replace(mutant.old, mutant.new)
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(text))
    assert mutant.tests
    for test in mutant.tests:
        path, _, name = test.partition("::")
        tree = ast.parse((mutation.ROOT / path).read_text())
        assert not name or name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_there_are_many_and_each_is_another():
    assert len(MUTANTS) >= 60
    assert max(Counter(mutant.name for mutant in MUTANTS).values()) == 1
    assert max(Counter((mutant.file, mutant.old, mutant.new) for mutant in MUTANTS).values()) == 1


def test_the_committed_table_has_them_all_killed():
    rows = [line.split(" | ") for line in mutation.RESULTS.read_text().splitlines() if line.startswith("| ")][1:]
    assert {row[0].removeprefix("| ") for row in rows} == {mutant.name for mutant in MUTANTS}
    assert not any("survives" in row[2] for row in rows)
