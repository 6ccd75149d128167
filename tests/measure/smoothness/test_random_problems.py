"""Two hundred random problems against dense linear algebra: every stated bound holds, and as often as it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.sparse.linalg import lobpcg_standard
from scipy import stats
from scipy.sparse.linalg import LinearOperator, eigsh

from theory_lab.measure import smoothness
from theory_lab.measure.smoothness import lanczos
from theory_lab.measure.smoothness.curvature import curvature

from .random_problems import COUNT, cases

FEW = {"iterations": 4, "probability": 0.9}


def within(measured, truth) -> bool:
    return measured.low <= truth <= measured.high


def honest(covered, level: float) -> bool:
    """No fewer than independent intervals of that level leave uncovered, at one in a thousand."""
    return sum(covered) >= stats.binom.ppf(1e-3, len(covered), level)


def scales_near_the_frontier(case, seed: int) -> dict[str, float]:
    """Between 0.6 and 1.6 times a point of the frontier, in a random direction."""
    rng = np.random.default_rng(1000 + seed)
    direction = {label: float(10 ** rng.uniform(-1, 1)) for label in case.sizes}
    factor = rng.uniform(0.6, 1.6) * case.multiple(direction)
    return {label: s * factor for label, s in direction.items()}


def width(case, measured) -> float:
    """Of an interval, in units of the precision of the problem's numbers."""
    return (measured.high - measured.low) / float(np.finfo(case.matrix.dtype).eps)


def test_margins_are_those_of_dense_eigenvalues_and_decide():
    """Sixty products in at most sixty dimensions leave rounding alone undecided, in both precisions."""
    answers = []
    for seed, case in enumerate(cases()):
        scales = scales_near_the_frontier(case, seed)
        found = smoothness.margin(smoothness=scales, **case.given)
        low, high = case.ends(scaling=scales)
        assert within(found.above, 1 - high)
        assert within(found.below, 1 + low)
        assert width(case, found.above) < 2000 * max(high, -low)
        assert found.one_sided == ("certified" if high < 1 else "violated")
        assert found.two_sided == ("certified" if max(high, -low) < 1 else "violated")
        answers.append((found.one_sided, found.two_sided))
    assert {("certified", "certified"), ("certified", "violated"), ("violated", "violated")} == set(answers)
    assert len(answers) == COUNT


@pytest.mark.parametrize("keep", [True, False])
def test_intervals_from_few_products_cover_as_often_as_they_say(keep):
    """Four products; with the basis and without. What lies inside never errs; a quarter of the way out errs too often."""
    covered, narrow = [], []
    for case in cases():
        hessian = curvature(case.given["fn"], case.params, args=case.given["args"])
        low, high, _ = lanczos.extremes(hessian, case.given["key"], FEW["iterations"], FEW["probability"], keep=keep)
        lowest, highest = case.ends()
        assert lowest <= low.high
        assert high.low <= highest
        covered.append(within(low, lowest) and within(high, highest))
        quarter = [end.value + (outer - end.value) / 4 for end, outer in ((low, low.low), (high, high.high))]
        narrow.append(quarter[0] <= lowest and highest <= quarter[1])
    assert honest(covered, FEW["probability"])
    assert not honest(narrow, FEW["probability"])


@pytest.mark.parametrize("keep", [True, False])
def test_margins_from_few_products_refute_with_certainty_and_certify_as_often_as_they_say(keep, monkeypatch):
    monkeypatch.setattr(lanczos, "KEPT", lanczos.KEPT if keep else 0)
    answers, right = [], []
    for seed, case in enumerate(cases()):
        scales = scales_near_the_frontier(case, seed)
        found = smoothness.margin(smoothness=scales, **FEW, **case.given)
        low, high = case.ends(scaling=scales)
        right.append(within(found.above, 1 - high) and within(found.below, 1 + low))
        answers.append(found.two_sided)
        if found.two_sided == "violated":
            assert max(high, -low) > 1
        assert max(found.above.products, found.below.products) <= FEW["iterations"]
        if found.direction is not None:
            v = np.concatenate([np.asarray(found.direction[b], np.float64) for b in case.sizes])
            squares = sum(float(scales[b]) * np.sum(v[case.rows(b)] ** 2) for b in case.sizes)
            slack = 100 * float(np.finfo(case.matrix.dtype).eps) * max(high, -low, 1)
            assert squares == pytest.approx(1, abs=slack)
            assert v @ case.dense() @ v == pytest.approx(found.curvature, abs=slack)
            assert keep or abs(found.curvature) > 1
    assert honest(right, FEW["probability"])
    assert {"violated", "undecided"} <= set(answers)


def test_every_diagonal_block_and_its_effective_rank():
    for case in cases(shape=0):
        for block in case.sizes:
            low, high = case.ends(block)
            below, above = smoothness.extreme_eigenvalues(block=block, **case.given)
            assert within(below, low)
            assert within(above, high)
            rank = smoothness.effective_rank(block=block, **case.given)
            assert within(rank, np.trace(case.dense(block)) / max(high, -low))
            assert width(case, rank) < 5000 * case.sizes[block]


def test_effective_ranks_from_few_products_cover_as_often_as_they_say():
    covered, narrow = [], []
    for case in cases():
        if case.d <= 24:
            continue
        low, high = case.ends()
        truth = np.trace(case.dense()) / max(high, -low)
        found = smoothness.effective_rank(products=24, **FEW, **case.given)
        covered.append(within(found, truth))
        narrow.append(abs(truth - found.value) <= (found.high - found.low) / 12)
    assert honest(covered, 0.9)
    assert not honest(narrow, 0.9)


def test_traces():
    """All of the diagonal where that is cheapest; Student's interval with two dozen products where not."""
    covered, narrow = [], []
    for case in cases():
        truth = np.trace(case.dense())
        assert within(smoothness.trace(**case.given), truth)
        if case.d > 24:
            found = smoothness.trace(products=24, confidence=0.9, **case.given)
            covered.append(within(found, truth))
            narrow.append(abs(truth - found.value) <= (found.high - found.low) / 4)
    assert honest(covered, 0.9)
    assert not honest(narrow, 0.9)


def test_points_of_the_frontier():
    """Exact with enough products; with few, the intervals of several directions hold all together."""
    together = []
    for seed, case in enumerate(cases()):
        scales = [scales_near_the_frontier(case, 2 * COUNT + 3 * seed + i) for i in range(2)]
        truths = [case.multiple(one) for one in scales]
        if seed % 4 == 0:
            for found, truth in zip(smoothness.frontier(scales=scales, **case.given), truths, strict=True):
                assert within(found.multiple, truth)
                assert width(case, found.multiple) < 2000 * truth
                assert case.multiple(found.smoothness) <= 1
        few = smoothness.frontier(scales=scales, **FEW, **case.given)
        together.append(all(within(found.multiple, truth) for found, truth in zip(few, truths, strict=True)))
    assert honest(together, FEW["probability"])


@pytest.mark.parametrize("two_sided", [True, False])
def test_partners(two_sided):
    """The least L of one block beside given ones, by bisection on dense eigenvalues."""
    for seed in (3, 7, 9, 13, 22, 27):  # both precisions
        case = cases()[seed]
        given = {label: 1.2 * max(abs(x) for x in case.ends(label)) + 1e-3 for label in list(case.sizes)[1:]}
        reach = lambda own, given=given, case=case: (
            case.multiple({"x": own, **given}) if two_sided else case.ends(scaling={"x": own, **given})[1]
        )
        found = smoothness.partner(given=given, label="x", two_sided=two_sided, tolerance=1e-2, **case.given)
        assert reach(found) <= 1 < reach(found * 0.98)


def test_cross_blocks():
    covered = []
    for case in cases():
        truth = np.linalg.norm(case.dense()[case.rows("x"), case.rows("y")], 2)
        if case.seed % 3 == 0:
            found = smoothness.cross_norm(pair=("x", "y"), **case.given)
            assert within(found, truth)
            assert width(case, found) < 2000 * max(truth, 1e-300)
        few = smoothness.cross_norm(pair=("x", "y"), **FEW, **case.given)
        covered.append(within(few, truth))
    assert honest(covered, FEW["probability"])


def test_other_eigensolvers_find_nothing_outside():
    """SciPy's restarted Lanczos and JAX's LOBPCG on the same products."""
    for seed in (5, 23):
        case = cases()[seed]
        hessian = curvature(case.given["fn"], case.params, args=case.given["args"])
        product = jax.jit(hessian.product)
        matvec = lambda v, product=product: np.asarray(product(jnp.asarray(v)))
        operator = LinearOperator((case.d, case.d), matvec=matvec, dtype=np.float64)
        lowest, highest = (float(eigsh(operator, 1, which=end, return_eigenvectors=False)[0]) for end in ("SA", "LA"))
        start = jax.random.normal(jax.random.key(1), (case.d, 1))
        theta, _, _ = lobpcg_standard(jax.vmap(hessian.product, 1, 1), start, m=200)
        slack = 1e-8 * max(abs(lowest), abs(highest))
        for iterations in (4, 60):
            low, high = smoothness.extreme_eigenvalues(iterations=iterations, probability=0.9999, **case.given)
            assert low.low - slack <= lowest <= low.high + slack
            assert high.low - slack <= highest <= high.high + slack
            assert float(theta[0]) <= high.high + slack
        assert float(theta[0]) == pytest.approx(highest, rel=1e-4)
