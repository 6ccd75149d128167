"""What advice makes of a sample of the components."""

import itertools
import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory_lab.advise import advise, seeing
from theory_lab.advise.limits import longer
from theory_lab.advise.looking import Settings, centred
from theory_lab.advise.spectra import BlockSpectrum, SpectralView
from theory_lab.measure import Measurement
from theory_lab.measure.smoothness import lookahead
from theory_lab.theory.local import local


@pytest.mark.parametrize("m", [2, 3, 5])
def test_the_variance_of_a_sample_is_that_of_all_on_average(m):
    """Over every sample of m of n without replacement: an identity, of gradients and of Hessians."""
    n = 5
    rng = np.random.default_rng(m)
    for shape in ((3,), (2, 2)):
        parts = rng.standard_normal((n, *shape)) + 10.0
        expected = np.mean((parts - parts.mean(axis=0)) ** 2, axis=0)
        every = [np.mean(centred(parts[list(chosen)], n) ** 2, axis=0) for chosen in itertools.combinations(range(n), m)]
        np.testing.assert_allclose(np.mean(every, axis=0), expected, rtol=1e-10)


def test_one_component_has_no_variance():
    assert centred(np.ones((1, 3)), 1).tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize("low, expected", [(-1e-9, 0.0), (0.5e-9, 1e-9)])
def test_a_curvature_that_may_be_rounding_counts_as_none(low, expected):
    nothing = (np.zeros(0), np.zeros(0))
    top = Measurement("highest eigenvalue", 1e-9, low, 3e-9, 1)
    block = BlockSpectrum(top, top, nothing, nothing, nothing, 0.0, 0.0, 1)
    settings = Settings(("x",), (300,), ("x",), 1, "gaussian", "with_replacement", 1, 1)
    assert SpectralView("the start", {"x": np.zeros(300)}, settings, {"x": block}, 0.0).top("x") == expected


@pytest.mark.parametrize("points", [0, 1])
def test_a_look_ahead_point_that_is_not_finite_is_not_taken_for_one_that_is(points):
    """A power of 3/2 has a second derivative where training stands, and none where it is least."""
    loss = lambda z, e: jnp.sum(jnp.abs(z["x"] - e) ** 1.5) + z["y"] ** 2
    start = {"x": jnp.array([1.0, 2.0]), "y": jnp.array(0.0)}
    further = [{"x": jnp.array([1.5, 1.5]), "y": jnp.array(0.0)}] * points
    ahead = lookahead.Ahead({"x": jnp.zeros(2), "y": jnp.array(0.0)}, 0.0, 0.0, True, 1, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seeing, "_ahead", lambda *_: ahead)
        advice = advise(loss, key=jax.random.key(0), data=jnp.zeros((2, 2)), params=start, points=further)
    (steps,) = [reason for reason in advice.reasons if reason.quantity == "steps"]
    assert "a local model of the start" in steps.why
    assert "at the look-ahead point something is not finite" in steps.why
    assert "look-ahead" not in "".join(reason.why for reason in advice.reasons if reason.quantity.startswith("limit"))
    assert math.isfinite(advice.limits["x"].value)


def test_a_look_ahead_that_moves_tells_of_its_steps():
    """From the minimum there is none to take; nor is there one where the first step leads to what is not finite."""
    bowl = lambda z: jnp.sum(jnp.cosh(z["x"]))
    assert lookahead.look_ahead(bowl, {"x": jnp.ones(3)}, accuracy=1e-6).steps > 1
    assert lookahead.look_ahead(bowl, {"x": jnp.zeros(3)}, accuracy=1e-6).steps == 0
    cliff = lambda z: jnp.sum(jnp.where(z["x"] == 1, z["x"] ** 2, jnp.nan))
    lost = lookahead.look_ahead(cliff, {"x": jnp.ones(3)}, accuracy=1e-6)
    assert lost.steps == 0
    assert lost.params["x"].tolist() == [1.0, 1.0, 1.0]


def test_a_block_of_which_no_mode_moves_has_no_limit_to_lose_later():
    model = local(np.diag([1.0, 0.0]), [1, 1], [True, False], horizon=100)
    settings = Settings(("x", "y"), (1, 1), ("x",), 1, "gaussian", "with_replacement", 1, 1, horizon=100.0)
    found = longer(SimpleNamespace(settings=settings, limiting=(model,)), [1e-9, 1e-9], ["x", "y"])
    assert list(found) == ["x"]
    assert 0.5 < found["x"] <= 1
