"""Advice where one block loses its mean and another is limited by the noise of its directions."""

import jax
import pytest

from theory_lab.advise import advise
from theory_lab.problems import block_quadratic


def test_a_first_order_block_near_its_limit_takes_no_noise_from_the_other():
    """Uncoupled blocks, a little spread: E|x|^2 shrinks the most at half the limit, by 1/(d + 2) per step."""
    problem = block_quadratic({"x": 50, "y": 8}, n=6, heterogeneity=0.15, components="indefinite")
    advice = advise(problem, key=jax.random.key(0))
    assert advice.step_sizes["x"] / advice.limits["x"].value == pytest.approx(0.5, abs=0.1)
