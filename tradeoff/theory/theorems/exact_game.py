r"""The exact value of the game on D_B: the least union or affine risk of any classifier, in closed form.

Let K be the set of the adversary in the plane (x_0, T) (`tradeoff.theory.game`): the union of l_p balls, or its convex
hull. With G_0 and G_2 the half-widths of K ⊕ K at the x_0-offsets 0 and 2 (-∞ if it does not reach), q = 1 - p0,
L = log(p0/q) and φ_2(u) = p0 Φ(u - α) + q Φ(G_0 - u - α), the least risk over all measurable f is

  V = min(½, φ_2(u)),  u = max(G_2/2, G_0/2 - L/(2α - G_0)) if G_0 < 2α, else G_2/2.

Proof. By the program of `tradeoff.theory.game`, V is the minimum of ½ [p0 (Φ(M_+ - α) + Φ(N_+ - α)) + q (Φ(M_- - α) +
Φ(N_- - α))] subject to M_± + N_± ≥ G_2 and M_± + N_∓ ≥ G_0. M = N = (u, G_0 - u) for u ≥ G_2/2 (as K is symmetric and
each S_i ⊕ S_j convex, G_2 ≤ G_0) and the constant classifier give V ≤ the right side. For ≥, use N_- ≥ G_0 - M_+ and
M_- ≥ G_0 - N_+: twice the risk is at least φ_2(M_+) + φ_2(N_+), where M_+ + N_+ ≥ G_2. The two terms of φ_2' have a
ratio whose logarithm is linear in u with slope 2α - G_0, so that φ_2' changes sign at most once.
(1) G_0 < 2α: φ_2 falls to its minimum u* = G_0/2 - L/(2α - G_0) and rises. If u* ≥ G_2/2, the bound is 2 φ_2(u*). If
not, the larger of the two, above u*, may be lowered until the sum is G_2.
(2) G_0 ≥ 2α: φ_2 rises from q and then falls to p0; so the larger is lowered until the sum is G_2, or sent to infinity,
where twice the risk is ≥ q + p0 = 1.
There remains h(τ) = φ_2(G_2/2 - τ) + φ_2(G_2/2 + τ), τ ≥ 0; if G_2 ≥ 2α it is at least 1, each source alone giving
Φ(a) + Φ(b) ≥ 1 for a + b ≥ 0. Else with x_1 = α - G_2/2 > 0, x_2 = G_0 - α - G_2/2 and k(x, τ) = φ(x - τ) - φ(x + τ) =
2 φ(x) e^{-τ²/2} sinh(xτ), h' = p0 k(x_1, τ) - q k(x_2, τ). The ratio sinh(x_2 τ)/sinh(x_1 τ) is monotone in τ: if
x_2 ≤ x_1 (G_0 ≤ 2α) it falls, and h'(0+) ≥ 0 as G_2/2 ≥ u*, so h ≥ h(0); if x_2 > x_1 it rises, h' changes sign at most
once, from + to -, so h ≥ min(h(0), h(∞)) = min(2 φ_2(G_2/2), 1).

For the average over several sets the program is solved numerically; the routes below check it too.

`spread` is the standard deviation of the weak features' noise: the formula is that of spread 1.
"""

from itertools import pairwise, product
from math import inf, sqrt

import numpy as np
import sympy as sp

from tradeoff.perturbations import L1, L2, Linf, Lp
from tradeoff.theory.certified import enclosed_sums, enclosure
from tradeoff.theory.distributions import BernoulliFeature
from tradeoff.theory.flow import flow_bounds
from tradeoff.theory.game import classifier, game_value
from tradeoff.theory.intervals import ball, normal_cdf
from tradeoff.theory.plane import half_width
from tradeoff.theory.theorem import FAILURE, Evidence, Theorem, around, hoeffding, proof

INFINITE = 1e6  # a threshold beyond every other number here
SEARCH = 1e-6  # to which the search for the average of several sets is trusted


def symbolic(spread: float = 1.0) -> Evidence:
    """The steps of the proof in sympy, for every p0 > 1/2, alpha > 0, G_0 and G_2."""
    p0, alpha, x, tau = sp.symbols("p0 alpha x tau", positive=True)
    u, G_0, G_2 = sp.symbols("u G_0 G_2", real=True)
    q, sigma = 1 - p0, sp.nsimplify(spread)
    L = sp.log(p0 / q)

    def Phi(t):
        return (1 + sp.erf(t / sigma / sp.sqrt(2))) / 2

    def density(t):  # of a weak score
        return sp.exp(-((t / sigma) ** 2) / 2) / sp.sqrt(2 * sp.pi) / sigma

    def zero(expression):
        return sp.simplify(sp.expand(expression)) == 0

    def phi_2(u):
        return p0 * Phi(u - alpha) + q * Phi(G_0 - u - alpha)

    def k(x):  # the stated kernel, of unit variance
        return 2 * sp.exp(-(x**2) / 2) / sp.sqrt(2 * sp.pi) * sp.exp(-(tau**2) / 2) * sp.sinh(x * tau)

    log_ratio = sp.expand(-((u - alpha) ** 2) / 2 + (G_0 - u - alpha) ** 2 / 2) / sigma**2  # of the terms of φ_2'
    best = G_0 / 2 - L / (2 * alpha - G_0)
    slope = sp.diff(phi_2(G_2 / 2 - tau) + phi_2(G_2 / 2 + tau), tau)
    x_1, x_2 = alpha - G_2 / 2, G_0 - alpha - G_2 / 2
    s = sp.Symbol("s", positive=True)
    return proof(
        {
            "Neyman-Pearson: the likelihood ratio of N(α, 1) and N(-α, 1) grows": sp.diff(
                sp.expand(-((u - alpha) ** 2 - (u + alpha) ** 2) / 2), u
            ).is_positive,
            "φ_2' is the difference of two densities": zero(
                sp.diff(phi_2(u), u) - p0 * density(u - alpha) + q * density(G_0 - u - alpha)
            ),
            "whose log-ratio is linear with slope 2α - G_0": zero(sp.diff(log_ratio, u) - (2 * alpha - G_0)),
            "and zero at u*": zero((log_ratio + L).subs(u, best)),
            "φ_2 tends to q and to p0": zero(sp.limit(phi_2(u), u, -sp.oo) - q)
            and zero(sp.limit(phi_2(u), u, sp.oo) - p0),
            "Φ(a) + Φ(-a) = 1": zero(Phi(u) + Phi(-u) - 1),
            "h' = p0 k(x_1, τ) - q k(x_2, τ)": zero((slope - p0 * k(x_1) + q * k(x_2)).rewrite(sp.exp)),
            "h tends to 1": zero(
                sp.limit(phi_2(G_2 / 2 - tau) + phi_2(G_2 / 2 + tau), tau, sp.oo) - 1
            ),
            "sinh(x_2 τ)/sinh(x_1 τ) is monotone, as (x coth x)' = (sinh 2x - 2x)/(2 sinh² x)": zero(
                (sp.diff(x * sp.coth(x), x) - (sp.sinh(2 * x) - 2 * x) / (2 * sp.sinh(x) ** 2)).rewrite(sp.exp)
            ),
            "and sinh s > s": sp.diff(sp.sinh(s) - s, s, 2).is_positive
            and (sp.sinh(s) - s).subs(s, 0) == 0
            and sp.diff(sp.sinh(s) - s, s).subs(s, 0) == 0,
        }
    )  # fmt: skip


D = BernoulliFeature(2.0, 100, 0.9)
CASES = (
    (D, (Linf(D.eta), L1(2)), ("average", "union", "affine")),
    (BernoulliFeature(5.0, 16, 0.9), (Linf(0), L2(7.5)), ("average",)),  # one label is given up to l_2
    (BernoulliFeature(1.5, 25, 0.75), (L2(1.25),), ("union",)),
    (BernoulliFeature(2.0, 16, 0.75), (Linf(0.25), L2(0.75), L1(2.5)), ("average", "affine")),
)


def numeric(spread: float = 1.0) -> Evidence:
    """The value lies between the bounds of a maximum flow, an adversary, and of a minimum cut, a classifier."""
    found, holds, values = [], True, {}
    for case, (dist, sets, adversaries) in enumerate(CASES, 1):
        for adversary in adversaries:
            value, bounds = game_value(dist, sets, adversary).value, flow_bounds(dist, sets, adversary, spread=spread)
            holds &= bounds[0] <= value <= bounds[1]
            found.append(f"{adversary} {bounds[0]:.5f} ≤ {value:.5f} ≤ {bounds[1]:.5f}")
            values |= {f"V({adversary}, case {case})": value, f"flow bounds({adversary}, case {case})": bounds}
    return Evidence(holds, "; ".join(found), values)


def simulated(spread: float = 1.0, n: int = 20_000, seed: int = 4) -> Evidence:
    """Samples of D_B, noise in d+1 dimensions, and the classifier of the solved game.

    The noise moves x_0 by one of 41 offsets and all weak features equally by what is left of the radius; it is tested
    to lie in the ball. The rate of broken samples must be the value, for the average and for the union, within
    intervals (Hoeffding) that all hold together with probability at least 1 - 1e-9.
    """
    rng, found, holds, values = np.random.default_rng(seed), [], True, {}
    width = hoeffding(n, 4, FAILURE)
    for case, (dist, sets) in enumerate(((BernoulliFeature(2.0, 25, 0.9), (Linf(0.4), L1(2))), CASES[1][:2]), 1):
        x, y = dist.sample(n, rng)
        x[:, 1:] += (spread - 1) * (x[:, 1:] - y[:, None] * dist.eta)
        for adversary in ("average", "union"):
            game = game_value(dist, sets, adversary)
            rule = classifier(dist, sets, game)
            broken, inside = (
                np.array(found) for found in zip(*(_broken(dist, S, rule, x, y) for S in sets), strict=True)
            )
            rate = broken.mean() if adversary == "average" else broken.any(axis=0).mean()
            holds &= abs(rate - game.value) <= width and bool(inside.all())
            found.append(f"{adversary} {rate:.4f} (value {game.value:.4f})")
            values |= {f"V({adversary}, {case})": game.value, f"sampled risk({adversary}, {case})": around(rate, width)}
    detail = f"{n} samples each: {', '.join(found)}, within {width:.4f} (failure ≤ {FAILURE:g})"
    return Evidence(holds, detail, values, FAILURE)


def _broken(dist: BernoulliFeature, S, rule, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, bool]:
    """Whether the noise makes "+1 iff T > rule(x_0)" err, for each row of x, and whether all of it is in the ball."""
    broken, inside = np.zeros(len(x), dtype=bool), True
    for u in S.eps * np.linspace(-1, 1, 41):
        r = np.full(dist.d + 1, half_width(S, dist.d, u) / sqrt(dist.d))
        r[0] = u
        inside &= bool(S.contains(r[None])[0])
        T = x[:, 1:].sum(axis=1) / sqrt(dist.d) - y * r[1:].sum() / sqrt(dist.d)
        level = np.where(x[:, 0] > 0, rule(1 + u), rule(-1 + u))
        broken |= np.where(T > level, 1.0, -1.0) != y
    return broken, inside


ORACLES = (  # two independent programs: the first three union, then affine
    (D, (Linf(D.eta), L1(2)), "union", 0.228870),
    (BernoulliFeature(2.0, 200, 0.977), (Linf(3 / sqrt(200)), L1(3)), "union", 0.339175),
    (BernoulliFeature(4.0, 10**4, 0.99), (Linf(0.16), L1(4 / 3)), "union", 0.010032),
    (BernoulliFeature(4.0, 10**4, 0.99), (Linf(0.16), L1(4 / 3)), "affine", 0.5),
)


def certified(spread: float = 1.0, margin: float = 2.0**-20) -> Evidence:
    """Ball arithmetic: some thresholds reach V + 2^-20, and none at all V - 2^-20, by branch and bound.

    V is enclosed to 1e-12 and agrees with the digits of another program; the bounds use the constraints and Φ alone,
    not the proof of the closed form.
    """
    found, holds, total, values = [], True, 0, {}
    for case, (dist, sets, adversary, digits) in enumerate(ORACLES, 1):
        value, (stay, flip) = enclosure(dist, sets, adversary), enclosed_sums(dist, sets, adversary)
        proved, pieces = _none_below(dist, stay, flip, value - ball(margin), spread)
        reached = _risk_at(dist, stay, flip, game_value(dist, sets, adversary).thresholds[0][0][0], spread)
        total += pieces
        holds &= proved and bool(reached < value + ball(margin))
        holds &= bool(value.rad() < 1e-12) and bool(abs(value - ball(digits)) < 1e-6)
        found.append(f"{adversary} {float(value.mid()):.9f}")
        values[f"V({adversary}, case {case})"] = value
    detail = f"{', '.join(found)}: {'' if holds else 'NOT '}proved to 2^-20 ({total} pieces)"
    return Evidence(holds, detail, values, 0.0)


def sweep(spread: float = 1.0, settings: int = 300, seed: int = 6) -> Evidence:
    """Random games of one to three balls: each value lies between the flow bounds and in its enclosure.

    The radii are comparable to what moves one class centre to the other, along x_0 or along T.
    """
    rng, missed, widest, radius = np.random.default_rng(seed), [], 0.0, 0.0
    for k in range(settings):
        dist = BernoulliFeature(rng.uniform(0.25, 5), int(10 ** rng.uniform(0, 9)), rng.choice([0.5, 0.6, 0.9, 0.999]))
        sets = []
        for p in rng.choice([1, 1.5, 2, 4, inf], rng.integers(1, 4)):
            along = dist.alpha * dist.d ** (1 / p - 0.5)
            sets.append(Lp(p, rng.choice([1.0, along]) * rng.uniform(0.01, 2.2)))
        adversary = ("average", "union", "affine")[k % 3]
        value, V = game_value(dist, sets, adversary).value, enclosure(dist, sets, adversary)
        lower, upper = flow_bounds(dist, sets, adversary, step=1 / 16, spread=spread)
        widest, radius = max(widest, upper - lower), max(radius, float(V.rad()))
        if not (lower - SEARCH <= value <= upper + SEARCH and abs(V - value) < ball(SEARCH)):
            missed.append(f"{dist}, {sets}, {adversary}: {lower:.6f} ≤ {value:.8f} ≤ {upper:.6f}")
    widths = f"flow bounds at most {widest:.4f} apart and in enclosures of radius ≤ {radius:.1e}"
    values = {"games": settings, "missed": len(missed), "widest flow bounds": widest, "largest radius": radius}
    return Evidence(not missed, "; ".join([f"{settings} games between {widths}", *missed[:3]]), values)


def _risk_at(dist: BernoulliFeature, stay, flip, level: float, spread: float):
    """The risk at M_+ = N_+ = level, raised to what G_2 asks, and M_- = N_- = G_0 - M_+; of a constant at infinity."""
    if level == inf:
        return ball(0.5)
    level = ball(level) if flip is None else ball(level).max(flip / 2)
    p0, alpha, scale = ball(dist.p0), ball(dist.alpha), ball(spread)
    return p0 * normal_cdf((level - alpha) / scale) + (1 - p0) * normal_cdf((stay - level - alpha) / scale)


def _none_below(dist: BernoulliFeature, stay, flip, bound, spread: float) -> tuple[bool, int]:
    """Whether all M_+ ≤ N_+ (enough, by symmetry) certainly give more than `bound`; and the number of boxes tried.

    In a box the risk is least at M_+ = max(M_1, G_2 - N_2), M_- = G_0 - N_2, and so with M and N exchanged.
    """
    p0, alpha, scale = ball(dist.p0), ball(dist.alpha), ball(spread)
    flip = ball(-INFINITE) if flip is None else flip

    def Phi(level):
        """A lower bound; 0 for what may be -∞."""
        return normal_cdf((level - alpha) / scale) if level > -INFINITE / 2 else ball(0)

    ends = (-INFINITE, -16.0 - dist.alpha, 0.0, 16.0 + dist.alpha, INFINITE)
    todo, pieces = list(product(pairwise(ends), repeat=2)), 0
    while todo:
        (M_1, M_2), (N_1, N_2) = todo.pop()
        if M_1 > N_2:
            continue
        pieces += 1
        M, N = ball(M_1).max(flip - ball(N_2)), ball(N_1).max(flip - ball(M_2))
        risk = p0 * (Phi(M) + Phi(N)) + (1 - p0) * (Phi(stay - ball(M_2)) + Phi(stay - ball(N_2)))
        if risk / 2 > bound:
            continue
        if not any(2.0**-30 < high - low < INFINITE / 2 for low, high in ((M_1, M_2), (N_1, N_2))):
            return False, pieces
        todo += product(_halves(M_1, M_2), _halves(N_1, N_2))
    return True, pieces


def _halves(low: float, high: float) -> tuple:
    if INFINITE in (-low, high):  # the other side is halved
        return ((low, high),)
    middle = (low + high) / 2
    return (low, middle), (middle, high)


THEOREM = Theorem(
    "exact-game",
    "this project, after Tramèr & Boneh 2019, Theorem 1 and Appendix I",
    r"On $\mathcal{D}_B$, with $G_0, G_2$ the half-widths of $K \oplus K$: $\inf_f R_{adv}(f; K) = "
    r"\min(\frac12, p_0\Phi(u - \alpha) + (1 - p_0)\Phi(G_0 - u - \alpha))$, "
    r"$u = \max(\frac{G_2}{2}, \frac{G_0}{2} - \frac{\log(p_0/(1 - p_0))}{2\alpha - G_0})$",
    (symbolic, numeric, simulated, certified),
    breaks={"spread": 1.5},
    thorough={"random sweep": sweep},
)
