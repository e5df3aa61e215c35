"""What every test meets: one thread, and for doctests the names that they may use without importing them."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and NumPy: tests are small, and run side by side

from importlib import import_module

import hypothesis
import numpy as np
import pytest

collect_ignore = ["tradeoff/evaluate.py"]  # a command that stands aside for the function of its name

# The same examples every time: a failure must be everyone's.
hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None)
hypothesis.settings.load_profile("fixed")


@pytest.fixture(autouse=True)
def _doctest_names(request, doctest_namespace):
    if request.node.__class__.__name__ != "DoctestItem":
        return
    doctest_namespace["np"] = np
    modules = ["tradeoff.perturbations"]
    if not request.node.name.startswith(("tradeoff.perturbations", "tradeoff.theory")):
        modules.append("tradeoff.attacks")
        doctest_namespace["torch"] = import_module("torch")  # theory and its doctests do without
    for module in map(import_module, modules):
        doctest_namespace.update({name: getattr(module, name) for name in module.__all__})
