r"""Theorem 2: robustness to l_inf noise and robustness to small rotation-translations are nearly mutually exclusive.

On D_G (`GaussianFeature`) with alpha² > 1/2, let S_inf be the l_inf ball of radius 2 eta and S_RT = `Swap(N)`. Then
every classifier f has R_avg(f; S_inf, S_RT) ≥ ½(1 - TV) ≥ ½ - σ/(4√(N+1)), with u = (g' - g)/h, σ² = ∫(g' - g)²/h and
TV = ½ E|ū| as in `tradeoff.theory.swap`; and √N·TV → σ/√(2π).

Proof, for y = +1. The l_inf adversary turns the weak features of label -1 into those of label +1: it attains the target
law A: z_0 ~ g, z_k ~ h. The other adversary swaps x_0 with x_j, j in 0..N, with probability w(x_j)/W, W = Σ_k w(x_k).
No swap changes W. A point z can come from each of its N+1 swaps, so the attacked law B has the density

    B(z) = Σ_j g'(z_j) (Π_{k≠j} h(z_k)) w(z_0)/W = A(z) Σ_j v(z_j) / Σ_j w(z_j),    v = g'/h, w = g/h, A = w(z_0) Π h.

B/A is symmetric in the slots, so in E_A the factor w(z_0) may be replaced by the mean w̄ of all w(z_k), z_k ~ h:
TV(A, B) = ½ E w̄|v̄/w̄ - 1| = ½ E|v̄ - w̄|. At every z, f errs on at least one of B (label +1) and A (label -1), so the two
errors sum to at least ∫min(A, B) = 1 - TV. Last, E|ū| ≤ √E ū² = σ/√(N+1), and √(N+1) ū tends to N(0, σ²).

Beyond the paper. (i) The choice is the best there is for this target: the unordered slots are the same after any swap,
and their laws are already ½ E|v̄ - w̄| apart. (ii) The bound is tight: at eta = 0 the Bayes rule of the unordered slots,
which no swap changes, errs with probability ½(1 - TV), and features and noise of size eta → 0 move it less and less, so
that for fixed N both the least R_avg and the least R_max tend to ½(1 - TV) as d → ∞.

`tilt` drops the choice: j is drawn with probability ∝ w(x_j)^tilt, so 0 is a position chosen blindly.
"""

from fractions import Fraction
from functools import partial
from itertools import product
from math import isqrt, pi, sqrt

import numpy as np
import sympy as sp
from flint import acb, arb
from scipy.stats import norm

from tradeoff.perturbations import Linf, Swap
from tradeoff.theory.distributions import GaussianFeature
from tradeoff.theory.intervals import ball, normal_cdf
from tradeoff.theory.swap import (
    asymptotic_constant,
    choose_positions,
    explicit_bound,
    invariant_margins,
    log_likelihood_ratio,
    position_law,
    risk_bound,
    simulated_total_variation,
    total_variation,
)
from tradeoff.theory.theorem import FAILURE, Evidence, Theorem, around, hoeffding, proof


def attacked_density(slots: list, tilt) -> object:
    """B at a point with `slots` [(g', g, h), ..], the densities there, by summing over where it came from.

    For fractions and symbols alike.

    >>> attacked_density([(1, 2, 1), (3, 1, 1)], 1)  # from itself: 1·2/3, from its swap: 3·2/3
    2.6666666666666665
    """
    total = 0
    for j in range(len(slots)):
        x = list(slots)
        x[0], x[j] = x[j], x[0]
        before = x[0][0]
        for _, _, h in x[1:]:
            before = before * h
        weights = [(g / h) ** tilt for _, g, h in x]
        total = total + before * weights[j] / sum(weights)
    return total


def symbolic(tilt: float = 1.0) -> Evidence:
    """Each step of the proof in sympy, for every d, f and alpha² > 1/2, and for every N but where a step says N = 2
    (other N add terms of the same form); the limit is the central limit theorem."""
    tilt = sp.nsimplify(tilt)
    g1_0, g_0, h_0, g1_j, g_j, h_j = sp.symbols("g'_0 g_0 h_0 g'_j g_j h_j", positive=True)  # at z_0 and at z_j
    others, W_others = sp.symbols("others W_others", positive=True)  # Π h and Σ w^tilt of the remaining slots
    target = g_0 * h_j * others
    W = (g_0 / h_0) ** tilt + (g_j / h_j) ** tilt + W_others
    moved = g1_j * h_0 * others * (g_0 / h_0) ** tilt / W  # from x = z with 0 and j swapped, so that x_j = z_0
    stayed = g1_0 * h_j * others * (g_0 / h_0) ** tilt / W
    three = [sp.symbols(f"p_{k} q_{k} h_{k}", positive=True) for k in range(3)]
    ratio = attacked_density(three, tilt) / (three[0][1] * three[1][2] * three[2][2])
    v, w, u, A, B = sp.symbols("v w u A B", positive=True)
    x, a, b = sp.symbols("x a b", real=True)
    c, margin, sigma, n = sp.symbols("c margin sigma n", positive=True)
    s2 = 2 / (1 + margin)  # every 0 < s² < 2
    kappa = 2 - s2

    def log_normal(t, mean, variance):
        return -((t - mean) ** 2) / (2 * variance) - sp.log(2 * sp.pi * variance) / 2

    overlap = ((a + b) ** 2 - kappa * (a**2 + b**2)) / (2 * s2 * kappa) - sp.log(s2 * kappa) / 2
    completed = (
        log_normal(x, a, s2) + log_normal(x, b, s2) - log_normal(x, 0, 1) - log_normal(x, (a + b) / kappa, s2 / kappa)
    )
    errors = {f: (B * (1 - f) + A * (1 + f)) / 2 for f in (1, -1)}  # of label +1 under B and of label -1 under A
    least = (A + B - sp.Abs(A - B)) / 2
    return proof(
        {
            "a swap contributes v(z_j)/W to B/A": sp.simplify(moved / target - g1_j / h_j / W) == 0,
            "doing nothing contributes v(z_0)/W": sp.simplify(stayed / target - g1_0 / h_0 / W) == 0,
            "so B/A = Σv/Σw; summed over all origins for N = 2": sp.simplify(
                ratio - sum(p / h for p, _, h in three) / sum(q / h for _, q, h in three)
            )
            == 0,
            "which is symmetric": all(
                sp.simplify(
                    ratio
                    - ratio.subs(dict(zip(three[0] + three[k], three[k] + three[0], strict=True)), simultaneous=True)
                )
                == 0
                for k in (1, 2)
            ),
            "w|v/w - 1| = |v - w|": all(
                sp.simplify(w * sp.Abs(big / w - 1) - sp.Abs(big - w)) == 0 for big in (w + v, w / (1 + v))
            ),
            "f errs on min(A, B) = (A + B - |A - B|)/2 or more, so on 1 - TV": all(
                set(errors.values()) == {A, B} and sp.simplify(least.subs({A: lo, B: lo + u}) - lo) == 0
                for lo in (v, w)
            ),
            "∫g_a g_b/h by completing the square": sp.simplify(
                sp.expand_log(sp.expand(completed - overlap), force=True)
            )
            == 0,
            "|u| ≤ (u² + c²)/2c, so E|ū| ≤ σ/√n": sp.factor((u**2 + c**2) / (2 * c) - u) == (u - c) ** 2 / (2 * c)
            and sp.simplify(((sigma**2 / n + c**2) / (2 * c)).subs(c, sigma / sp.sqrt(n)) - sigma / sp.sqrt(n)) == 0,
            "E|N(0, σ²)|/2 = σ/√(2π)": sp.simplify(
                sp.integrate(u * sp.exp(-(u**2) / (2 * sigma**2)) / (sigma * sp.sqrt(2 * sp.pi)), (u, 0, sp.oo))
                - sigma / sp.sqrt(2 * sp.pi)
            )
            == 0,
        }
    )


SETTINGS = tuple(GaussianFeature(*row) for row in ((2.0, 784), (1.0, 784), (1.5, 784), (3.0, 10**6)))


def numeric(tilt: float = 1.0) -> Evidence:
    """The density by brute force against its closed form, TV by quadrature in the plane, and the bounds for growing N.

    The densities agree to a relative 1e-9 (rounding, in the tails); the plane, with a mesh of 0.02 and a kink on it, to
    1e-5. R_avg's bound is never below the explicit one, and √N·TV is within 2/√N of its limit (relative).
    """
    rng = np.random.default_rng(2)
    off = 0.0
    for dist in SETTINGS:
        for N in (1, 2, 5):
            z = rng.normal(0, 1.5, (200, N + 1))
            ratio = _attacked(z, dist, tilt) / _slots_density(z, dist, -1)
            off = max(off, np.abs(np.exp(log_likelihood_ratio(z, dist)) / ratio - 1).max())
    differ = 0.0
    mesh = np.arange(-7, 8, 0.02)
    for dist in SETTINGS[:2]:
        z = np.stack(np.meshgrid(mesh, mesh, indexing="ij"), axis=-1).reshape(-1, 2)
        plane = np.abs(_attacked(z, dist, tilt) - _slots_density(z, dist, -1)).sum() * 4e-4 / 2
        differ = max(differ, abs(plane - total_variation(dist, 1)))
    slots = (9, 49, 225, 784)  # at most d
    exact = np.array([[risk_bound(dist, N) for N in slots] for dist in SETTINGS])
    explicit = np.array([[explicit_bound(dist, N) for N in slots] for dist in SETTINGS])
    limits = np.array([[asymptotic_constant(dist)] for dist in SETTINGS])
    drift = np.abs(np.sqrt(slots) * (1 - 2 * exact) / limits - 1)
    return Evidence(
        off <= 1e-9 and differ <= 1e-5 and bool(np.all(exact >= explicit) and np.all(drift <= 2 / np.sqrt(slots))),
        f"B/A within a relative {off:.0e} of brute force; TV at N = 1 within {differ:.0e} of quadrature; at alpha = 2, "
        f"N = {', '.join(map(str, slots))}: R_avg ≥ {', '.join(f'{r:.4f}' for r in exact[0])} (explicit bound "
        f"{', '.join(f'{r:.4f}' for r in explicit[0])}); √N·TV → {limits[0, 0]:.4f}",
        {
            "B/A, relative distance": off,
            "TV(N=1), distance": differ,
            **{f"R_avg bound({_at(dist, N)})": exact[i, k] for (i, dist), (k, N) in _pairs(SETTINGS, slots)},
            **{f"explicit bound({_at(dist, N)})": explicit[i, k] for (i, dist), (k, N) in _pairs(SETTINGS, slots)},
            **{f"sqrt(N) TV, limit(alpha={dist.alpha:g}, d={dist.d})": limits[i, 0] for i, dist in enumerate(SETTINGS)},
        },
    )


def _pairs(settings, slots):
    return product(enumerate(settings), enumerate(slots))


def _at(dist: GaussianFeature, N: int) -> str:
    return f"alpha={dist.alpha:g}, d={dist.d}, N={N}"


def _slots_density(x: np.ndarray, dist: GaussianFeature, y: int) -> np.ndarray:
    """The density of slots (batch, N+1) with x_0 ~ N(y, α^-2) and the rest N(η, 1)."""
    return norm.pdf(x[:, 0], y, 1 / dist.alpha) * norm.pdf(x[:, 1:], dist.eta, 1).prod(axis=1)


def _attacked(z: np.ndarray, dist: GaussianFeature, tilt: float) -> np.ndarray:
    """B(z): the clean density of every x that some position turns into z, times the probability of that position."""
    S = Swap(z.shape[1] - 1)
    density = np.zeros(len(z))
    for j in S.grid():
        x = S.apply(z, np.full(len(z), j))
        density += _slots_density(x, dist, 1) * position_law(x, dist, tilt)[:, j]
    return density


def simulated(tilt: float = 1.0, n: int = 20_000, seed: int = 5) -> Evidence:
    """Both adversaries on samples of D_G: TV from either law, and the risks of classifiers of every kind.

    TV = E_A max(0, 1 - B/A) = E_B max(0, 1 - A/B): means over the l_inf-attacked samples and over the swapped ones, of
    what no swap changes. Whether the positions are well chosen only the classifiers can tell.
    All intervals (Hoeffding) hold together with probability at least 1 - 1e-9.
    """
    dist, S = GaussianFeature(alpha=2.0, d=196), Swap(49)
    rng = np.random.default_rng(seed)
    x, y = dist.sample(n, rng)
    positions = choose_positions(y[:, None] * x[:, : S.N + 1], dist, rng, tilt)
    r_inf = np.zeros_like(x)
    r_inf[:, 1:] = -2 * dist.eta * y[:, None]
    admissible = S.contains(positions).all() and Linf(2 * dist.eta).contains(r_inf).all()
    by_rt, by_linf = S.apply(x, positions), x + r_inf
    classifiers = _classifiers(dist, S.N, rng)
    width = hoeffding(n, len(classifiers) + 2, FAILURE)
    ratio_a = log_likelihood_ratio(-y[:, None] * by_linf[:, : S.N + 1], dist)  # posing as the other label, -y
    ratio_b = log_likelihood_ratio(y[:, None] * by_rt[:, : S.N + 1], dist)
    found = np.array([-np.expm1(np.minimum(ratio_a, 0)).mean(), -np.expm1(np.minimum(-ratio_b, 0)).mean()])
    exact = total_variation(dist, S.N)
    risks = np.array([(np.mean(f(by_rt) != y) + np.mean(f(by_linf) != y)) / 2 for f in classifiers])
    return Evidence(
        admissible and np.abs(found - exact).max() <= width and risks.min() >= (1 - exact) / 2 - width,
        f"TV {found[0]:.4f} from the target and {found[1]:.4f} from the swapped samples ({exact:.4f} ± {width:.4f}); "
        f"{len(classifiers)} classifiers have R_avg {risks.min():.4f} to {risks.max():.4f} ≥ {(1 - exact) / 2:.4f} - "
        f"{width:.4f} (failure ≤ 1e-9)",
        {
            "TV from the target": around(found[0], width),
            "TV from the swapped": around(found[1], width),
            "exact TV": exact,
            "classifiers": len(classifiers),
            "R_avg, least": around(risks.min(), width),
            "R_avg, greatest": around(risks.max(), width),
        },
        FAILURE,
    )


def _classifiers(dist: GaussianFeature, N: int, rng: np.random.Generator) -> list:
    """Functions (n, d+1) -> {-1, +1}^n: a constant, linear ones, those made against a blind swap or any, and nets."""

    def sign(score):
        return np.where(score > 0, 1.0, -1.0)

    def rest(x):
        return sign(x[:, 1:].sum(axis=1))

    def net():
        a, b, c = rng.normal(size=(dist.d + 1, 16)), rng.normal(size=16), rng.normal(size=16)
        return lambda x: sign(np.tanh(x @ a / sqrt(dist.d) + b) @ c)

    return [
        lambda x: np.ones(len(x)),
        lambda x: sign(x[:, 0]),
        rest,
        lambda x: sign(dist.alpha**2 * x[:, 0] + dist.eta * x[:, 1:].sum(axis=1)),
        *(lambda x, t=t: np.where(rest(x) * x[:, 0] < -t, -rest(x), rest(x)) for t in (0.0, 0.37, 0.8)),
        lambda x: sign(invariant_margins(x[:, : N + 1], dist)),
        *(net() for _ in range(4)),
    ]


def certified(tilt: float = 1.0) -> Evidence:
    """Ball arithmetic: B/A = Σv/Σw exactly at rational densities, and an enclosure of TV from above at N = 49.

    With Gaussian noise ξ of deviation τ (Jensen) and φ the characteristic function of ū, enclosed by acb.integral,
    E|ū| ≤ E|ū + ξ| ≤ δ(E ū² + τ²)/2π + (2/πδ) Σ_{k≥1} (1 - Re φ(kδ) exp(-τ²k²δ²/2))/k²
    for every δ (`swap.total_variation` gives the reason), and beyond K terms -Re φ ≤ 1.
    """
    N, alpha, root_d = 49, 2, 28
    rng = np.random.default_rng(8)
    identical = True
    for slots in (3, N + 1):
        z = [tuple(Fraction(int(a), int(b)) for a, b in rng.integers(1, 100, (3, 2))) for _ in range(slots)]
        target = z[0][1]
        for _, _, h in z[1:]:
            target *= h
        ratio = sum(p / h for p, _, h in z) / sum(q / h for _, q, h in z)
        identical &= attacked_density(z, Fraction(tilt)) == target * ratio
    variance, tv = _total_variation_above(Fraction(alpha), root_d, N)
    bound, explicit = (1 - tv) / 2, (1 - variance.sqrt() / 2) / 2
    return Evidence(
        identical and bound > explicit,
        f"B/A {'is' if identical else 'is NOT'} Σv/Σw in fractions; at alpha = {alpha}, d = {root_d**2}, N = {N}: "
        f"R_avg ≥ {float(bound.lower()):.6f} > {float(explicit.upper()):.6f}, the explicit bound",
        {f"R_avg bound(alpha={alpha}, d={root_d**2}, N={N})": bound,
         f"explicit bound(alpha={alpha}, d={root_d**2}, N={N})": explicit},
        failure=0.0,
    )  # fmt: skip


def _total_variation_above(alpha: Fraction, root_d: int, N: int) -> tuple[arb, arb]:
    """Balls: E ū², and one whose upper end is at least TV, for d = root_d²."""
    eta, a2, alpha = ball(alpha / root_d), ball(alpha * alpha), ball(alpha)
    plus, minus, s2 = 1 - eta, -1 - eta, 1 / a2
    k = 2 - s2

    def overlap(a, b):
        return (((a + b) ** 2 - k * (a * a + b * b)) / (2 * s2 * k)).exp() / (s2 * k).sqrt()

    variance = (overlap(plus, plus) + overlap(minus, minus) - 2 * overlap(plus, minus)) / (N + 1)
    outside = arb(0, float((2 * normal_cdf(arb(-9))).upper()))  # what |x - eta| > 9 can add to φ, of modulus ≤ 1
    scale = float(variance.mid()) ** 0.5
    delta, tau, last = ball(2 * pi / (9 * scale)), ball(scale / 16), 150

    def phi(t):
        def integrand(x, _):
            u = alpha * ((-a2 * (x - plus) ** 2 / 2 + x * x / 2).exp() - (-a2 * (x - minus) ** 2 / 2 + x * x / 2).exp())
            return (acb(0, 1) * t / (N + 1) * u - x * x / 2).exp() / acb(2 * arb.pi()).sqrt()

        for bits in (8, 14, 20, 26, 30):  # where the power is small, few of the integral suffice
            inside = acb.integral(integrand, -9, 9, rel_tol=2.0**-bits, abs_tol=2.0**-bits)
            power = (inside + acb(outside, outside)) ** (N + 1)
            if power.real.rad() < 2.0**-32:
                break
        return power

    total, tail = arb(0), arb.pi() ** 2 / 6
    for j in range(1, last + 1):
        t = j * delta
        total += (1 - phi(t).real * (-((tau * t) ** 2) / 2).exp()) / j**2
        tail -= ball(Fraction(1, j * j))
    total += tail * (1 + (-((tau * last * delta) ** 2) / 2).exp())
    return variance, (delta * (variance + tau**2) / (2 * arb.pi()) + 2 / (arb.pi() * delta) * total) / 2


def table(
    tilt: float = 1.0,
    alphas: tuple = (1.0, 1.5, 2.0, 3.0),
    dims: tuple = (784, 10**6),
    slots: tuple = (9, 25, 49, 100, 225, 400, 1600),
    n: int = 1_000_000,
    seed: int = 6,
) -> Evidence:
    """The lower bounds on R_avg side by side, for all alphas, dims (square numbers) and slots N up to d.

    exact: ½(1 - TV), with an error below 1e-6. certified: a bound on it from below in ball arithmetic, rounded down.
    explicit: ½ - σ/(4√(N+1)), never above the certified one. limit: ½ - σ/√(8πN), the central limit theorem. sampled,
    up to N = 49: the interval of ½(1 - TV) from n draws of the target law; all of them hold together with probability
    at least 1 - 1e-9.
    """
    rng, rows, values, holds = np.random.default_rng(seed), [], {}, True
    sampled = [N for N in slots if N <= 49]
    width = hoeffding(n, len(alphas) * len(dims) * len(sampled), FAILURE)
    for alpha, d, N in product(alphas, dims, slots):
        if N > d:
            continue
        dist = GaussianFeature(alpha, d)
        limit, tv = asymptotic_constant(dist), total_variation(dist, N)
        exact, explicit = (1 - tv) / 2, explicit_bound(dist, N)
        above = _total_variation_above(Fraction(alpha), isqrt(d), N)[1]
        certified = float(((1 - above) / 2).lower())
        holds &= explicit < certified < exact + 1e-6 and abs(sqrt(N) * tv / limit - 1) <= 2 / sqrt(N)
        row: dict = {"exact": exact, "certified": certified, "explicit": explicit, "limit": 0.5 - limit / sqrt(4 * N)}
        shown = [f"{bound:9.6f}" for bound in (exact, np.floor(certified * 1e6) / 1e6, explicit, row["limit"])]
        if N in sampled:
            estimate, _ = simulated_total_variation(dist, N, n, rng, tilt=tilt)
            low, high = row["sampled"] = around((1 - estimate) / 2, width / 2)
            holds &= low <= exact <= high
            shown.append(f"{low:.4f} to {high:.4f}")
        values |= {f"{bound}({_at(dist, N)})": value for bound, value in row.items()}
        rows.append(f"{alpha:5g} {d:9,} {N:5}  {'  '.join(shown)}")
    head = f"{'alpha':>5} {'d':>9} {'N':>5}  {'exact':>9}  {'certified':>9}  {'explicit':>9}  {'limit':>9}  sampled"
    title = f"R_avg ≥ .. in {len(rows)} settings (exact: error < 1e-6; sampled: failure ≤ 1e-9)"
    return Evidence(holds, "\n".join([title, head, *rows]), values, FAILURE)


THEOREM = Theorem(
    "thm2-linf-rt",
    "Tramèr & Boneh 2019, Theorem 2, with a better adversary and the exact constant",
    r"On $\mathcal{D}_G$ with $\epsilon_\infty = 2\eta$ and swaps of $x_0$ with $N$ features: "
    r"$R_{avg}(f; S_\infty, S_{RT}) \ge \frac{1}{2} - \frac{1}{4} E|\bar{u}| \ge "
    r"\frac{1}{2} - \frac{\sigma}{4\sqrt{N+1}}$ for every $f$",
    (symbolic, numeric, simulated, certified),
    breaks={"tilt": 0.0},
    thorough={"larger sample": partial(simulated, n=200_000), "table": table},
)
