"""Every example in a docstring gives what it says, and there are examples."""

import doctest
import importlib
import pkgutil

import tsembed


def test_examples_in_docstrings():
    attempted = 0
    for module in pkgutil.walk_packages(tsembed.__path__, "tsembed."):
        result = doctest.testmod(importlib.import_module(module.name))
        assert result.failed == 0, module.name
        attempted += result.attempted
    assert attempted >= 15
