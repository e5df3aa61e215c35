"""Names that every doctest may use without importing them."""

import numpy as np
import pytest

import tradeoff.perturbations


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace):
    doctest_namespace["np"] = np
    doctest_namespace.update({name: getattr(tradeoff.perturbations, name) for name in tradeoff.perturbations.__all__})
