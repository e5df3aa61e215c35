r"""Theorem 1: robustness to l_inf noise and robustness to l_1 noise are mutually exclusive.

On D_B (`BernoulliFeature`), let S_inf be the l_inf ball of radius 2 eta and S_1 the l_1 ball of radius 2. Then every
classifier f has R_avg(f; S_inf, S_1) ≥ 1/2, with equality if f is constant.

Proof. Against label y, the l_1 adversary flips the strong feature, r_1 = (-2 x_0, 0, .., 0), and the l_inf adversary
flips the weak ones, r_inf = (0, -2 eta y, .., -2 eta y). Both are admissible. Then x + r_1 given y has the law of
x + r_inf given -y: both are "x_0 from the other label, the weak features from the one that was attacked". On a common
law, f cannot be right for both labels: P[f(x + r_1) ≠ y | y] + P[f(x + r_inf) ≠ -y | -y] = 1. The average over y gives
R_avg ≥ 1/2. A constant f errs on one label, whatever the noise.

`radius` is the l_1 radius, and radius·eta the l_inf radius.
"""

from fractions import Fraction
from functools import partial
from itertools import product
from math import inf, sqrt

import numpy as np
import sympy as sp
from scipy.integrate import quad
from scipy.special import ndtr

from tradeoff.perturbations import L1, Linf
from tradeoff.theory.distributions import BernoulliFeature
from tradeoff.theory.intervals import ball, exceeds, normal_cdf, risk_in_plane
from tradeoff.theory.theorem import FAILURE, Evidence, Theorem, around, hoeffding, proof

SIGNS = (1, -1)


def attacked_x_0(p0, y: int, flip) -> dict:
    """The law of x_0 - flip·x_0 given y, as {value: probability}, for floats, fractions and symbols alike.

    >>> attacked_x_0(0.75, 1, 2), attacked_x_0(0.75, 1, 1)
    ({-1: 0.75, 1: 0.25}, {0: 1.0})
    """
    law = {}
    for x_0 in SIGNS:
        value = x_0 - flip * x_0
        law[value] = law.get(value, 0) + (p0 if x_0 == y else 1 - p0)
    return law


def flips_give_one_law(flip) -> dict[str, bool]:
    """The steps of the proof after admissibility, for l_1 shifts -flip·x_0 and l_inf shifts -flip·eta·y."""
    p0, alpha, t = sp.Symbol("p0", positive=True), sp.Symbol("alpha", positive=True), sp.Symbol("t", real=True)
    d = sp.Symbol("d", positive=True, integer=True)
    total, squares = sp.symbols("sum_i squares", real=True)  # Σ t_i and Σ t_i²
    eta, flip = alpha / sp.sqrt(d), sp.nsimplify(flip)

    def weak_log_density(mean):  # of all d weak features at (t_1..t_d): Σ -(t_i - mean)²/2, for every d at once
        return -(squares - 2 * mean * total + d * mean**2) / 2 - d * sp.log(2 * sp.pi) / 2

    one_law, sum_to_one = True, True
    for y in SIGNS:
        # x + r moves the density along: its mean becomes mean + r. Given x_0 and y, the shifts do not depend on x_i.
        by_l1 = {v: (m, weak_log_density(y * eta)) for v, m in attacked_x_0(p0, y, flip).items()}
        by_linf = {
            v: (m, weak_log_density(-y * eta - flip * eta * -y)) for v, m in attacked_x_0(p0, -y, sp.Integer(0)).items()
        }
        one_law &= by_l1.keys() == by_linf.keys() and all(
            sp.simplify(by_l1[v][0] - by_linf[v][0]) == 0 and sp.expand(by_l1[v][1] - by_linf[v][1]) == 0 for v in by_l1
        )
        # The two error densities at a point (v, t_1..t_d) where f takes the value f_v in {-1, +1}, summed over v.
        errors, mass = sp.Integer(0), sp.Integer(0)
        for k, v in enumerate(sorted(by_l1.keys() | by_linf.keys())):
            f_v = sp.Symbol(f"f_{k}")
            (m_1, log_1), (m_inf, log_inf) = by_l1.get(v, (0, 0)), by_linf.get(v, (0, 0))
            errors += m_1 * sp.exp(log_1) * (1 - f_v * y) / 2 + m_inf * sp.exp(log_inf) * (1 + f_v * y) / 2
            mass += m_1 * sp.exp(log_1)
        sum_to_one &= sp.simplify(sp.expand(errors - mass)) == 0
    normal = sp.exp(-((t - eta) ** 2) / 2) / sp.sqrt(2 * sp.pi)
    half = sp.Rational(1, 2)
    e_plus, e_minus = sp.symbols("e_plus e_minus")  # P[f(x + r_1) ≠ y | y]
    average = ((e_plus + e_minus) / 2 + ((1 - e_minus) + (1 - e_plus)) / 2) / 2
    return {
        "law(x + r_1 | y) = law(x + r_inf | -y), coordinate by coordinate": one_law,
        "the two error densities add up to that law whatever f is": sum_to_one,
        "which has mass one": sp.simplify(sp.integrate(normal, (t, -sp.oo, sp.oo))) == 1
        and all(sp.simplify(sum(attacked_x_0(p0, y, flip).values())) == 1 for y in SIGNS),
        "so R_avg ≥ 1/2": sp.expand(average) == half,
        "a constant f has 1/2": all(sum(half for y in SIGNS if f != y) == half for f in SIGNS),
    }


def symbolic(radius: float = 2.0) -> Evidence:
    """Each step of the proof in sympy, for every p0, alpha > 0 and d ≥ 1."""
    alpha, x_0 = sp.Symbol("alpha", positive=True), sp.Symbol("x_0", real=True)
    d = sp.Symbol("d", positive=True, integer=True)
    eta, budget = alpha / sp.sqrt(d), sp.nsimplify(radius)
    return proof(
        {
            "r_1 is admissible": all(budget - sp.Abs(-2 * x_0).subs(x_0, v) >= 0 for v in SIGNS),
            "r_inf is admissible": all(sp.simplify((budget * eta - sp.Abs(-2 * eta * y)) / eta) >= 0 for y in SIGNS),
            # What the budget allows of the two flips: admissible by construction, so that the law is tested as well.
            **flips_give_one_law(min(radius, 2.0)),
        }
    )


SETTINGS = tuple(BernoulliFeature(*row) for row in ((2.0, 100, 0.9), (1.0, 25, 0.5), (3.0, 784, 0.99), (0.25, 1, 0.75)))


def numeric(radius: float = 2.0) -> Evidence:
    """Total variation by quadrature, and exact risks of linear and of nonlinear classifiers. Rounding is ≤ 1e-12.

    With TV the distance in (x_0, T), T = Σ x_i/√d, between the attacked laws of the proof, R_avg ≥ (1 - TV)/2.
    """
    bound = min((1 - _total_variation(dist, min(radius, 2.0))) / 2 for dist in SETTINGS)
    rng = np.random.default_rng(0)
    linear, bent, count = [], [], 0
    for dist in SETTINGS:
        weights, offsets = _linear_classifiers(dist, rng)
        risks = np.array([dist.linear_risk(weights, S, offsets) for S in (Linf(radius * dist.eta), L1(radius))])
        linear.append(risks.mean(axis=0))
        bent.append(_threshold_risks(dist, radius))
        count += len(weights)
    least_linear, least_bent = min(r.min() for r in linear), min(r.min() for r in bent)
    constant = max(np.abs(r[:2] - 0.5).max() for r in linear)  # rows 0 and 1 are the constants
    values = {
        "(1 - TV)/2": max(bound, 0.0),
        "linear classifiers": count,
        "R_avg of linear classifiers, least": least_linear,
        "R_avg of linear classifiers but constants, least": min(r[2:].min() for r in linear),
        "threshold rules": sum(r.size for r in bent),
        "R_avg of threshold rules, least": least_bent,
    }
    return Evidence(
        bound >= 0.5 - 1e-12 and least_linear >= 0.5 - 1e-12 and least_bent >= 0.5 - 1e-12 and constant == 0,
        "(1 - TV)/2 = {:.12f}; least R_avg of {} linear classifiers {:.12f} (but for the constants {:.6f}), of {} "
        "threshold rules {:.12f}".format(*values.values()),
        values,
    )


def _total_variation(dist: BernoulliFeature, flip: float) -> float:
    """The larger over y of TV between (x_0, T) attacked by l_1 given y and attacked by l_inf given -y."""
    worst = 0.0
    for y in SIGNS:
        by_l1, by_linf = attacked_x_0(dist.p0, y, flip), attacked_x_0(dist.p0, -y, 0.0)
        center_1 = y * dist.alpha
        center_inf = -y * dist.alpha + y * flip * dist.eta * sqrt(dist.d)

        def gap(t, a, b, m=center_1, k=center_inf):
            return abs(a * np.exp(-((t - m) ** 2) / 2) - b * np.exp(-((t - k) ** 2) / 2)) / sqrt(2 * np.pi)

        wide, middle = dist.alpha + 12, (center_1 + center_inf) / 2
        total = sum(
            quad(gap, -wide, wide, args=(by_l1.get(v, 0.0), by_linf.get(v, 0.0)), points=[middle], limit=200)[0]
            for v in by_l1.keys() | by_linf.keys()
        )
        worst = max(worst, total / 2)
    return worst


def _linear_classifiers(dist: BernoulliFeature, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Weights (batch, d+1) and offsets: the constants; sign(c x_0 + Σ x_i) for 100 c up to ∞; random ones."""
    n = dist.d + 1
    constants = np.zeros((2, n))
    mixed = np.ones((101, n))
    mixed[:, 0] = np.r_[0.0, sqrt(dist.d) * np.geomspace(1e-3, 1e3, 99), 1.0]
    mixed[-1, 1:] = 0.0  # sign(x_0)
    dense = rng.normal(size=(400, n)) + rng.exponential(2.0, (400, 1))
    sparse = dense * (rng.random((400, n)) < 0.05)
    weights = np.concatenate([constants, mixed, mixed, dense, sparse])
    offsets = np.concatenate([[1.0, -1.0], np.zeros(101), rng.normal(0, 1, 101) * sqrt(dist.d), rng.normal(0, 9, 800)])
    return weights, offsets


def _threshold_risks(dist: BernoulliFeature, radius: float) -> np.ndarray:
    """R_avg of the rules "+ iff T > t_s, s the sign of x_0", for a grid of (t_+, t_-), in closed form.

    l_inf moves T by radius·alpha and, for radius·eta < 1, cannot change the sign of x_0. l_1 moves T by radius/√d, or
    pays 1 to bring x_0 to the other side of zero and moves T by what is left.
    """
    grid = np.linspace(-8, 8, 81)
    t = dict(zip(SIGNS, np.meshgrid(grid, grid), strict=True))
    reach_inf = radius * dist.alpha
    reach, reach_after_flip = radius / sqrt(dist.d), (radius - 1) / sqrt(dist.d)
    risk = np.zeros_like(t[1])
    for y, s in product(SIGNS, SIGNS):
        stay, cross = y * t[s], y * t[-s]
        forced_inf = stay + reach_inf if radius * dist.eta < 1 else np.maximum(stay, cross) + reach_inf
        forced_1 = np.maximum(stay + reach, cross + reach_after_flip) if radius >= 1 else stay + reach
        weight = (dist.p0 if s == y else 1 - dist.p0) / 2
        risk = risk + weight * (ndtr(forced_inf - dist.alpha) + ndtr(forced_1 - dist.alpha)) / 2
    return risk


def simulated(radius: float = 2.0, n: int = 50_000, seed: int = 1) -> Evidence:
    """The adversaries of the proof against classifiers of every kind, on samples: the mean error is 1/2 for each.

    The intervals (Hoeffding) all hold together with probability at least 1 - 1e-9.
    """
    dist, rng = BernoulliFeature(alpha=2.0, d=36, p0=0.9), np.random.default_rng(seed)
    x, y = dist.sample(n, rng)
    flip = min(radius, 2.0)
    r_1, r_inf = np.zeros_like(x), np.zeros_like(x)
    r_1[:, 0] = -flip * x[:, 0]
    r_inf[:, 1:] = -flip * dist.eta * y[:, None]
    admissible = bool(L1(radius).contains(r_1).all() and Linf(radius * dist.eta).contains(r_inf).all())
    classifiers = _classifiers(dist, rng)
    width = hoeffding(n, len(classifiers), FAILURE)
    clean = [np.mean(f(x) != y) for f in classifiers]
    average = np.array([(np.mean(f(x + r_1) != y) + np.mean(f(x + r_inf) != y)) / 2 for f in classifiers])
    return Evidence(
        admissible and bool(np.all(np.abs(average - 0.5) <= width)),
        f"{len(classifiers)} classifiers with clean errors {min(clean):.4f} to {max(clean):.4f} have R_avg "
        f"{average.min():.4f} to {average.max():.4f} under the two flips (0.5 ± {width:.4f}, failure ≤ 1e-9)",
        {
            "classifiers": len(classifiers),
            "clean error, least": min(clean),
            "clean error, greatest": max(clean),
            "R_avg, least": around(average.min(), width),
            "R_avg, greatest": around(average.max(), width),
        },
        FAILURE,
    )


def _classifiers(dist: BernoulliFeature, rng: np.random.Generator) -> list:
    """Functions (n, d+1) -> {-1, +1}^n: linear, thresholds, nets, trees, nearest neighbours, and a wild one."""
    size = dist.d + 1

    def sign(score):
        return np.where(score > 0, 1.0, -1.0)

    def net():
        a, b, c = rng.normal(size=(size, 16)), rng.normal(size=16), rng.normal(size=16)
        return lambda x: sign(np.tanh(x @ a + b) @ c)

    def tree(depth=6):
        features, cuts = rng.integers(0, size, 2**depth), rng.normal(0, 0.7, 2**depth)
        leaves = rng.choice(SIGNS, 2**depth)

        def label(x):
            node = np.ones(len(x), dtype=int)
            for _ in range(depth):
                node = 2 * node + (x[np.arange(len(x)), features[node]] > cuts[node])
            return leaves[node - 2**depth].astype(float)

        return label

    bayes = np.full(size, 2 * dist.eta)
    bayes[0] = np.log(dist.p0 / (1 - dist.p0))
    seen, labels = dist.sample(50, rng)
    return [
        lambda x: np.ones(len(x)),
        lambda x: sign(x[:, 0]),
        lambda x: sign(x[:, 1:].sum(axis=1)),
        lambda x: sign(x @ bayes),
        lambda x: sign(x[:, 1:].sum(axis=1) / sqrt(dist.d) + np.where(x[:, 0] > 0, 1.5, -1.5)),
        lambda x: labels[np.argmin((seen**2).sum(axis=1) - 2 * x @ seen.T, axis=1)],
        lambda x: 1.0 - 2.0 * (np.floor(10 * (x**2).sum(axis=1)) % 2),
        *(net() for _ in range(6)),
        *(tree() for _ in range(6)),
    ]


EXACT_SETTINGS = tuple(BernoulliFeature(*row) for row in ((2.0, 64, 0.875), (1.5, 16, 0.75), (3.0, 1024, 0.5)))


def certified(radius: float = 2.0) -> Evidence:
    """Ball arithmetic: the total-variation bound, exact for dyadic alpha, p0 and a square d; and a continuum of f.

    ∫ min(a φ(t - m), a' φ(t - m')) dt ≥ min(a, a')·2Φ(-|m - m'|/2) bounds 1 - TV from below. The linear classifiers
    sign(c x_0 + Σ x_i/√d) have R_avg > 1/2 for every real c in [0, 4].
    """
    overlaps, pieces, covered = [], 0, True
    for dist in EXACT_SETTINGS:
        eps_1, eps_inf = ball(radius), ball(radius) * ball(dist.alpha) / ball(dist.d).sqrt()
        overlaps.append(_overlap(dist, min(Fraction(radius), Fraction(2))) / 2)

        def average_risk(lo, hi, dist=dist, eps_1=eps_1, eps_inf=eps_inf):
            by_linf, by_l1 = risk_in_plane(dist, inf, eps_inf, lo, hi), risk_in_plane(dist, Fraction(1), eps_1, lo, hi)
            return (by_linf + by_l1) / 2

        holds, used = exceeds(average_risk, ball(0.5), Fraction(0), Fraction(4))
        covered, pieces = covered and holds, pieces + used
    return Evidence(
        covered and all(overlap >= 0.5 for overlap in overlaps),
        f"R_avg ≥ (1 - TV)/2 ≥ {min(float(o.lower()) for o in overlaps)} in {len(overlaps)} settings; "
        f"sign(c x_0 + T): {'R_avg > 1/2 for all c in [0, 4]' if covered else 'not above 1/2'} ({pieces} pieces)",
        {
            **{
                f"(1 - TV)/2, bound (alpha={dist.alpha:g}, d={dist.d}, p0={dist.p0:g})": overlap
                for dist, overlap in zip(EXACT_SETTINGS, overlaps, strict=True)
            },
            "pieces": pieces,
        },
        failure=0.0,
    )


def _overlap(dist: BernoulliFeature, flip: Fraction):
    """An enclosure of a lower bound on 1 - TV between the two attacked laws, averaged over y."""
    p0, alpha = Fraction(dist.p0), ball(dist.alpha)
    total = ball(0)
    for y in SIGNS:
        by_l1, by_linf = attacked_x_0(p0, y, flip), attacked_x_0(p0, -y, Fraction(0))
        weak_shift = y * ball(flip) * (alpha / ball(dist.d).sqrt()) * ball(dist.d).sqrt()
        distance = abs(y * alpha - (-y * alpha + weak_shift))
        for v in by_l1.keys() & by_linf.keys():
            total += ball(min(by_l1[v], by_linf[v])) * 2 * normal_cdf(-distance / 2)
    return total / 2


THEOREM = Theorem(
    "thm1-linf-l1",
    "Tramèr & Boneh 2019, Theorem 1",
    r"On $\mathcal{D}_B$ with $\epsilon_\infty = 2\eta$, $\epsilon_1 = 2$: "
    r"$R_{avg}(f; S_\infty, S_1) \ge 1/2$ for every $f$",
    (symbolic, numeric, simulated, certified),
    breaks={"radius": 1.0},
    thorough={"larger sample": partial(simulated, n=500_000)},
)
