"""Invariants of the mutants (`python -m tests.mutation` kills them; this only keeps them in step with the code).

- The old text of each stands exactly once in its file, and the new one is another that still compiles.
- The tests that should kill it exist.
- The committed table has them all, killed.
"""

import ast
from collections import Counter
from functools import cache

import pytest

from tests.mutation import __main__ as mutation

MUTANTS = mutation.read()


@cache
def defined_in(path):
    """Names of the tests of a file."""
    tree = ast.parse((mutation.ROOT / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_fits_the_code_and_its_tests_exist(mutant):
    text = (mutation.ROOT / mutant.file).read_text()
    assert text.count(mutant.old) == 1
    assert mutant.new != mutant.old
    compile(text.replace(mutant.old, mutant.new), mutant.file, "exec")
    assert mutant.tests
    for path, _, name in (test.partition("::") for test in mutant.tests):
        assert defined_in(path)
        assert not name or name in defined_in(path)


def test_there_are_many_and_each_is_another():
    assert len(MUTANTS) >= 60
    for key in (lambda mutant: mutant.name, lambda mutant: (mutant.file, mutant.old, mutant.new)):
        assert max(Counter(map(key, MUTANTS)).values()) == 1


def test_the_committed_table_has_them_all_killed():
    rows = [line.split(" | ") for line in mutation.RESULTS.read_text().splitlines() if line.startswith("| ")][1:]
    assert [row[0].removeprefix("| ") for row in rows] == [mutant.name for mutant in MUTANTS]
    assert [row[0] for row in rows if not row[2].startswith("`")] == []
