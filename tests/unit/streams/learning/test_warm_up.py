"""What is there after warming up."""

import sys

import pytest

pytest.importorskip("river")

from learner.data import inputs
from learner.signals import kernels
from streams.learning.warm_up import warm_up


def test_the_kernels_of_counting_and_the_detectors_are_loaded() -> None:
    warm_up()
    assert kernels.count_click.signatures
    assert inputs._normalise.signatures
    assert "river.drift" in sys.modules
