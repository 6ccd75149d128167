"""Mean-square stability against the second-moment operator written out as a d^2 x d^2 matrix."""

import itertools

import numpy as np
import pytest

from theory_lab.theory.moments import LAWS
from theory_lab.theory.quadratic import growth_factor, is_stable, noise_gain, noise_gain_bracket, step_size_limit

GOLDEN = (3.0, 1.0, 0.5, 0.1)


def fourth_moment(law: str, p: int) -> np.ndarray:
    """E v_i v_j v_k v_l of directions with E vv' = I, shape (p, p, p, p)."""
    e = np.eye(p)
    pairings = np.einsum("ij,kl->ijkl", e, e) + np.einsum("ik,jl->ijkl", e, e) + np.einsum("il,jk->ijkl", e, e)
    if law == "sphere":
        return pairings * p / (p + 2)
    if law == "rademacher":
        for i in range(p):
            pairings[i, i, i, i] = 1.0
    return pairings


def operator(hessian, p: int, step_sizes, directions: int = 1, law: str = "gaussian") -> np.ndarray:
    """E (I - P V H) (x) (I - P V H), V = diag((1/q) sum v v', I): one step of vec E zz', shape (d^2, d^2)."""
    h = np.asarray(hessian, dtype=float)
    d = len(h)
    steps = np.where(np.arange(d) < p, *step_sizes)
    pair = np.einsum("ij,kl->ikjl", np.eye(d), np.eye(d))  # (V (x) V)[ik, jl] for V = I
    if p:
        moment = fourth_moment(law, p)  # E V_ij V_kl = E v_i v_j v_k v_l
        pair[:p, :p, :p, :p] += (np.einsum("ijkl->ikjl", moment) - pair[:p, :p, :p, :p]) / directions
    pair = pair.reshape(d * d, d * d)
    identity = np.eye(d)
    ph = steps[:, None] * h
    return (
        np.eye(d * d)
        - np.kron(ph, identity)
        - np.kron(identity, ph)
        + np.kron(np.diag(steps), np.diag(steps)) @ pair @ np.kron(h, h)
    )


def radius(matrix: np.ndarray) -> float:
    return float(np.abs(np.linalg.eigvals(matrix)).max())


def problem(rng: np.random.Generator, *, indefinite: bool = False):
    """A coupled Hessian with a spread spectrum, a split, steps around the boundary, directions and a law."""
    d = int(rng.integers(1, 7))
    p = int(rng.integers(0, d + 1))
    spectrum = rng.exponential(size=d) ** 2 + 1e-3
    if indefinite:
        spectrum[0] *= -1
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
    h = basis * spectrum @ basis.T
    h = (h + h.T) / 2
    q, law = int(rng.integers(1, 5)), LAWS[rng.integers(3)]
    scale_x = 2 / (np.trace(h[:p, :p]) / q + 2 * np.abs(h).max()) if p else 1.0
    scale_y = 2 / np.linalg.norm(h[p:, p:], 2) if p < d else 1.0
    return h, p, (scale_x * rng.uniform(0.3, 1.7), scale_y * rng.uniform(0.1, 1.1)), q, law


def test_golden_limits():
    limits = {"gaussian": 0.20542453, "sphere": 0.30813679, "rademacher": 2 / sum(GOLDEN)}
    for law, limit in limits.items():
        assert step_size_limit(GOLDEN, law=law) == pytest.approx(limit, abs=5e-9)
    assert limits["rademacher"] == pytest.approx(0.43478261, abs=5e-9)


@pytest.mark.parametrize("law, q", list(itertools.product(LAWS, (1, 2, 3, 16))))
def test_limit_is_where_the_full_operator_crosses_one(law, q):
    rng = np.random.default_rng(q)
    for spectrum in (np.array(GOLDEN), rng.exponential(size=5), np.array([2.0]), np.ones(4), np.array([1.0, 0.0, 0.3, 0.0])):
        limit = step_size_limit(spectrum, directions=q, law=law)
        moving = spectrum > 0
        keep = np.flatnonzero(np.outer(moving, moving).ravel())  # the kernel stays where it is and feeds nothing back

        def crossing(eta, spectrum=spectrum, keep=keep):
            return radius(operator(np.diag(spectrum), len(spectrum), (eta, 0), q, law)[np.ix_(keep, keep)])

        assert crossing(limit * (1 - 1e-9)) < 1 < crossing(limit * (1 + 1e-9))


def test_limit_in_closed_form():
    for d, q in ((1, 1), (10, 1), (10, 4), (200, 16)):
        assert step_size_limit(np.full(d, 3.0), directions=q) == pytest.approx(2 * q / (3.0 * (d + q + 1)), rel=1e-13, abs=0)
        assert step_size_limit(np.full(d, 3.0), directions=q, law="sphere") == pytest.approx(
            2 * q / (3.0 * (d + q - 1)), rel=1e-13
        )
        assert step_size_limit(np.full(d, 3.0), directions=q, law="rademacher") == pytest.approx(
            2 * q / (3.0 * (d + q - 1)), rel=1e-13
        )
    spectrum = np.geomspace(1e-6, 10, 30)
    assert step_size_limit(spectrum, law="rademacher") == pytest.approx(2 / spectrum.sum(), rel=1e-13, abs=0)
    assert step_size_limit([2.0], law="sphere") == pytest.approx(1.0, rel=1e-14, abs=0)  # d = 1: u = +-1 is gradient descent


def test_limit_lies_between_its_bounds_and_scales():
    rng = np.random.default_rng(5)
    for _ in range(50):
        d, q = int(rng.integers(1, 200)), int(rng.integers(1, 20))
        spectrum = rng.exponential(size=d) ** 3
        trace, top, limit = spectrum.sum(), spectrum.max(), step_size_limit(spectrum, directions=q)
        assert 2 * q / (trace + (q + 1) * top) * (1 - 1e-12) <= limit <= 2 * q / (trace * (1 + (q + 1) / d)) * (1 + 1e-12)
        assert step_size_limit(1e-6 * spectrum, directions=q) == pytest.approx(1e6 * limit, rel=1e-12, abs=0)
    assert step_size_limit(1 / np.arange(1, 201)) == pytest.approx(0.306, abs=5e-4)


def test_limit_tends_to_gradient_descent_with_many_directions():
    for law in LAWS:
        limits = [step_size_limit(GOLDEN, directions=q, law=law) for q in (1, 10, 100, 10**6)]
        assert np.all(np.diff(limits) > 0)
        assert limits[-1] == pytest.approx(2 / 3, rel=1e-5, abs=0)


def test_zero_eigenvalues_put_no_limit_but_count_for_the_sphere():
    assert step_size_limit([0.0, 0.0]) == np.inf
    for law in ("gaussian", "rademacher"):
        assert step_size_limit([*GOLDEN, 0.0], law=law) == step_size_limit(GOLDEN, law=law)
    assert step_size_limit([*GOLDEN, 0.0], law="sphere") < step_size_limit(GOLDEN, law="sphere")


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_the_full_operator_on_coupled_problems(seed):
    rng = np.random.default_rng(seed)
    outcomes = []
    for _ in range(50):
        h, p, steps, q, law = problem(rng, indefinite=rng.random() < 0.2)
        exact = radius(operator(h, p, steps, q, law))
        assert growth_factor(h, p, steps, directions=q, law=law) == pytest.approx(exact, rel=1e-9, abs=0)
        outcomes.append(is_stable(h, p, steps, directions=q, law=law))
        assert outcomes[-1] == (exact < 1)
    assert 5 < sum(outcomes) < 45


@pytest.mark.parametrize("law, q", list(itertools.product(LAWS, (1, 3))))
def test_resolves_the_boundary(law, q):
    rng = np.random.default_rng(11)
    tried = 0
    while tried < 8:
        h, p, _, _, _ = problem(rng)
        if p == 0:
            continue
        tried += 1
        eta_y = rng.uniform(0.1, 1.7) / np.linalg.norm(h[p:, p:], 2) if p < len(h) else 0.3
        low, high = 0.0, 2.1 / np.linalg.norm(h[:p, :p], 2)
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if radius(operator(h, p, (middle, eta_y), q, law)) < 1 else (low, middle)
        assert is_stable(h, p, (low * (1 - 1e-8), eta_y), directions=q, law=law)
        assert not is_stable(h, p, (high * (1 + 1e-8), eta_y), directions=q, law=law)


def test_a_pure_block_obeys_the_secular_equation_and_gradient_descent():
    rng = np.random.default_rng(3)
    basis = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    h = basis * np.array(GOLDEN) @ basis.T
    for law, q in itertools.product(("gaussian", "sphere"), (1, 2, 5)):
        limit = step_size_limit(GOLDEN, directions=q, law=law)
        assert is_stable(h, 4, (limit * (1 - 1e-10), 0.0), directions=q, law=law)
        assert not is_stable(h, 4, (limit * (1 + 1e-10), 0.0), directions=q, law=law)
    assert is_stable(h, 0, (0.0, 0.66666))
    assert not is_stable(h, 0, (0.0, 0.66667))
    assert growth_factor(h, 0, (0.0, 0.6)) == pytest.approx(0.94**2, rel=1e-12, abs=0)


def test_signs_notice_a_rotation_and_the_other_laws_do_not():
    rng = np.random.default_rng(8)
    basis = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    turned = basis * np.array(GOLDEN) @ basis.T
    for law in LAWS:
        gains = [noise_gain(matrix, 4, (0.15, 0.0), law=law) for matrix in (np.diag(GOLDEN), turned)]
        assert (gains[0] == pytest.approx(gains[1], rel=1e-10, abs=0)) == (law != "rademacher")
    assert is_stable(np.diag(GOLDEN), 4, (0.42, 0.0), law="rademacher")
    assert not is_stable(turned, 4, (0.42, 0.0), law="rademacher")


def test_uncoupled_blocks_have_independent_limits():
    h = np.diag([3.0, 1.0, 0.5, 0.1, 7.0, 2.0])
    limit = step_size_limit(GOLDEN)
    for x, y in itertools.product((0.999, 1.001), repeat=2):
        assert is_stable(h, 4, (x * limit, y * 2 / 7)) == (x < 1 and y < 1)


@pytest.mark.parametrize("p", [0, 25, 60])
def test_sixty_coupled_dimensions(p):
    """Self-consistency where the full operator would have 3600 rows: the boundary by the gain is that of the growth."""
    rng = np.random.default_rng(p)
    factor = rng.normal(size=(60, 60)) * np.geomspace(1, 1e-2, 60)
    h = factor @ factor.T / 60
    ray = np.array([2 / np.trace(h[:p, :p]) if p else 0.0, 0.2 / np.linalg.norm(h[p:, p:], 2) if p < 60 else 0.0])
    low, high = 0.0, 20.0
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (middle, high) if is_stable(h, p, tuple(middle * ray)) else (low, middle)
    assert 0.1 < low < 19
    assert growth_factor(h, p, tuple(low * ray)) < 1 < growth_factor(h, p, tuple(high * ray))


def test_a_singular_hessian_is_judged_by_its_gradient():
    k = np.array([1.0, 2.0, -1.0])
    h = np.outer(k, k)  # rank one: the kernel stays where it is
    for eta, stable in ((0.1, True), (0.5, False)):
        w = 1 - 2 * eta * 6 + eta**2 * (3 * 25 + 2 * 5 * 1 + 1)  # E(1 - eta((v'k_x)^2 + k_y^2))^2, |k_x|^2 = 5, k_y^2 = 1
        assert growth_factor(h, 2, (eta, eta)) == pytest.approx(w, rel=1e-12, abs=0)
        assert is_stable(h, 2, (eta, eta)) == (w < 1) == stable
    assert is_stable(np.zeros((3, 3)), 2, (5.0, 5.0))
    assert growth_factor(np.zeros((3, 3)), 2, (5.0, 5.0)) == 0.0


def test_a_block_with_step_size_zero_drops_out():
    rng = np.random.default_rng(4)
    factor = rng.normal(size=(5, 5))
    h = factor @ factor.T
    limit = step_size_limit(np.linalg.eigvalsh(h[:3, :3]))
    assert is_stable(h, 3, (0.999 * limit, 0.0))
    assert not is_stable(h, 3, (1.001 * limit, 0.0))
    limit = 2 / np.linalg.eigvalsh(h[3:, 3:])[-1]
    assert is_stable(h, 3, (0.0, 0.999 * limit))
    assert not is_stable(h, 3, (0.0, 1.001 * limit))
    assert is_stable(h, 3, (0.0, 0.0))
    h[4, 4] = -1.0  # negative curvature in a block that does not move is not seen
    assert is_stable(h, 3, (1e-3, 0.0))
    assert not is_stable(h, 3, (1e-3, 1e-3))


def test_negative_curvature_is_never_stable():
    h = np.diag([1.0, -1e-3])
    for p, steps in ((1, (0.1, 0.1)), (2, (0.1, 0.0)), (0, (0.0, 1e-6))):
        assert not is_stable(h, p, steps)
        assert noise_gain(h, p, steps) == np.inf
        assert growth_factor(h, p, steps) > 1


def test_the_gain_of_small_steps_is_one_to_two_times_half_the_trace():
    h = np.diag([3.0, 1.0, 0.5, 0.1, 7.0])
    for q in (1, 3):
        half = 1e-9 * 4.6 / (2 * q)
        low, high = noise_gain_bracket(h, 4, (1e-9, 0.1), directions=q)
        assert (low, high) == (pytest.approx(half, rel=1e-7, abs=0), pytest.approx(2 * half, rel=1e-7, abs=0))
        assert low < noise_gain(h, 4, (1e-9, 0.1), directions=q) < high


def test_the_bracket_holds():
    rng = np.random.default_rng(12)
    for _ in range(100):
        h, p, steps, q, _ = problem(rng)
        low, high = noise_gain_bracket(h, p, steps, directions=q)
        assert low * (1 - 1e-10) <= noise_gain(h, p, steps, directions=q) <= high * (1 + 1e-10)


def test_stability_depends_on_step_times_hessian():
    rng = np.random.default_rng(13)
    for _ in range(20):
        h, p, (x, y), q, law = problem(rng)
        gain = noise_gain(h, p, (x, y), directions=q, law=law)
        assert noise_gain(1e4 * h, p, (x / 1e4, y / 1e4), directions=q, law=law) == pytest.approx(gain, rel=1e-9, abs=0)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: step_size_limit([]), "eigenvalues must be a non-empty 1-dimensional array"),
        (lambda: step_size_limit([1.0, -0.5]), "eigenvalues must be nonnegative, got -0.5"),
        (
            lambda: step_size_limit([1.0, np.inf]),
            "eigenvalues must be a non-empty 1-dimensional array of finite real numbers",
        ),
        (lambda: step_size_limit(3.0), "eigenvalues must be a non-empty 1-dimensional array"),
        (lambda: step_size_limit([1.0], directions=0), "directions must be a whole number of at least 1, got 0"),
        (lambda: step_size_limit([1.0], directions=1.5), "directions must be a whole number of at least 1, got 1.5"),
        (lambda: step_size_limit([1.0], law="radmacher"), r"got 'radmacher' \(did you mean 'rademacher'\?\)"),
        (
            lambda: is_stable([[1.0, 2.0], [0.0, 1.0]], 1, (0.1, 0.1)),
            r"hessian must be a symmetric matrix of shape \(d, d\), got an asymmetry",
        ),
        (
            lambda: is_stable([[1.0, 2.0]], 1, (0.1, 0.1)),
            r"hessian must be a symmetric matrix of shape \(d, d\), got an array of shape \(1, 2\)",
        ),
        (
            lambda: is_stable([[np.nan]], 1, (0.1, 0.1)),
            "hessian must be a non-empty 2-dimensional array of finite real numbers",
        ),
        (
            lambda: is_stable(np.eye(2), 3, (0.1, 0.1)),
            "zeroth_dimension must be at most the dimension 2 of the hessian, got 3",
        ),
        (lambda: is_stable(np.eye(2), -1, (0.1, 0.1)), "zeroth_dimension must be a whole number of at least 0, got -1"),
        (
            lambda: is_stable(np.eye(2), 1, (0.1, -0.1)),
            r"step_sizes must be a pair \(x, y\) of nonnegative finite numbers, got",
        ),
        (lambda: is_stable(np.eye(2), 1, 0.1), r"step_sizes must be a pair \(x, y\) of nonnegative finite numbers, got 0.1"),
        (
            lambda: is_stable(np.eye(2), 1, (0.1, 0.1), directions=0),
            "directions must be a whole number of at least 1, got 0",
        ),
        (lambda: is_stable(np.eye(2), 1, (0.1, 0.1), law="cube"), "law must be one of"),
        (lambda: growth_factor(np.eye(2), 1, (np.nan, 0.1)), r"step_sizes must be a pair \(x, y\)"),
        (lambda: noise_gain_bracket(np.eye(2), 1, (0.1,)), r"step_sizes must be a pair \(x, y\)"),
    ],
)
def test_bad_input_is_refused_at_the_door(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_whole_numbers_beyond_floating_point_are_refused():
    with pytest.raises(ValueError, match=r"^eigenvalues must be a non-empty 1-dim.* array of finite real numbers, got \[10"):
        step_size_limit([10**400])
