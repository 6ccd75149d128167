"""The cheapest constants that dominate, against dense optimisation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from theory_lab.measure import smoothness

from .random_problems import cases

KEY = jax.random.key(0)


def cheapest(case, weights, two_sided) -> float:
    """min c(s) sum_b w_b s_b over directions s, by dense eigenvalues and Nelder and Mead from several starts."""
    labels, w = list(case.sizes), np.array(list(weights.values()))

    def cost(t):
        scales = dict(zip(labels, np.exp(np.r_[0.0, t]), strict=True))
        multiple = case.multiple(scales) if two_sided else case.ends(scaling=scales)[1]
        return multiple * float(w @ list(scales.values()))

    own = np.log([max(np.abs(case.ends(label)).max(), 1e-9) for label in labels])
    best = np.inf
    for shift in (-1.0, 0.0, 1.0):
        start = own[1:] - own[0] + shift
        found = optimize.minimize(cost, start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9, "maxiter": 800})
        best = min(best, float(found.fun))
    return best


@pytest.mark.parametrize("two_sided", [True, False])
def test_no_other_scales_are_cheaper_by_more_than_the_tolerance(two_sided):
    """Two and three blocks, both precisions, every kind of spectrum."""
    for seed in (1, 2, 3, 7, 8, 9) if two_sided else (1, 2, 3):
        case = cases()[seed]
        rng = np.random.default_rng(seed)
        weights = {label: float(10 ** rng.uniform(-1, 1)) for label in case.sizes}
        found = smoothness.best_scales(weights=weights, two_sided=two_sided, **case.given)
        truth = cheapest(case, weights, two_sided)
        reach = case.multiple(found.smoothness) if two_sided else case.ends(scaling=found.smoothness)[1]
        assert reach <= 1
        assert found.cost.low <= truth * (1 + 1e-6)
        assert truth * (1 - 1e-4) <= found.cost.value <= found.cost.low * (1 + 0.0101)
        assert found.cost.value == pytest.approx(sum(weights[b] * found.smoothness[b] for b in weights))


def test_more_blocks_take_more_rounds_and_arrive():
    rng = np.random.default_rng(0)
    root = rng.standard_normal((20, 20)) * np.geomspace(1, 30, 20)[:, None]
    matrix, labels = jnp.asarray(root @ root.T), [f"b{i}" for i in range(5)]
    fn = lambda z, a: (flat := jnp.concatenate([z[b] for b in labels])) @ a @ flat / 2
    found = smoothness.best_scales(
        fn, {b: jnp.zeros(4) for b in labels}, dict.fromkeys(labels, 1.0), key=KEY, rounds=200, args=(matrix,)
    )
    assert found.cost.high <= found.cost.low * 1.0101
    scales = np.repeat([found.smoothness[b] for b in labels], 4)
    assert np.linalg.eigvalsh(np.diag(scales) - np.asarray(matrix))[0] >= 0


def test_few_products_certify_as_often_as_they_say():
    """Three products a run; the last one has a start of its own."""
    certified = []
    for seed in range(1, 121, 6):
        case = cases()[seed]
        found = smoothness.best_scales(
            weights=dict.fromkeys(case.sizes, 1.0), iterations=3, rounds=5, probability=0.9, **case.given
        )
        certified.append(case.multiple(found.smoothness) <= 1)
    assert np.mean(certified) >= 0.7  # 20 at 0.9: fewer than 14 once in four hundred


def test_the_cost_of_rounds_that_run_out_is_told():
    case = cases()[2]
    weights = dict.fromkeys(case.sizes, 1.0)
    short = smoothness.best_scales(weights=weights, rounds=1, **case.given)
    long = smoothness.best_scales(weights=weights, **case.given)
    assert short.cost.low < long.cost.low
    assert short.cost.products < long.cost.products
    assert case.multiple(short.smoothness) <= 1


@pytest.mark.parametrize("two_sided", [True, False])
def test_no_curvature_and_none_that_is_finite(two_sided):
    point, weights = {"x": jnp.zeros(3), "y": jnp.zeros(2)}, {"x": 1.0, "y": 2.0}
    flat = smoothness.best_scales(lambda z: jnp.sum(z["x"]), point, weights, key=KEY, two_sided=two_sided)
    assert np.isnan(flat.cost.value)
    assert flat.cost.note.startswith(
        "the Hessian is zero: all" if two_sided else "the Hessian is nowhere curved upwards: all"
    )
    kink = smoothness.best_scales(lambda z: jnp.sum(jnp.abs(z["x"]) ** 1.5), point, weights, key=KEY, two_sided=two_sided)
    assert np.isnan(kink.smoothness["x"])
    assert kink.cost.note == "a Hessian-vector product is not finite"


def test_a_saddle_without_diagonal_blocks():
    """H = [[0, h], [h, 0]] asks for L_x L_y >= h^2: at prices 4 and 1, h/2 and 2 h."""
    fn = lambda z: 3.0 * z["x"][0] * z["y"][0]
    found = smoothness.best_scales(fn, {"x": jnp.ones(1), "y": jnp.ones(1)}, {"x": 4.0, "y": 1.0}, key=KEY, tolerance=1e-4)
    assert found.cost.value == pytest.approx(12.0, rel=2e-4)
    assert found.smoothness["x"] == pytest.approx(1.5, rel=0.03)
