"""Telling: every quantity with its reason, the statement behind it and the numbers of this problem."""

import math
from collections.abc import Iterator, Mapping
from typing import cast

import jax

from theory_lab._typing import Label
from theory_lab.advise.base import Advice, Reason, Sided
from theory_lab.advise.choosing import HALF, Choice
from theory_lab.advise.fastest import ALIKE
from theory_lab.advise.guaranteeing import FEW, guaranteed, measured
from theory_lab.advise.limits import ALONG, nothing
from theory_lab.advise.looking import NEGATIVE
from theory_lab.advise.seeing import Sight
from theory_lab.advise.spectra import SpectralView
from theory_lab.oracles import FirstOrder, Hybrid, TwoPoint
from theory_lab.oracles.base import Cost
from theory_lab.oracles.directions import Law
from theory_lab.problems.base import Problem
from theory_lab.theory import reshuffling
from theory_lab.theory.local import Local

RECURSION = "theory_lab, Theorem 5"
STABILITY = "theory_lab, Theorem 5, stability"
CONJECTURE = "measured conjecture: a few random orders stand for all of them"
WITHIN = "measured conjecture: second moments grow within the horizon where what bounds their growth ends"
LAWS = "theory_lab, exact stationary laws"
ESTIMATOR = "theory_lab, exact moments of the two-point estimators"
STILL = 0.1  # of the way along its steepest direction: a block that covers less in all steps leaves the work to the others

MISSED = (
    "wherever the model reaches the accuracy, a block is still on its way, and where it then has the mean of the run the "
    "problem's own gradient is too large"
)


def tell(problem: Problem, sight: Sight, choice: Choice, key: jax.Array) -> Advice:
    """The advice with its reasons."""
    settings, law, sided = sight.settings, cast(Law, sight.settings.law), cast(Sided, sight.sided)
    constants = measured(problem, sight, key)
    promises = guaranteed(sight, constants, choice.steps)
    two = lambda: TwoPoint(sight.radius, settings.directions, law, sided)
    spent = {**sight.spent, "products": sight.spent["products"] + choice.products}
    cost = Hybrid({b: two() if b in settings.zeroth else FirstOrder() for b in settings.labels}).cost(sight.start)
    reasons = (
        *_step_sizes(sight, choice),
        *_limits(sight, choice),
        _steps(sight, choice),
        *_radius(sight),
        *_directions(sight, choice),
        _ordering(sight, choice),
        *_guarantees(promises, choice, sight),
        _cost(spent, cost, choice),
    )
    return Advice(
        step_sizes=choice.step_sizes,
        limits=choice.limits,
        steps=choice.steps,
        accuracy=sight.accuracy,
        radius=sight.radius,
        directions=settings.directions,
        law=law,
        sided=sided,
        ordering=settings.ordering,
        batch_size=settings.batch_size,
        cost=cost,
        spent=spent,
        constants=constants,
        zeroth=settings.zeroth,
        guaranteed=promises,
        reasons=reasons,
        along=choice.curve,
    )


def _step_sizes(sight: Sight, choice: Choice) -> Iterator[Reason]:
    goal = f"||grad f|| = {sight.accuracy:.3g}"
    alike = f", up to {ALIKE:.0%}: in the middle of what is as fast" if isinstance(sight.timing, Local) else ""
    ends, them = ("all step sizes together end", "them") if len(choice.step_sizes) > 1 else ("it ends", "it")
    half = f"{HALF:.2g} of where {ends}, at which the mode that ends {them} falls fastest"
    grows = (
        ""
        if sight.beyond == 1
        else f"; curvature grows {sight.beyond:.3g} times beyond the start, which leaves that much room"
    )
    for label, eta in choice.step_sizes.items():
        name, limit = f"step size of {label}", choice.limits[label].value
        if eta == 0:
            why = f"undecided: {nothing(sight.negative(label))}, so nothing limits or times its steps; it stands still"
            yield Reason(
                name, 0.0, "measured", why, "curvature in this block, such as regularisation, or a step size of your own"
            )
            continue
        share = f"{eta / limit:.2g} of its limit {limit:.4g}"
        if math.isfinite(choice.steps):
            why = f"{share}: second moments reach {goal} in the fewest steps{alike}{_too_long(sight, choice)}; "
            why += f"their floor is {choice.floor:.3g} there{grows}"
            way = eta * sight.top(label) * choice.steps  # 1 - exp(-way) of it is covered at most
            if way < STILL and choice.steps > 0 and len(choice.step_sizes) > 1:
                why += f"; in those steps it covers {way:.2g} of its way at most: the other blocks bring the gradient down"
            changes = "another accuracy (where the floor binds, a lower one asks for smaller steps), curvature that grows"
        elif math.isinf(choice.steps):
            why = f"{share}; {half}: on the local model no step size reaches {goal}{grows}"
            changes = "an accuracy that rounding and flat directions leave within reach, higher precision"
        elif choice.missed:
            why = f"{share}; {half}: {MISSED}, so no time is predicted{grows}"
            changes = "parameters nearer a minimum, a higher accuracy; a grid of a few multiples of it"
        else:
            why = f"{share}; {half}: curvature is negative wherever was looked, so no time is predicted{grows}"
            changes = "parameters nearer a minimum; a grid of a few multiples of it, run for some hundred steps"
        yield Reason(name, eta, RECURSION, why, changes)


def _limits(sight: Sight, choice: Choice) -> Iterator[Reason]:
    points = ", ".join(dict.fromkeys(view.name for view in sight.views))
    for label, limit in choice.limits.items():
        name, top = f"limit of the step size of {label}", sight.top(label)
        if top == 0:
            yield Reason(name, limit.value, "measured", limit.note, "positive curvature in this block")
            continue
        seen = f"largest curvature {top:.4g}"
        if label in sight.settings.zeroth:
            trace = max(view.traces(label)[0] for view in sight.views)
            seen += f", trace {trace:.4g} (effective rank {trace / top:.3g})"
        if (negative := sight.negative(label)) < -NEGATIVE * top:
            seen += f"; negative curvature, down to {negative:.4g}, is left out"
        if limit.low < limit.high:
            certified = math.isnan(choice.together)
            least = "the certified largest curvature" if certified else "an estimate of where the ray of all step sizes ends"
            seen += f"; at most {limit.high:.3g} by the certified largest curvature"
            seen += f", at least {limit.low:.3g} by {least}" if limit.low > 0 else ", no lower end where components differ"
        why = f"beyond it second moments grow, the other step sizes as advised ({choice.method}; {points}): {seen}"
        alone = choice.alone[label]
        why += f"; alone it would be {alone:.4g}" if math.isfinite(alone) and len(choice.limits) > 1 else ""
        zeroth = label in sight.settings.zeroth
        changes = "more directions" if zeroth else "larger minibatches, where components' curvatures differ"
        if math.isinf(sight.settings.horizon):
            changes += "; a horizon: it holds for ever"
        elif label in choice.longer and not choice.method.startswith(ALONG):
            changes += f"; the horizon: within four times as many steps the limit alone is {choice.longer[label]:.2g} of it"
        yield Reason(name, limit.value, _statement(sight, choice), why, changes)


def _statement(sight: Sight, choice: Choice) -> str:
    """What a limit rests on."""
    if choice.method.startswith(ALONG):
        return CONJECTURE
    return STABILITY if math.isinf(sight.settings.horizon) else WITHIN


def _steps(sight: Sight, choice: Choice) -> Reason:
    norm = f"||grad f|| = {sight.ahead.gradient_norm:.3g}"
    best = "the start, below which the look-ahead found nothing" if sight.stays else "the best point found"
    if sight.timing is None:
        why = (
            f"undecided: at {best}, {norm}, the Hessian has negative curvature: the loss falls along it ever "
            "faster, until curvature changes, and how soon that is no second derivative tells"
        )
        return Reason("steps", choice.steps, RECURSION, why, "parameters nearer a minimum")
    if not any(choice.step_sizes.values()):
        why = "undecided: no curvature was measured in any block, so nothing moves"
        return Reason("steps", choice.steps, "measured", why, "parameters where the loss is curved")
    if choice.missed:
        return Reason("steps", choice.steps, RECURSION, f"undecided: {MISSED}", "parameters nearer a minimum")
    way = "the Hessian averaged over the way to" if sight.averaged else "the Hessian at"
    if sight.last.name == "the start" and not sight.stays:
        return Reason(
            "steps", choice.steps, RECURSION,
            "second moments of a local model of the start, from ||grad f|| = "
            f"{sight.gradient_norm:.3g} to {sight.accuracy:.3g}: at the look-ahead point something is not finite",
            "a loss that is twice differentiable on the way",
        )  # fmt: skip
    rests = (
        ", and for what noise makes the Hessian there, where its floor is the larger" if sight.resting is not None else ""
    )
    end = "the look-ahead point" if sight.ahead.reached and not sight.stays else best
    why = f"second moments of a local model, which has {way} {end} ({norm}) and the noise there{rests}, from ||grad f|| = "
    why += f"{sight.gradient_norm:.3g} to {sight.accuracy:.3g}{_too_long(sight, choice)}"
    return Reason("steps", choice.steps, RECURSION, why, "a nearer start, another accuracy, less noise (larger minibatches)")


def _too_long(sight: Sight, choice: Choice) -> str:
    """What to say where the accuracy lies beyond the horizon."""
    horizon = sight.settings.horizon
    if not horizon < choice.steps < math.inf:
        return ""
    return f", {choice.steps:.3g}: beyond the horizon of {horizon:.0f}, within which it is not reached"


def _radius(sight: Sight) -> Iterator[Reason]:
    if sight.settings.zeroth:
        worst = max(law.error(sight.radius) for law in sight.radius_laws.values())
        why = f"smoothing and rounding cost an estimate {worst:.3g} together, against an accuracy of {sight.accuracy:.3g}"
        changes = "another precision, another level of f" + ("" if sight.sided == 2 else ", two-sided differences")
        yield Reason("radius", sight.radius, "theory_lab, law of the radius", why, changes)


def _directions(sight: Sight, choice: Choice) -> Iterator[Reason]:
    q = sight.settings.directions
    for label, (now, doubled) in choice.doubled.items():
        evaluations = (2 * q + 1) / (q + 1) if sight.sided == 1 else 2.0
        why = (
            f"as asked: {2 * q} would raise the limit of {label} alone from {now:.4g} to {doubled:.4g}, {doubled / now:.3g} "
        )
        why += f"times, for {evaluations:.3g} times the evaluations"
        yield Reason("directions", q, STABILITY, why, "evaluations that run side by side: then more directions cost no time")


def _ordering(sight: Sight, choice: Choice) -> Reason:
    settings = sight.settings
    n, name = settings.groups, settings.ordering
    if n == 1:
        return Reason("ordering", name, LAWS, "as asked: there is one component or minibatch, so no ordering matters")
    first = [b for b in settings.labels if b not in settings.zeroth]
    x = min(max((choice.step_sizes[b] * sight.top(b) for b in first), default=0.0), 1.999)
    parts = []
    if x > 0:
        ratio = reshuffling.reshuffling_ratio(x, 1.0, n)
        parts.append(
            f"reshuffled, the components' noise has {ratio:.3g} times the variance of drawing with replacement in the "
            f"steepest first-order direction (eta h = {x:.3g}, n = {n})"
        )
    for label in settings.zeroth:
        size = settings.sizes[settings.labels.index(label)]
        kept = (
            reshuffling.zeroth_order_ratio_limit(size, directions=settings.directions, law=settings.law) if size > 1 else 0.0
        )
        parts.append(f"in {label}, where directions make the noise, no ordering takes away more than {1 - kept:.2g} of it")
    if name == "incremental":
        parts.append(
            "a fixed order shifts the end point by up to the order of eta n h, which no number of epochs takes away"
        )
    changes = "eta h above 1, where reshuffling is the noisier order" if x > 0 else ""
    return Reason("ordering", name, LAWS, "as asked: " + "; ".join(parts), changes)


def _guarantees(promises: Mapping[str, Mapping[Label, float]], choice: Choice, sight: Sight) -> Iterator[Reason]:
    looks = len({view.name for view in sight.views})
    of = f" of {FEW} components" if isinstance(sight.last, SpectralView) and sight.settings.components > FEW else ""
    for name, values in promises.items():
        told = ", ".join(f"{label}: {value:.4g}" for label, value in values.items())
        shares = ", ".join(f"{choice.step_sizes[label] / value:.3g}" for label, value in values.items() if value > 0)
        why = (
            f"what is below is safe at radius 0 if what was measured{of} at {looks} point{'s' if looks > 1 else ''} held "
            f"everywhere, which no measurement shows; the advised step sizes are {shares} times as large"
        )
        changes = "constants that are known to hold everywhere"
        yield Reason(f"by {name.removeprefix('theory_lab, ')}", told, name, why, changes)


def _cost(products: Mapping[str, int], cost: Cost, choice: Choice) -> Reason:
    spent = ", ".join(f"{number} {what}" for what, number in products.items())
    total = "no total is predicted"
    if math.isfinite(choice.steps):
        total = f"{choice.steps * cost.values:.4g} evaluations and {choice.steps * cost.gradients:.4g} gradients in all"
    value = f"{cost.values} evaluations, {cost.gradients} gradients"
    return Reason(
        "cost of a step", value, ESTIMATOR, f"{total}; advising took {spent}", "more directions, two-sided differences"
    )
