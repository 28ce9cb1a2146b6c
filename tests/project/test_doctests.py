"""Every example in a docstring gives what it says, and there are examples."""

import doctest
import importlib
import pkgutil

import study
import tsembed


def test_examples_in_docstrings():
    attempted = 0
    modules = [m for house in (tsembed, study) for m in pkgutil.walk_packages(house.__path__, f"{house.__name__}.")]
    for module in modules:
        if module.name.endswith("__main__"):
            continue
        result = doctest.testmod(importlib.import_module(module.name))
        assert result.failed == 0, module.name
        attempted += result.attempted
    assert attempted >= 15
