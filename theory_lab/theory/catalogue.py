"""Every statement that this project stands for: what it says, what kind of number it gives, where it is written down.

The name of a statement is what claims give as their source; by it the report joins statements and verdicts. What is proved
is proved in the docstrings of the modules named here, or cited there; what was recalled from the literature without the
text at hand says so. A statement that no experiment confronts says why.
"""

from dataclasses import dataclass
from typing import Literal

from theory_lab import _checks
from theory_lab.theory.base import KINDS, Kind

Standing = Literal["proved", "derived", "sketched", "recalled", "measured", "published"]
STANDINGS = ("proved", "derived", "sketched", "recalled", "measured", "published")


@dataclass(frozen=True)
class Statement:
    """One statement.

    Attributes:
        name: what a claim names as its source.
        says: the statement in one sentence.
        kind: "exact", "upper bound", "lower bound", "measured conjecture" or "exponents only".
        standing: "proved" or "derived" here, "sketched" (an argument, no full proof), "recalled" from the literature and not
            re-read, "measured" only, or "published" without constants.
        where: modules and functions of `theory_lab` that state and compute it.
        untested: why no experiment confronts it; empty where one does.
    """

    name: str
    says: str
    kind: Kind
    standing: Standing
    where: tuple[str, ...]
    untested: str = ""

    def __post_init__(self) -> None:
        _checks.choice("kind", self.kind, KINDS)
        _checks.choice("standing", self.standing, STANDINGS)


def _own(name: str, says: str, kind: Kind, standing: Standing, *where: str, untested: str = "") -> Statement:
    return Statement(
        f"theory_lab, {name}",
        says,
        kind,
        standing,
        tuple(w if w.startswith(("problems.", "theory.")) else f"theory.{w}" for w in where),
        untested,
    )


STATEMENTS: tuple[Statement, ...] = (
    # The estimator.
    _own(
        "exact moments of the two-point estimators",
        "E ghat, E|ghat|^2 and E ghat ghat' on quadratics, for three laws, any radius and number of directions",
        "exact",
        "proved",
        "moments",
        "moments.covariance_map",
        "moments.second_moment",
    ),
    _own(
        "Theorem 3",
        "bias and second moment of the two-point estimate under L_x and effective rank r, with the largest radius",
        "upper bound",
        "proved",
        "moment_bounds",
        "moment_bounds.second_moment_bound",
        "moment_bounds.bias_bound",
    ),
    _own(
        "law of the radius",
        "the squared error of an estimate is smoothing + rounding; the optimal radius and its floor in floating point",
        "exact",
        "derived",
        "rounding",
        "rounding.one_sided_law",
        "rounding.two_sided_law",
    ),
    # With replacement.
    _own(
        "Theorem 1",
        "hybrid SGD with replacement: average of sum C_b eta_b ||grad_b f||^2 <= gap/K + N; an identity where "
        "the Hessian is diag(L_x I, L_y I)",
        "upper bound",
        "proved",
        "with_replacement",
        "with_replacement.with_replacement_bound",
    ),
    _own(
        "Corollary 1a",
        "Theorem 1 with clean constants",
        "upper bound",
        "proved",
        "clean",
        "clean.with_replacement_clean_bound",
    ),
    _own(
        "Corollary 1b",
        "Theorem 1 at tuned step sizes: eps^-4 with kappa L_x sigma_x^2 alone in front",
        "upper bound",
        "proved",
        "tuned",
        "tuned.with_replacement_tuned",
    ),
    _own(
        "Corollary 1c",
        "Theorem 1 under noise that grows with f - f*",
        "upper bound",
        "proved",
        "growing_noise",
        "growing_noise.with_replacement_growing_bound",
    ),
    # Random reshuffling.
    _own(
        "Theorem 2",
        "hybrid SGD with random reshuffling: direction noise of first order in eta_x, data noise of third",
        "upper bound",
        "proved",
        "without_replacement",
        "without_replacement.reshuffling_bound",
    ),
    _own(
        "Corollary 2a",
        "Theorem 2 with clean constants: alpha <= 1/(4n), alpha_x kappa' <= 1/8",
        "upper bound",
        "proved",
        "clean",
        "clean.reshuffling_clean_bound",
    ),
    _own(
        "Corollary 2b",
        "Theorem 2 without a zeroth-order block",
        "upper bound",
        "proved",
        "clean",
        "clean.first_order_clean_bound",
    ),
    _own("Corollary 2c", "Theorem 2 at tuned step sizes", "upper bound", "proved", "tuned", "tuned.reshuffling_tuned"),
    _own(
        "Theorem H",
        "hybrid SGD with random reshuffling in closed form: n d_x becomes max(n, d_x)",
        "upper bound",
        "proved",
        "clean.theorem_h_bound",
    ),
    _own(
        "Proposition C",
        "convex components under reshuffling: distance to the minimiser, step sizes free of n",
        "upper bound",
        "proved",
        "convex",
        "convex.convex_bound",
    ),
    _own(
        "first-order reshuffling",
        "nonconvex reshuffling with explicit constants, and its Polyak-Lojasiewicz version",
        "upper bound",
        "proved",
        "first_order",
        "first_order.reshuffling_bound",
        "first_order.reshuffling_pl_bound",
    ),
    _own(
        "exact quadratic average",
        "the average of |f'|^2 of SGD with replacement on a quadratic; 1/(2 - eta h) of the bound",
        "exact",
        "proved",
        "first_order.with_replacement_average",
    ),
    _own(
        "exact stationary laws",
        "floors of the four orderings on shared curvature; reshuffling beats replacement exactly when eta h <= 1",
        "exact",
        "proved",
        "reshuffling",
        "reshuffling.stationary_variance",
    ),
    _own(
        "bias of reshuffling",
        "heterogeneous curvature moves the mean by -(eta/2) Hbar^-1 mean H_i g_i, free of n",
        "exact",
        "proved",
        "reshuffling_bias.reshuffling_bias",
        "reshuffling_bias.two_type_floor",
    ),
    _own(
        "zeroth-order reshuffling",
        "in a zeroth-order block reshuffling gains only (d+1)/(d+2)",
        "exact",
        "proved",
        "reshuffling.zeroth_order_variance",
        "reshuffling.zeroth_order_ratio_limit",
    ),
    _own(
        "rates of reshuffling",
        "on two types of components, at eta = log(nT)/(nT), squared bias and variance of reshuffling fall like T^-2 and "
        "T^-3 up to logarithms: the terms of the lower bound",
        "exact",
        "derived",
        "reshuffling_bias.two_type_floor",
        "reshuffling_bias.two_type_moments",
    ),
    # Unbounded curvature.
    _own(
        "Lemma 4.1",
        "on a sublevel set the gradient is bounded by sup{w: w^2 <= 2F l(w)}",
        "upper bound",
        "proved",
        "level_sets",
        "level_sets.grad_level_bound",
    ),
    _own(
        "Lemma 4.2",
        "a trust region around the sublevel set F stays within 4F",
        "upper bound",
        "proved",
        "level_sets",
        "level_sets.trust_region",
    ),
    _own(
        "Theorem 4",
        "hybrid SGD stays in its sublevel set with probability 1 - delta under generalised smoothness, and converges there",
        "upper bound",
        "proved",
        "high_probability",
        "high_probability.reshuffling_high_probability",
        "high_probability.with_replacement_high_probability",
    ),
    _own(
        "delta-dependence of the smoothness",
        "l ~ u^p on the level set of 2 gap/delta gives L ~ delta^(-p/(2-p))",
        "exact",
        "derived",
        "level_sets.power_law",
    ),
    _own(
        "certified minimum",
        "with strong convexity lambda f(z) - f* <= |grad f(z)|^2/(2 lambda), which certifies the minimum",
        "upper bound",
        "proved",
        "problems.logistic.logistic",
    ),
    _own(
        "growth functions",
        "the curvature of cosh, exponential and power objectives is bounded by their l(u), with equality somewhere",
        "exact",
        "proved",
        "problems.generalized.Profile",
    ),
    _own(
        "no global growth function",
        "matrix factorisation (LoRA) satisfies no growth condition globally, and one on every sublevel set",
        "exact",
        "proved",
        "problems.factorisation",
        "theory.factorisation",
        "theory.factorisation.sublevel_smoothness",
    ),
    # Quadratics.
    _own(
        "Theorem 5",
        "the exact second-moment recursion of hybrid SGD on quadratics, with replacement and reshuffled",
        "exact",
        "proved",
        "dynamics",
        "heterogeneous",
        "block_pairs",
    ),
    _own(
        "Theorem 5, stability",
        "the mean-square stable step sizes: secular equation, coupled operator",
        "exact",
        "proved",
        "quadratic.step_size_limit",
        "quadratic.is_stable",
        "stability_region.step_size_boundary",
    ),
    _own(
        "Theorem 5, box",
        "hybrid smoothness alone gives the stable box eta_x <= 2/(L_x (d_x+2)), eta_y <= 2/L_y",
        "upper bound",
        "proved",
        "stability_region.hybrid_smoothness_box",
    ),
    _own(
        "one-step change",
        "E f(z+) - f(z) on a quadratic",
        "exact",
        "proved",
        "dynamics.one_step_change",
        untested="an identity: the tests average over the directions exactly",
    ),
    _own(
        "zeroth-order floor",
        "the stationary second moment of a zeroth-order block",
        "exact",
        "proved",
        "dynamics.zeroth_order_floor",
    ),
    _own(
        "almost-sure threshold",
        "between the mean-square limit and this one the mean grows while almost every run converges",
        "exact",
        "derived",
        "kesten.almost_sure_limit",
        "kesten.lyapunov_exponent",
        untested="no run here exceeds the mean-square limit for long; the tests sample the lengths of single steps",
    ),
    _own(
        "coupled limits",
        "coupling bends the stable region of the two step sizes; on every ray through 0 it is an interval",
        "exact",
        "proved",
        "stability_region",
    ),
    _own(
        "order of updates",
        "one block after the other: stable regions and floors of four orders, and a box that no coupling shrinks",
        "exact",
        "proved",
        "update_order",
        "update_order.isotropic_pair",
        "update_order.sequential_box",
    ),
    _own(
        "indefinite components",
        "step limits under orderings: free of n if convex or commuting, n^-1/2 reshuffled, n^-1 in an adversarial order",
        "measured conjecture",
        "measured",
        "heterogeneous.step_size_limit",
    ),
    _own(
        "conservativeness",
        "by what factor the published box lies below the exact limit",
        "exact",
        "derived",
        "published.published_box",
        "quadratic.step_size_limit",
    ),
    # Hard instances.
    _own(
        "hard instance for the floor",
        "the reshuffling floor eta^2 n is attained by a one-sided quadratic",
        "measured conjecture",
        "sketched",
        "hard_instances",
        untested="simulated in the tests of the problem; the minimax instance stands on it",
    ),
    _own(
        "hard instance for reshuffling",
        "n^-1/3 T^-2/3 is attained over all constant steps",
        "lower bound",
        "sketched",
        "hard_instances",
    ),
    _own(
        "epochs to eps",
        "epochs that the published step size needs on a noise-free quadratic, by reading",
        "exact",
        "derived",
        "published.noise_free_average",
    ),
    _own(
        "dimension exponent",
        "isotropic zeroth-order steps grow like d; with decaying spectra like the effective rank",
        "exact",
        "derived",
        "quadratic.step_size_limit",
        "spectra",
    ),
    _own(
        "Kesten law",
        "the stationary law of zeroth-order SGD has a power tail, whose exponent solves an equation in eta h",
        "exact",
        "derived",
        "kesten",
    ),
    _own(
        "chain function",
        "the instance of the eps^-4 lower bound: large gradient until the last coordinate is reached",
        "lower bound",
        "recalled",
        "problems.chain.chain",
        "lower_bounds",
        untested="built and checked in the tests; plain SGD attains eps^-4 on quadratics already (rate_components)",
    ),
    # What the tests hold by themselves.
    _own(
        "estimates with a Lipschitz Hessian",
        "two-sided: bias mu^2 rho d/2 and remainder of order mu^4",
        "upper bound",
        "proved",
        "moment_bounds.central_bias_bound",
        "moment_bounds.central_remainder_bound",
        untested="the tests hold it on cubics; no problem here declares a Lipschitz constant of its Hessian",
    ),
    _own(
        "largest radius",
        "the radius at which smoothing costs at most eps^2 of the guaranteed accuracy",
        "upper bound",
        "proved",
        "moment_bounds.largest_radius",
        "tuned.reshuffling_radius",
        untested="the tests insert it into the theorems' bounds; smoothing_radius measures where rounding takes over",
    ),
    _own(
        "complexities",
        "steps and epochs after which Corollaries 1b and 2c promise accuracy eps",
        "upper bound",
        "proved",
        "tuned.with_replacement_complexity",
        "tuned.reshuffling_complexity",
        untested="the tests insert them into the corollaries, which rate_epochs confronts",
    ),
    _own(
        "growing noise, reshuffled",
        "Theorem 2 with the weights of Corollary 1c",
        "upper bound",
        "proved",
        "growing_noise.reshuffling_growing_bound",
        untested="the tests reduce it to Theorem 2 and to one epoch's noise; its twin with replacement is confronted",
    ),
    _own(
        "bracket of the noise gain",
        "S_0/q <= rho(G) <= 2 S_0/q for the operator whose radius decides stability",
        "upper bound",
        "proved",
        "quadratic.noise_gain_bracket",
        untested="the tests hold it against dense operators on random matrices",
    ),
    _own(
        "rank-one coupling",
        "the limit of eta_x in closed form where the coupling has rank one",
        "exact",
        "proved",
        "stability_region.rank_one_limit",
        untested="the tests hold it against the coupled operator; stability_map measures the operator's boundary",
    ),
    _own(
        "moments of the tail",
        "the moment of order s is finite up to the step size whose Kesten index is s; the fourth dies before the second",
        "exact",
        "derived",
        "kesten.kesten_index",
        untested="why error bars of mean squares need small steps; the tests hold the limits of fourth moments",
    ),
    _own(
        "exact hybrid smoothness",
        "block quadratics and the cosine problem whose diag(L_b I) dominates with equality, coupled blocks included",
        "exact",
        "proved",
        "problems.quadratic.block_quadratic",
        "problems.cosine",
        untested="the ground that the experiments stand on; the tests hold it against dense eigenvalues",
    ),
    # Smoothness, measured.
    Statement(
        "theory_lab, frontier of hybrid smoothness",
        "diag(L_x I, L_y I) dominates H exactly if L_y >= lambda_max(C + B'(L_x I - A)^-1 B); scaled for several blocks",
        "exact",
        "proved",
        ("measure.smoothness.dominance",),
    ),
    Statement(
        "theory_lab, two-sided smoothness",
        "a Hessian bounded above alone may have eigenvalues of -(n-1)L in a component though the mean is semidefinite: the "
        "drift within an epoch needs both sides",
        "exact",
        "derived",
        ("measure.smoothness.dominance",),
    ),
    Statement(
        "theory_lab, ends of a spectrum",
        "k products from a random start: Ritz values inside, outer ends that hold with a stated probability for all k at "
        "once, and nothing sharper follows",
        "upper bound",
        "proved",
        ("measure.smoothness.lanczos",),
    ),
    Statement(
        "theory_lab, error of Lanczos",
        "how close k products from a random start bring both Ritz values to the ends of any spectrum, in units of its width",
        "upper bound",
        "proved",
        ("measure.smoothness.overlap.relative_error",),
    ),
    Statement(
        "theory_lab, trace by probes",
        "Hutchinson's estimate of tr A by m random signs has variance 2(|A|_F^2 - sum a_ii^2)/m",
        "exact",
        "derived",
        ("measure.smoothness.traces.trace",),
    ),
    Statement(
        "theory_lab, spectral density by quadrature",
        "k Lanczos steps from random starts: unbiased for the moments of a spectrum up to 2k - 1, no further",
        "exact",
        "proved",
        ("measure.smoothness.density",),
    ),
    # Others.
    Statement(
        "published conditions",
        "eta_x <= O(1/(L_x n d_x)), eta_y <= O(1/(L_y n)) and T >= eps^-4/n, constants unknown",
        "exponents only",
        "published",
        ("theory.published",),
    ),
    Statement(
        "Nesterov & Spokoiny 2017, Theorem 4.2",
        "E|ghat|^2 <= (mu^2/2) L^2 (d+6)^3 + 2 (d+4)|g|^2",
        "upper bound",
        "recalled",
        ("theory.moment_bounds.nesterov_spokoiny_bound",),
    ),
    Statement(
        "Ghadimi & Lan 2013",
        "SGD with replacement: average of |grad f|^2 <= 2 gap/(eta K) + L eta sigma^2",
        "upper bound",
        "recalled",
        ("theory.first_order.with_replacement_bound",),
        "Theorem 1 without a zeroth-order block; bound_tightness measures its distance from the exact quadratic average",
    ),
    Statement(
        "Li, Qian, Tian, Rakhlin, Jadbabaie 2023",
        "on {f - f* <= F} |grad f| <= G = sup{u: u^2 <= 2F l(2u)}; descent with steps 1/l(2G) stays there",
        "upper bound",
        "recalled",
        ("theory.level_sets.li_grad_level_bound",),
    ),
    Statement(
        "Meyer, Musco, Musco, Woodruff 2021",
        "Hutch++: m products give the trace of a semidefinite matrix to a relative error of order 1/m, probes to m^-1/2",
        "exponents only",
        "recalled",
        ("measure.smoothness.traces.trace",),
    ),
    Statement(
        "Mishchenko et al. 2020",
        "reshuffling on convex and strongly convex components",
        "upper bound",
        "recalled",
        ("theory.recalled",),
        "computed beside our own bounds; the tests hold it against the exact laws on shared curvature",
    ),
    Statement(
        "Safran & Shamir 2020",
        "Omega(1/(nT)^2 + 1/(nT^3)) reshuffled, 1/(nT^2) shuffled once, 1/T^2 in a fixed order",
        "lower bound",
        "recalled",
        ("theory.lower_bounds",),
        "a bound over instances; rate_components measures the two-type instance, which attains both terms",
    ),
    Statement(
        "Arjevani et al. 2023",
        "Omega(eps^-4) stochastic gradients",
        "lower bound",
        "recalled",
        ("theory.lower_bounds",),
        "a bound over all methods: no run of one method can confront it",
    ),
    Statement(
        "Duchi, Jordan, Wainwright, Wibisono 2015",
        "two-point methods lose sqrt(d) in rate",
        "lower bound",
        "recalled",
        ("theory.lower_bounds",),
        "a bound over all methods: no run of one method can confront it",
    ),
)
OTHERS = ("folklore", "design aim", "measured conjecture")  # sources of claims that are no statements of the catalogue
