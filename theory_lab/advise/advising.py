"""`advise`: from measured curvature and noise to step sizes, each with its reason."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax

from theory_lab import _checks, blocks
from theory_lab._typing import Key, Label, Params
from theory_lab.advise.base import Advice, Sided
from theory_lab.advise.choosing import choose
from theory_lab.advise.looking import Settings
from theory_lab.advise.seeing import see
from theory_lab.advise.telling import tell
from theory_lab.oracles.directions import LAWS, Law
from theory_lab.problems.base import Problem
from theory_lab.problems.custom import finite_sum
from theory_lab.theory.reshuffling import ORDERINGS

USUAL = ("x", "base")  # labels of the zeroth-order block where none is named


def advise(
    problem: Problem | Callable[[Params, Any], jax.Array],
    *,
    key: Key,
    accuracy: float | None = None,
    params: Params | None = None,
    data: Any = None,
    zeroth: Sequence[Label] | None = None,
    directions: int = 1,
    law: Law = "gaussian",
    sided: Sided = 1,
    ordering: str = "random_reshuffling",
    batch_size: int = 1,
    points: Sequence[Params] = (),
    products: int = 2000,
    probability: float = 0.99,
    horizon: float | None = None,
) -> Advice:
    r"""Step sizes, radius and the rest of a run's settings, from what the problem shows, each with its reason.

    Curvature, noise and the spread of the components' curvature are measured where training stands, at a look-ahead point
    that Newton's method finds, and at any further points. On the quadratic model that they make, the second moments of
    hybrid SGD obey a linear recursion; its stable region gives the limits, and the step sizes that reach the accuracy in the
    fewest steps within 0.9 of that region are advised: of those whose times differ by less than a tenth, the middle. Where
    no time is predicted, half of the stable region. Times come from curvature averaged over the way, and the floor
    from that or, where it is larger, from curvature at the end, where the run rests.

    Up to 200 dimensions the Hessian is written out, with its coupling. Beyond, spectral densities of the blocks stand for
    it, and what is advised is shortened until it is stable with the cross blocks.

    Args:
        problem: a Problem, or loss(params, example) -> scalar with ``data`` and ``params``.
        key: random starts, samples, and the start of a fresh problem.
        accuracy: target for (E||grad f||^2)^1/2; None is a tenth of the gradient's norm where training stands.
        params: where training stands; None is the problem's own start.
        data: a pytree of arrays with leading axis n, for a loss.
        zeroth: labels of the blocks that two points estimate; None is "x" or "base"; () is none.
        directions, law, sided: of the two-point estimates.
        ordering: "random_reshuffling", "shuffle_once", "incremental" or "with_replacement".
        batch_size: components per step.
        points: further parameters, a trajectory say, where curvature limits the step sizes too.
        products: Hessian-vector products that the look-ahead may spend.
        probability: that the outer ends of measured spectra hold, all together; beyond 200 dimensions that is also the
            probability with which the advised step sizes contract the mean of every model, unless products of
            matrices are made in few bits, which certifies nothing.
        horizon: steps that the limits must hold for, as the length of training; math.inf is for ever. Noise that gathers in
            hundreds of nearly flat directions feeds back only in the long run, so that limits within a horizon are higher.
            None is for ever where curvature is definite. Where it is not, as in networks, no linear model holds for ever:
            then it is 4096 steps, or an epoch if that is more, and the reasons tell how little four times as many change.
            Where moments are carried along orders, that is for 240 steps or more, whatever the horizon.

    Returns:
        The advice. What cannot be predicted is nan, with the reason.

    Raises:
        ValueError: what is no problem and no loss with data, parameters or labels that do not fit, a value or gradient that
            is not finite where training stands, settings that the oracle refuses.

    Example:
        >>> from theory_lab.problems import block_quadratic
        >>> problem = block_quadratic({"x": 8, "y": 2}, smoothness={"x": 1.0, "y": 4.0})
        >>> advice = advise(problem, key=jax.random.key(0))
        >>> round(advice.limits["x"].value, 3), round(advice.limits["y"].value, 3)  # 2/(L_x (d+2)), 2/L_y
        (0.2, 0.5)

    Reference:
        theory_lab, Theorem 5.
    """
    _checks.key("key", key)
    problem = _problem(problem, data, params)
    start = _start(problem, params, key)
    settings = _settings(problem, start, zeroth, directions, law, ordering, batch_size, horizon)
    _checks.sides("sided", sided)
    probability = _checks.between("probability", probability, 0, 1, closed="()")
    _checks.count("products", products)
    if accuracy is not None:
        accuracy = _checks.positive("accuracy", accuracy)
    like = jax.eval_shape(problem.init, jax.random.key(0))
    if not isinstance(points, Sequence) or isinstance(points, str):
        raise _checks.refuse("points", "a sequence of parameters", points)
    for i, point in enumerate(points):
        blocks.check_params(point, like, f"points[{i}]")
    failing = (1 - probability) / (len(settings.labels) + 1)  # of each block's spectrum, and of all blocks together
    seen = 1 - failing * len(settings.labels)
    sight = see(problem, start, settings, accuracy, points, key=key, products=products, probability=seen, sided=sided)
    choice = choose(problem, sight, key=jax.random.fold_in(key, 3000), probability=1 - failing)
    return tell(problem, sight, choice, jax.random.fold_in(key, 2000))


def _problem(given: Any, data: Any, params: Any) -> Problem:
    """A problem as it is, or the problem that a loss and its data make."""
    if isinstance(given, Problem):
        if data is not None:
            raise _checks.refuse("data", "None where problem is a Problem, which has its own", type(data).__name__)
        return given
    if not callable(given):
        raise _checks.refuse("problem", "a Problem, or a loss(params, example) -> scalar", given)
    for name, value in (("data", data), ("params", params)):
        if value is None:
            raise _checks.refuse(name, "given where problem is a loss", value)
    return finite_sum(given, data, params)


def _start(problem: Problem, params: Any, key: Key) -> dict[Label, Any]:
    """Where training stands, as arrays."""
    if params is None:
        return dict(problem.init(key))
    blocks.check_params(params, jax.eval_shape(problem.init, key))
    return blocks.as_params("params", params)


def _settings(
    problem: Problem,
    params: Params,
    zeroth: Any,
    directions: Any,
    law: Any,
    ordering: Any,
    batch_size: Any,
    horizon: Any,
) -> Settings:
    labels = blocks.labels(params)
    if zeroth is None:
        chosen = tuple(label for label in USUAL if label in labels)[:1]
        if not chosen:
            rule = f"some of the labels {labels}, or () for none, where no block is called 'x' or 'base'"
            raise _checks.refuse("zeroth", rule, zeroth)
    else:
        if isinstance(zeroth, str):
            zeroth = (zeroth,)
        try:
            chosen = tuple(zeroth)
        except TypeError:
            raise _checks.refuse("zeroth", f"some of the labels {labels}, or () for none", zeroth) from None
        for label in chosen:
            _checks.choice("zeroth", label, labels)
        if len(set(chosen)) < len(chosen):
            raise _checks.refuse("zeroth", "labels that differ", zeroth)
    endless = horizon is None or (isinstance(horizon, float) and horizon == math.inf)
    return Settings(
        labels=labels,
        sizes=tuple(blocks.size(params[label]) for label in labels),
        zeroth=chosen,
        directions=_checks.count("directions", directions),
        law=_checks.choice("law", law, LAWS),
        ordering=_checks.choice("ordering", ordering, ORDERINGS),
        batch_size=_batch_size(batch_size, problem.n),
        components=problem.n,
        horizon=math.inf if endless else float(_checks.count("horizon", horizon)),
        asked=horizon is not None,
    )


def _batch_size(given: Any, n: int) -> int:
    if _checks.count("batch_size", given) > n:
        raise _checks.refuse("batch_size", f"at most the number of components, {n}", given)
    return given
