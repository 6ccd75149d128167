"""Margin, frontier and partner against dense eigenvalues, on random matrices of any sign and coupling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory_lab.measure import smoothness

KEY = jax.random.key(0)
SIZES = {"x": 7, "y": 4, "z": 1}


def quadratic(z, matrix):
    flat = jnp.concatenate([z[label] for label in sorted(z)])
    return flat @ matrix @ flat / 2


def matrix_of(seed: int, sizes: dict[str, int], *, definite: bool = False) -> np.ndarray:
    rng = np.random.default_rng(seed)
    d = sum(sizes.values())
    root = rng.standard_normal((d, d)) * np.geomspace(1.0, rng.uniform(0.01, 1.0), d)
    return root @ root.T if definite else (root + root.T) / 2


def point(sizes: dict[str, int]):
    return {label: jnp.zeros(d) for label, d in sizes.items()}


def diagonal(scales: dict[str, float], sizes: dict[str, int]) -> np.ndarray:
    return np.concatenate([np.full(sizes[label], scales[label]) for label in sorted(sizes)])


def scaled_ends(matrix: np.ndarray, scales: dict[str, float], sizes: dict[str, int]) -> tuple[float, float]:
    root = np.sqrt(diagonal(scales, sizes))
    values = np.linalg.eigvalsh(matrix / root[:, None] / root)
    return float(values[0]), float(values[-1])


@pytest.mark.parametrize("seed", range(40))
def test_margins_agree_with_dense_eigenvalues(seed):
    matrix, rng = matrix_of(seed, SIZES), np.random.default_rng(seed + 1000)
    scales = {label: float(s) for label, s in zip(SIZES, np.exp(rng.uniform(-1, 3, 3)), strict=True)}
    low, high = scaled_ends(matrix, scales, SIZES)
    found = smoothness.margin(quadratic, point(SIZES), scales, key=KEY, args=(jnp.asarray(matrix),))
    assert found.above.value == pytest.approx(1 - high, rel=1e-9, abs=1e-9)
    assert found.below.value == pytest.approx(1 + low, rel=1e-9, abs=1e-9)
    assert found.one_sided == ("certified" if high < 1 else "violated")
    assert found.two_sided == ("certified" if max(high, -low) < 1 else "violated")
    v = np.concatenate([np.asarray(found.direction[label]) for label in sorted(SIZES)])
    assert v @ (diagonal(scales, SIZES) * v) == pytest.approx(1, rel=1e-9)
    assert v @ matrix @ v == pytest.approx(found.curvature, rel=1e-8)
    assert abs(found.curvature) == pytest.approx(max(high, -low), rel=1e-8)


def test_few_products_leave_it_undecided_or_right_and_a_refutation_is_a_proof():
    answers = []
    for seed in range(60):
        sizes = {"x": 30, "y": 20}
        matrix = matrix_of(seed, sizes, definite=True)
        scales = {"x": float(np.linalg.norm(matrix, 2)) * np.random.default_rng(seed).uniform(0.7, 1.5), "y": 1e3}
        _, high = scaled_ends(matrix, scales, sizes)
        found = smoothness.margin(
            quadratic, point(sizes), scales, key=jax.random.key(seed), iterations=6, args=(jnp.asarray(matrix),)
        )
        answers.append(found.one_sided)
        if found.one_sided == "violated":
            assert high > 1
        if found.one_sided == "certified":
            assert high <= 1  # at 99% each: one false certificate in 60 would already be a surprise
    assert {"violated", "undecided"} <= set(answers)  # six products refute some and cannot certify what is close


def test_diagonal_blocks_alone_do_not_certify():
    matrix = np.ones((2, 2))
    ends = [
        smoothness.extreme_eigenvalues(quadratic, point({"x": 1, "y": 1}), key=KEY, block=b, args=(matrix,))[1] for b in "xy"
    ]
    assert [end.value for end in ends] == [1.0, 1.0]
    found = smoothness.margin(quadratic, point({"x": 1, "y": 1}), {"x": 1.0, "y": 1.0}, key=KEY, args=(matrix,))
    assert (found.one_sided, found.curvature) == ("violated", pytest.approx(2.0))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("two_sided", [True, False])
def test_the_frontier_is_the_schur_complement(seed, two_sided):
    sizes = {"x": 6, "y": 5}
    matrix = matrix_of(seed, sizes, definite=not two_sided)
    ratios = np.geomspace(0.05, 20, 7)
    found = smoothness.frontier(
        quadratic, point(sizes), [{"x": 1.0, "y": float(t)} for t in ratios], key=KEY, two_sided=two_sided, args=(matrix,)
    )
    for p in found:
        low, high = scaled_ends(matrix, p.smoothness, sizes)
        assert (max(high, -low) if two_sided else high) == pytest.approx(1, rel=1e-6)
    if not two_sided:
        a, b, c = matrix[:6, :6], matrix[:6, 6:], matrix[6:, 6:]
        for p in found:
            schur = c + b.T @ np.linalg.solve(p.smoothness["x"] * np.eye(6) - a, b)
            assert np.linalg.eigvalsh(schur)[-1] == pytest.approx(p.smoothness["y"], rel=1e-5)


def test_several_blocks_and_their_proportional_scales():
    matrix = matrix_of(3, SIZES)
    one, other = smoothness.frontier(
        quadratic, point(SIZES), [{"x": 1.0, "y": 2.0, "z": 3.0}, {"x": 10.0, "y": 20.0, "z": 30.0}], key=KEY, args=(matrix,)
    )
    assert dict(one.smoothness) == pytest.approx(dict(other.smoothness), rel=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_the_partner_of_given_scales(seed):
    sizes = {"x": 6, "y": 5}
    matrix = matrix_of(seed, sizes, definite=True)
    a, b, c = matrix[:6, :6], matrix[:6, 6:], matrix[6:, 6:]
    given = 1.3 * float(np.linalg.eigvalsh(a)[-1])
    expected = np.linalg.eigvalsh(c + b.T @ np.linalg.solve(given * np.eye(6) - a, b))[-1]
    found = smoothness.partner(
        quadratic, point(sizes), given={"x": given}, label="y", key=KEY, two_sided=False, args=(matrix,)
    )
    assert found == pytest.approx(expected, rel=3e-3)
    assert found >= expected * (1 - 1e-9)
    too_little = smoothness.partner(
        quadratic, point(sizes), given={"x": given / 2}, label="y", key=KEY, two_sided=False, args=(matrix,)
    )
    assert too_little == np.inf


def test_a_partner_is_sought_to_rounding_at_most():
    fn, point = lambda z: (z["x"][0] + z["y"][0]) ** 2 / 2, {"x": np.zeros(1), "y": np.zeros(1)}
    found = smoothness.partner(fn, point, given={"x": 1.5}, label="y", key=jax.random.key(0), tolerance=1e-60)
    np.testing.assert_allclose(found, 3.0, rtol=1e-10)


@pytest.mark.parametrize("seed", range(10))
def test_the_cross_norm_is_that_of_the_block(seed):
    matrix = matrix_of(seed, SIZES)
    found = smoothness.cross_norm(quadratic, point(SIZES), ("y", "x"), key=KEY, args=(jnp.asarray(matrix),))
    exact = np.linalg.norm(matrix[:7, 7:11], 2)
    assert found.value == pytest.approx(exact, rel=1e-8)
    assert found.low - 1e-9 <= exact <= found.high + 1e-9
    with pytest.raises(ValueError, match=r"^pair must be two different labels"):
        smoothness.cross_norm(quadratic, point(SIZES), ("x", "x"), key=KEY, args=(matrix,))
    with pytest.raises(ValueError, match=r"^pair must be one of"):
        smoothness.cross_norm(quadratic, point(SIZES), ("x", "w"), key=KEY, args=(matrix,))


def test_a_margin_says_its_answers():
    matrix, sizes = np.diag([1.0, -3.0]), {"x": 1, "y": 1}
    found = smoothness.margin(quadratic, point(sizes), {"x": 2.0, "y": 2.0}, key=KEY, args=(matrix,), probability=0.9)
    assert str(found).splitlines()[:2] == ["H <= D: certified at probability 0.9", "-D <= H <= D: violated"]
    assert "1 + lambda_min: -0.5 in [" in str(found)
    kink = smoothness.margin(lambda z: jnp.sum(jnp.sqrt(z["x"] - 1)), {"x": jnp.ones(2)}, {"x": 1.0}, key=KEY)
    assert str(kink).startswith("H <= D: undecided")
    assert "nan in [nan, nan] (a Hessian-vector product is not finite)" in str(kink)


def test_what_is_not_finite_is_undecided():
    fn = lambda z: jnp.sum(jnp.abs(z["x"]) ** 1.5)  # infinite curvature at 0
    found = smoothness.margin(fn, {"x": jnp.zeros(3)}, {"x": 1.0}, key=KEY)
    assert (found.one_sided, found.two_sided, found.direction) == ("undecided", "undecided", None)
    (only,) = smoothness.frontier(fn, {"x": jnp.zeros(3)}, [{"x": 1.0}], key=KEY)
    assert np.isnan(only.smoothness["x"])
    two = {"x": jnp.zeros(3), "y": jnp.zeros(1)}
    assert np.isnan(smoothness.partner(fn, two, given={"x": 1.0}, label="y", key=KEY))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: smoothness.margin(quadratic, point(SIZES), {"x": 1.0}, key=KEY, args=(np.eye(12),)),
            "smoothness must have",
        ),
        (
            lambda: smoothness.frontier(quadratic, point(SIZES), {"x": 1.0}, key=KEY),
            "scales must be a sequence of directions",
        ),
        (lambda: smoothness.frontier(quadratic, point(SIZES), 1.0, key=KEY), "scales must be a sequence of directions"),
        (lambda: smoothness.frontier(quadratic, point(SIZES), [], key=KEY, args=(np.eye(12),)), "the number of scales must"),
        (
            lambda: smoothness.partner(quadratic, point(SIZES), given={"x": 1.0}, label="x", key=KEY, args=(np.eye(12),)),
            "given must be without the label",
        ),
        (
            lambda: smoothness.partner(
                quadratic, point(SIZES), given={"x": 0.0, "z": 1.0}, label="y", key=KEY, args=(np.eye(12),)
            ),
            r"given\['x'\] must be positive",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


@pytest.mark.parametrize(
    "two_sided, what", [(True, "the Hessian is zero"), (False, "the Hessian is nowhere curved upwards")]
)
def test_a_frontier_that_is_none_says_why(two_sided, what):
    linear = lambda z: jnp.sum(z["x"]) - jnp.sum(z["y"])
    point = {"x": jnp.ones(2), "y": jnp.ones(3)}
    (one,) = smoothness.frontier(linear, point, [{"x": 1.0, "y": 1.0}], key=jax.random.key(0), two_sided=two_sided)
    assert one.multiple.high == 0
    assert one.multiple.note.startswith(f"{what}: all positive scales dominate it")
    assert np.isnan(list(one.smoothness.values())).all()
