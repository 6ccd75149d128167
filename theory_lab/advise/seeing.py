"""What advice rests on: the points that are looked at, and the local models that they make."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from theory_lab import _checks, blocks
from theory_lab._typing import Key, Label, Params
from theory_lab.advise import looking, spectra
from theory_lab.advise.looking import DENSE, Settings, View
from theory_lab.advise.radius import kept, radius_law
from theory_lab.advise.spectra import SpectralView
from theory_lab.measure.smoothness import lanczos, lookahead
from theory_lab.measure.smoothness.finite_sums import dense_hessian, mean, norms_sq, value_and_gradient
from theory_lab.problems.base import Problem
from theory_lab.theory.groups import GroupedBlocks
from theory_lab.theory.local import Local
from theory_lab.theory.rounding import RadiusLaw

BEYOND, FARTHEST = 20, 4.0  # products per block beyond the start where no matrix is, and the largest growth that is believed
LONG = 4096  # steps of a horizon, an epoch at least, where curvature is indefinite and none is given
CLOSER = (1 / 40, 1 / 400, 1 / 4000)  # shares of the accuracy at which to look again where curvature is negative


@dataclass(frozen=True)
class Sight:
    """What was seen.

    Attributes:
        settings: the method, apart from its step sizes.
        start: where training stands.
        value, gradient_norm: f and ||grad f|| there.
        accuracy: the target.
        ahead: the look-ahead.
        views: of the start, further points, and the look-ahead point last; of the start again where that is not finite.
        limiting: the models whose stable regions limit the step sizes.
        timing: the model from which times are predicted; None where no model with a minimiser was found.
        averaged: whether that model has the Hessian averaged over the way, and not the one at the look-ahead point.
        resting: the model of what noise makes at the end of the way, where curvature is another there.
        radius: of the two-point estimates; nan without any.
        radius_laws: its error law, per zeroth-order block.
        sided: 1 or 2.
        stays: whether the look-ahead of a large problem found no lower point, so that the start alone was looked at.
        beyond: how many times the largest curvature grows a little beyond the start, away from the look-ahead point; at
            least 1.
        spent: what looking has cost.
    """

    settings: Settings
    start: Params
    value: float
    gradient_norm: float
    accuracy: float
    ahead: lookahead.Ahead
    views: tuple[View | SpectralView, ...]
    limiting: tuple[Local | GroupedBlocks, ...]
    timing: Local | GroupedBlocks | None
    averaged: bool
    resting: Local | None
    radius: float
    radius_laws: dict[Label, RadiusLaw]
    sided: int
    stays: bool
    beyond: float
    spent: dict[str, int]

    @property
    def last(self) -> View | SpectralView:
        """The view of the look-ahead point; of the start where something at that is not finite."""
        return self.views[-1]

    def top(self, label: Label) -> float:
        """The largest curvature of a block over all views."""
        return max(view.top(label) for view in self.views)

    def negative(self, label: Label) -> float:
        """The most negative curvature of a block over all views; 0 where there is none beyond rounding."""
        lowest = min(view.lowest(label) for view in self.views)
        return lowest if lowest < -1e-12 * max(1.0, self.top(label)) else 0.0


def see(
    problem: Problem,
    start: Params,
    settings: Settings,
    accuracy: float | None,
    points: Sequence[Params],
    *,
    key: Key,
    products: int,
    probability: float,
    sided: int,
) -> Sight:
    """Look at the start, the further points and the look-ahead point, and make the models.

    Raises:
        ValueError: a value, gradient or Hessian that is not finite where training stands.
    """
    value, gradient = value_and_gradient(problem, start)
    norm = float(np.sqrt(sum(float(v) for v in norms_sq(gradient).values())))
    if not np.isfinite(value):
        raise _checks.refuse("the value of the problem at params", "finite", value)
    if not np.isfinite(norm):
        raise _checks.refuse("the gradient of the problem at params", "finite", norm)
    target = accuracy or (norm / 10 if norm > 0 else 1e-3)
    ahead = _ahead(problem, start, target, products, settings)
    stays = sum(settings.sizes) > DENSE and not points and ahead.steps == 0
    named = [("the start", start), *((f"point {i + 1}", p) for i, p in enumerate(points))]
    named += [] if stays else [("the look-ahead point", ahead.params)]
    found = _views(problem, named, settings, gradient, key, probability)
    if found[0] is None:
        raise _checks.refuse("the Hessian of the problem at params", "finite", np.nan)
    for i, view in enumerate(found[1:-1]):
        if view is None:
            raise _checks.refuse(f"the Hessian of the problem at points[{i}]", "finite", np.nan)
    if found[-1] is None or (not stays and abs(found[-1].value) > _checks.REACH):  # a slope without end leads anywhere
        # nothing is known of what lies ahead: the best point that was looked at is the start
        ahead, found[-1] = replace(ahead, params=start, gradient_norm=norm, reached=norm <= target / 4), found[0]
    settings, views = _within(settings, [view for view in found if view is not None])
    laws, radius = _radius(problem, start, views[-1], settings, value, sided, jax.random.fold_in(key, 1000))
    rounding = [
        laws[label].error(radius) ** 2 / size if label in laws else 0.0
        for label, size in zip(settings.labels, settings.sizes, strict=True)
    ]
    limiting = tuple(view.model() for view in looking.distinct(views))
    timing, averaged = _timing(problem, views, rounding)
    resting = _resting(views, rounding) if averaged else None
    spent = _spent(problem, ahead, views)
    beyond = 1.0
    if not stays:
        beyond, products = _beyond(problem, start, ahead.params, views, settings, jax.random.fold_in(key, 1001))
        spent["products"] += products
    return Sight(
        settings,
        start,
        value,
        norm,
        target,
        ahead,
        tuple(views),
        limiting,
        timing,
        averaged,
        resting,
        radius,
        laws,
        sided,
        stays,
        beyond,
        spent,
    )


def _views(
    problem: Problem,
    named: Sequence[tuple[str, Params]],
    settings: Settings,
    gradient: Params,
    key: Key,
    probability: float,
) -> list[View | SpectralView | None]:
    """The views of the points, None where something is not finite; the probability is that of all of them together."""
    each = 1 - (1 - probability) / len(named)
    views: list[View | SpectralView | None] = []
    for i, (name, point) in enumerate(named):
        if sum(settings.sizes) <= DENSE:
            views.append(looking.view(problem, point, name, settings))
        else:
            one = jax.random.fold_in(key, i)
            views.append(spectra.spectral_view(problem, point, name, settings, gradient=gradient, key=one, probability=each))
    return views


def _within(settings: Settings, views: Sequence[View | SpectralView]) -> tuple[Settings, list[View | SpectralView]]:
    """The settings with a horizon of their own where curvature is indefinite and none is given, and views with these."""
    if settings.asked or all(view.definite for view in views):
        return settings, list(views)
    settings = replace(settings, horizon=float(max(LONG, settings.groups)))
    return settings, [replace(view, settings=settings) for view in views]


def _spent(problem: Problem, ahead: lookahead.Ahead, views: Sequence[View | SpectralView]) -> dict[str, int]:
    """What looking has cost: products with the whole Hessian, gradients of the sum, products with component Hessians."""
    products, parts = ahead.products, 0
    for view in views:
        if isinstance(view, View):
            d = view.hessian.shape[0]
            products += d
            parts += d * min(problem.n, max(2, looking.HELD // d**2))
        else:
            products += view.products
            parts += len(view.blocks) * spectra.VECTORS * min(problem.n, spectra.COMPARED) if problem.n > 1 else 0
    if isinstance(views[0], View):
        products += views[0].hessian.shape[0]  # in the middle of the way
    return {"products": products, "gradients": ahead.gradients + 1 + len(views), "component products": parts}


def _beyond(
    problem: Problem, start: Params, end: Params, views: Sequence[View | SpectralView], settings: Settings, key: Key
) -> tuple[float, int]:
    """How many times the largest curvature of a block grows a quarter of the way beyond the start, at least 1; products."""
    point, most, spent = looking.between(start, end, -0.25), 1.0, 0
    if not np.isfinite(value_and_gradient(problem, point)[0]):
        return FARTHEST, spent
    tops, spent = _tops(problem, point, settings, key)
    for label, high in tops.items():
        top = max(view.top(label) for view in views)
        if top > 0:
            most = max(most, high / top if np.isfinite(high) else FARTHEST)
    return (min(most, FARTHEST) if most > 1.01 else 1.0), spent


def _tops(problem: Problem, point: Params, settings: Settings, key: Key) -> tuple[dict[Label, float], int]:
    """The largest curvature of every block at a point, nan where it is not finite, and the products that it has cost."""
    if sum(settings.sizes) <= DENSE:
        fn, args = mean(problem)
        hessian = dense_hessian(fn, point, args=args)
        parts = {label: hessian[settings.part(label), settings.part(label)] for label in settings.labels}
        tops = {label: np.linalg.eigvalsh(h)[-1] if np.isfinite(h).all() else np.nan for label, h in parts.items()}
        return tops, len(hessian)
    ends = {}
    for i, label in enumerate(settings.labels):
        found = lanczos.tridiagonalise(spectra.hessian_of(problem, point, label), BEYOND, jax.random.fold_in(key, i))
        ends[label] = np.nan if found is None else float(found.values[-1])
    return ends, BEYOND * len(ends)


def _ahead(problem: Problem, start: Params, accuracy: float, products: int, settings: Settings) -> lookahead.Ahead:
    """A point whose gradient is a quarter of the accuracy, or less where negative curvature is left there."""
    rounds = max(1, products // 50)
    fn, args = mean(problem)
    found = lookahead.look_ahead(fn, start, accuracy=accuracy / 4, iterations=rounds, products=50, args=args)
    for share in CLOSER if sum(settings.sizes) <= DENSE else ():
        if not found.reached or looking.definite(np.linalg.eigvalsh(dense_hessian(fn, found.params, args=args))):
            break
        more = lookahead.look_ahead(fn, found.params, accuracy=share * accuracy, iterations=rounds, products=50, args=args)
        spent = {name: getattr(found, name) + getattr(more, name) for name in ("products", "gradients", "steps")}
        found = replace(more, **spent, reached=more.gradient_norm <= accuracy / 4)
    return found


def _timing(
    problem: Problem, views: Sequence[View | SpectralView], rounding: Sequence[float]
) -> tuple[Local | GroupedBlocks | None, bool]:
    """The model of the way to the solution, and whether its Hessian is averaged over that way."""
    first, last = views[0], views[-1]
    if isinstance(first, View) and isinstance(last, View):
        whole = looking.middle(problem, first, last)
        if looking.definite(np.linalg.eigvalsh(whole)):
            return last.model(hessian=whole, gradient=first.gradient, rounding=rounding), True
        if last.definite:
            way = looking.flat(first.params) - looking.flat(last.params)
            return last.model(gradient=last.hessian @ way, rounding=rounding), False
        return None, False
    assert isinstance(last, SpectralView)
    return (last.model(rounding=rounding), False) if last.definite else (None, False)


def _resting(views: Sequence[View | SpectralView], rounding: Sequence[float]) -> Local | None:
    """The model of the end of the way; None where curvature is that of the start, or negative, so that nothing rests."""
    first, last = views[0], views[-1]
    if not isinstance(first, View) or not isinstance(last, View) or not last.definite:
        return None
    return None if looking.same(first.hessian, last.hessian) else last.model(rounding=rounding)


def _radius(
    problem: Problem, start: Params, last: View | SpectralView, settings: Settings, value: float, sided: int, key: Key
) -> tuple[dict[Label, RadiusLaw], float]:
    """The error law of every zeroth-order block, and the one radius for all: the geometric mean of their optima."""
    level = max(abs(value), abs(last.value))
    laws, best, sizes = {}, [], norms_sq(dict(start))
    for label in settings.zeroth:
        laws[label] = radius_law(
            problem,
            start,
            (label,),
            last.traces(label),
            level,
            sided=sided,
            directions=settings.directions,
            law=settings.law,
            key=key,
        )
        size = float(np.sqrt(float(sizes[label]) / blocks.size(start[label])))
        precision = float(jnp.finfo(jnp.result_type(*jax.tree.leaves(start[label]))).eps)
        best.append(kept(laws[label], size, precision, settings.law, blocks.size(start[label])))
    return laws, float(np.exp(np.mean(np.log(best)))) if best else float("nan")
