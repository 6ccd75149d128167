"""Where advised runs rest: the floor is that of the end of the way, whatever curvature was before."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theory_lab as tl
from theory_lab.advise import advise, seeing

KEY = jax.random.key(0)
SIZES = {"x": 4, "y": 2}


def robust():
    """log cosh of residuals: flat where it starts, most curved where it ends."""
    rows = np.random.default_rng(0).standard_normal((12, 6))
    loss = lambda z, row: jnp.log(jnp.cosh(row[:4] @ z["x"] + row[4:] @ z["y"] - 2))
    return tl.finite_sum(loss, jnp.asarray(rows), {"x": jnp.zeros(4), "y": jnp.zeros(2)})


def test_the_advised_run_rests_below_the_accuracy():
    """By the Hessian averaged over the way it did not: 1.03 of the accuracy squared, interval 0.93 to 1.13."""
    problem = robust()
    norm = float(jnp.sqrt(sum(jnp.sum(v**2) for v in problem.gradient(problem.init(KEY)).values())))
    advice = advise(problem, key=jax.random.key(1), accuracy=0.2 * norm)
    epochs = int(2 * advice.steps / problem.n)
    trace = tl.sweep(
        problem,
        advice.oracle(),
        tl.hybrid_sgd,
        step_sizes={b: jnp.array([eta]) for b, eta in advice.step_sizes.items()},
        epochs=epochs,
        log_epochs=np.linspace(0.7 * epochs, epochs, 6).astype(int).tolist(),
        keys=jax.random.split(jax.random.key(7), 192),
        params=problem.init(KEY),
    )
    seeds = sum(np.asarray(v[0]) for v in trace.gradient_norm_sq.values()).mean(axis=1)
    assert tl.measure.mean("||grad f||^2 / accuracy^2", seeds / advice.accuracy**2).high < 1
    told = {reason.quantity: reason.why for reason in advice.reasons}
    assert "and for what noise makes the Hessian there, where its floor is the larger" in told["steps"]


def test_an_end_that_is_less_curved_changes_nothing(monkeypatch):
    """Of cosh: its floor is the smaller one, so that of the way stands."""
    problem = tl.separable(SIZES, tl.cosh(), n=4, dispersion=1.0)
    one = advise(problem, key=KEY)
    monkeypatch.setattr(seeing, "_resting", lambda views, rounding: None)
    assert advise(problem, key=KEY).step_sizes == one.step_sizes


def test_curvature_of_a_quadratic_is_one():
    assert "what noise makes" not in str(advise(tl.block_quadratic(SIZES, n=4, dispersion=1.0), key=KEY))


@pytest.mark.parametrize("accuracy", [1e-12, 1e12])
def test_extreme_accuracies_are_borne(accuracy):
    problem = robust()
    assert advise(problem, key=KEY, accuracy=accuracy).steps >= 0
