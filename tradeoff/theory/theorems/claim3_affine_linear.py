r"""Claim 3: a linear classifier gives nothing away to an adversary that mixes two types of l_p noise.

Let f(x) = sign(<w, x> + b), S_p and S_q two l_p balls, and S_affine = {β r_1 + (1-β) r_2 : r_1 in S_p, r_2 in S_q,
0 ≤ β ≤ 1}. Then R_max(f; S_p, S_q) = R_adv(f; S_affine), on any distribution.

Proof. Noise of βS is β times noise of S. Against (x, y), shares β and 1-β lower the score y(<w, x> + b) by at most
β ε_p‖w‖_{p*} + (1-β) ε_q‖w‖_{q*} (Hölder, attained). That is linear in β, hence largest at β = 1 or β = 0, where only
one type of noise is left: an input that a mixture breaks is broken by one type alone. The converse is S_p ∪ S_q ⊆
S_affine.

`bend` drops linearity: the score becomes <w, x> + b + bend·<v, x>² for a second direction v.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import product
from math import inf

import numpy as np
import sympy as sp
from flint import arb, arb_series

from tradeoff.perturbations import L1, L2, Affine, Linf, Lp, Union
from tradeoff.theory.distributions import BernoulliFeature, GaussianFeature
from tradeoff.theory.intervals import ball, dual, power
from tradeoff.theory.theorem import FAILURE, Evidence, Theorem, around, hoeffding, proof

SHARES = np.linspace(0, 1, 9)  # β


@dataclass(frozen=True)
class Score:
    """x ↦ <w, x> + b + bend·<v, x>² over the last axis."""

    w: np.ndarray
    v: np.ndarray
    b: float
    bend: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return x @ self.w + self.b + self.bend * (x @ self.v) ** 2


def symbolic(bend: float = 0.0) -> Evidence:
    """Each step of the proof in sympy, for all vectors, labels, β and exponents 1 < p < ∞; that Hölder's inequality is
    attained in three coordinates."""
    beta, x_w, x_v, b = sp.symbols("beta x_w x_v b", real=True)  # <w, x>, <v, x>
    A, B, C, D = sp.symbols("A B C D", real=True)  # <w, r_1>, <w, r_2>, <v, r_1>, <v, r_2> of any two noises
    bend = sp.nsimplify(bend)

    def score(share, y):
        moved_w, moved_v = x_w - y * (share * A + (1 - share) * B), x_v - y * (share * C + (1 - share) * D)
        return sp.expand(y * (moved_w + b + bend * moved_v**2))

    mean_of_ends = {y: beta * score(1, y) + (1 - beta) * score(0, y) for y in (1, -1)}
    # Hölder, one coordinate: st ≤ s^p/p + t^q/q, with its only critical point, a minimum of value 0, at s = t^{q-1}.
    s, t, k = sp.symbols("s t k", positive=True)
    p, q = 1 + k, 1 + 1 / k
    young = s**p / p + t**q / q - s * t
    critical = t ** (q - 1)
    # The argmax of Lp attains it: r_i = ε w_i^{q-1}/‖w‖_q^{q-1}, in three coordinates w_i > 0 (signs do not matter).
    u = sp.symbols("u_1:4", positive=True)  # u_i = w_i^q
    size = sum(u)
    noise = [u_i ** (1 - 1 / q) / size ** (1 - 1 / q) for u_i in u]
    return proof(
        {
            "1/p + 1/q = 1": sp.simplify(1 / p + 1 / q) == 1,
            "Hölder: the derivative of s^p/p + t^q/q - st vanishes at s = t^{q-1}": sp.powsimp(
                sp.simplify(sp.diff(young, s).subs(s, critical)), force=True
            )
            == 0,
            "where the value is 0": sp.simplify(sp.powsimp(sp.expand(young.subs(s, critical)), force=True)) == 0,
            "and the function is convex": sp.simplify(sp.diff(young, s, 2)).is_positive,
            "the extremal noise has p-norm 1": sp.simplify(
                sum(sp.powsimp(sp.powdenest(r**p, force=True), force=True) for r in noise)
            )
            == 1,
            "and attains ‖w‖_q": sp.simplify(
                sum(sp.powsimp(u_i ** (1 / q) * r, force=True) for u_i, r in zip(u, noise, strict=True))
                - size ** (1 / q)
            )
            == 0,
            "the worst score is the β-mean of those of the two types": all(
                sp.expand(score(beta, y) - mean_of_ends[y]) == 0 for y in (1, -1)
            ),
            "so one type breaks what the mixture breaks": all(sp.diff(score(beta, y), beta, 2) == 0 for y in (1, -1)),
            "β = 1 and β = 0 are the two types": score(1, 1).free_symbols.isdisjoint({B, D, beta})
            and score(0, 1).free_symbols.isdisjoint({A, C, beta}),
        }
    )


PAIRS = ((Linf(1), L1(1)), (L2(1), L1(1)), (Linf(1), L2(1)), (Lp(1.5, 1), Lp(4, 1)))


def numeric(bend: float = 0.0) -> Evidence:
    """By brute force over β: in the plane over a mesh of both balls, in up to 1000 dimensions over their argmax.

    The plane: an input is broken by some β r_1 + (1-β) r_2 of the mesh if and only if by some r_1 or r_2 of it. The
    other: the largest <w, r_1 + r_2>, r_1 = argmax over βS_p and r_2 = argmax over (1-β)S_q, is the support of the
    union, to a relative 1e-12 (sums of 1000 terms).
    """
    rng = np.random.default_rng(0)
    inputs, differ, by_one, by_mixture = 0, 0, 0, 0
    for A, B in PAIRS * 4:
        w = rng.normal(size=(1, 2))
        A, B = _comparable(A, B, w, 1.0)
        v = (A.argmax(w) - B.argmax(w))[0]  # a bend along it tells mixtures from the two types
        f = Score(w[0], 4 * v / np.linalg.norm(v), rng.normal() / 2, bend)
        one = np.concatenate([β * _mesh(S) for S in (A, B) for β in SHARES])  # inner points too, as in the mixtures
        mixed = np.concatenate([(β * _mesh(A)[:, None] + (1 - β) * _mesh(B)).reshape(-1, 2) for β in SHARES])
        x = rng.normal(size=(200, 2))
        y = np.where(f(x) > 0, 1.0, -1.0)  # right without noise
        broken = _broken(f, x, y, one)
        broken_mixed = broken | _broken(f, x, y, mixed)
        inputs, by_one, by_mixture = inputs + len(x), by_one + broken.sum(), by_mixture + broken_mixed.sum()
        differ += np.sum(broken != broken_mixed)
    furthest = 0.0
    for (A, B), n in product(PAIRS, (1, 2, 30, 1000)):
        w = rng.normal(size=(10, n)) * rng.exponential(1, (10, n))
        A, B = _comparable(A, B, w, 1.0)
        shifts = [(w * (A.scaled(β).argmax(w) + B.scaled(1 - β).argmax(w))).sum(axis=1) for β in SHARES]
        worst = np.max(shifts, axis=0)
        for S in (Union((A, B)), Affine(A, B)):
            furthest = max(furthest, np.abs(worst / S.support(w) - 1).max())
    return Evidence(
        differ == 0 and furthest <= 1e-12,
        f"plane: R_max {by_one / inputs:.4f}, R_affine {by_mixture / inputs:.4f}, {differ} of {inputs} inputs differ; "
        f"up to 1000 dimensions the worst mixture is within a relative {furthest:.1e} of the union's support",
        {
            "R_max in the plane": by_one / inputs,
            "R_affine in the plane": by_mixture / inputs,
            "inputs": inputs,
            "inputs that differ": differ,
            "distance from the support, relative": furthest,
        },
    )


def _comparable(A: Lp, B: Lp, w: np.ndarray, shift: float) -> tuple[Lp, Lp]:
    """The balls scaled so that both shift a score <w, x> by as much (on average over the rows of w)."""
    return A.scaled(shift / A.support(w).mean()), B.scaled(shift / B.support(w).mean())


def _mesh(S: Lp, angles: int = 32) -> np.ndarray:
    """Points of the boundary of S in the plane, its corners among them, and 0."""
    turn = np.linspace(0, 2 * np.pi, angles, endpoint=False)
    unit = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return np.concatenate([np.zeros((1, 2)), unit / S.gauge(unit)[:, None]])


def _broken(f: Score, x: np.ndarray, y: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Whether some row of `noise` makes f err, for each row of x."""
    return (y[:, None] * f(x[:, None] + noise) <= 0).any(axis=1)


def simulated(bend: float = 0.0, n: int = 20_000, seed: int = 3) -> Evidence:
    """Samples of four distributions, attacked by argmax vectors mixed over β and by draws of the mixed set.

    No sample may be broken by a mixture and by neither type alone: then such inputs have probability ≤ log(8e9)/n on
    each distribution. On D_B and D_G the error rate must be the exact R_max, within Hoeffding intervals. All of this
    holds together with probability at least 1 - 1e-9.
    """
    rng, d = np.random.default_rng(seed), 24
    w, v, b = rng.normal(1, 0.5, d + 1), rng.normal(size=d + 1), 0.3
    tail = rng.standard_t(1.5, (n, d + 1))  # infinite variance
    ring = rng.normal(size=(n, d + 1))
    ring *= 4 / np.linalg.norm(ring, axis=1, keepdims=True)
    laws = (BernoulliFeature(2.0, d, 0.9), GaussianFeature(2.0, d))
    samples = [
        *(dist.sample(n, rng) for dist in laws),
        (tail, np.where(tail[:, 0] * tail[:, 1] > 0, 1.0, -1.0)),  # labels that no linear classifier can follow
        (ring, np.where(ring @ w > 0, 1.0, -1.0)),
    ]
    pair = _comparable(Linf(1), L1(1), w[None], 0.2 * np.abs(w).sum())
    hull, width = Affine(*pair), hoeffding(n, len(laws), FAILURE / 2)
    plane = np.stack([w, v], axis=1)  # the score depends on <w, x> and <v, x> alone
    f = Score(np.array([1.0, 0.0]), np.array([0.0, 1.0]), b, bend)
    only_mixed, rates = 0, []
    for x, y in samples:
        r_1, r_2 = (S.argmax(-y[:, None] * w) @ plane for S in pair)
        of_one = [β * r for r in (r_1, r_2) for β in SHARES] + [S.sample(x, rng) @ plane for S in pair]
        of_mixture = [β * r_1 + (1 - β) * r_2 for β in SHARES] + [hull.sample(x, rng) @ plane]
        one, mixed = (np.any([y * f(x @ plane + r) <= 0 for r in noise], axis=0) for noise in (of_one, of_mixture))
        only_mixed += np.sum(mixed & ~one)
        rates.append(one.mean())
    exact = [dist.linear_risk(w, Union(pair), b) for dist in laws]
    off = np.abs(np.array(rates[:2]) - exact).max()
    unseen = np.log(4 / (FAILURE / 2)) / n  # the probability, on each law, of what did not occur
    return Evidence(
        only_mixed == 0 and off <= width,
        f"{only_mixed} of {4 * n} samples broken by a mixture alone (none: probability ≤ {unseen:.1e}); R_max "
        f"{', '.join(f'{rate:.4f}' for rate in rates)}, within {off:.4f} of the exact risks ≤ {width:.4f} "
        "(failure ≤ 1e-9)",
        {
            "samples": 4 * n,
            "samples broken by a mixture alone": only_mixed,
            "bound on their probability if none": unseen,
            "R_max on D_B": around(rates[0], width),
            "R_max on D_G": around(rates[1], width),
            "exact R_max on D_B": exact[0],
            "exact R_max on D_G": exact[1],
        },
        FAILURE,
    )


def certified(bend: float = 0.0) -> Evidence:
    """Ball arithmetic: over all β in [0, 1] at once, the derivative of the worst score excludes zero.

    So the score is monotone in β and its least value is at β = 0 or β = 1: one type of noise. The exact extremal noises
    are enclosed and the score is differentiated automatically (a power series in β), for three weights and all pairs.
    """
    pairs: list[tuple[Fraction | float, Fraction]]
    pairs = [(inf, Fraction(1)), (Fraction(2), Fraction(1)), (inf, Fraction(2)), (Fraction(3, 2), Fraction(4))]
    weights = ((2, 1), (3, -1, 0, 2), tuple(range(1, 33)))
    derivatives, least = [], inf
    for (p, q), w in product(pairs, weights):
        w = [ball(w_i) for w_i in w]
        r_1 = _worst_noise(w, p)
        r_2 = [r_i * ball(1.125) * _shift(w, r_1) / _shift(w, _worst_noise(w, q)) for r_i in _worst_noise(w, q)]
        v = [ball((-1) ** i) for i in range(len(w))]
        middle = (_shift(v, r_1) + _shift(v, r_2)) / 2
        x = [v_i * middle / len(v) for v_i in v]  # <v, x> halfway, where a bend bends most
        share = arb_series([arb(0.5, 0.5), 1], 2)  # β + dβ, β any point of [0, 1]
        mixed = [share * a + (1 - share) * c for a, c in zip(r_1, r_2, strict=True)]
        moved = [x_i - r_i for x_i, r_i in zip(x, mixed, strict=True)]
        score = _shift(w, moved) + ball(bend) * _shift(v, moved) ** 2
        derivatives.append(score[1])
        least = min(least, float(score[1].abs_lower()))
    return Evidence(
        all(slope > 0 or slope < 0 for slope in derivatives),
        f"{len(derivatives)} pairs of balls and weights: |d score/dβ| ≥ {least:.4g} on all of [0, 1]",
        {"pairs": len(derivatives), "|d score/dbeta|, lower bound": least},
        failure=0.0,
    )


def _shift(w: list, r: list):
    """<w, r>."""
    return sum((w_i * r_i for w_i, r_i in zip(w, r, strict=True)), start=ball(0))


def _worst_noise(w: list, p: Fraction | float) -> list:
    """An enclosure of a maximiser of <w, r> over the unit l_p ball."""
    q = dual(p)
    size = [abs(w_i) for w_i in w]
    if q == inf:
        k = max(range(len(w)), key=lambda i: float(size[i]))
        return [w_i.sgn() if i == k else ball(0) for i, w_i in enumerate(w)]
    norm = power(sum((power(s, q) for s in size), start=ball(0)), 1 / q)
    return [w_i.sgn() * (power(s / norm, q - 1) if q > 1 else 1) for w_i, s in zip(w, size, strict=True)]


THEOREM = Theorem(
    "claim3-affine-linear",
    "Tramèr & Boneh 2019, Claim 3",
    r"For $f(x) = \mathrm{sign}(w^\top x + b)$ and two $\ell_p$ balls, on any distribution: "
    r"$R_{max}(f; S_p, S_q) = R_{adv}(f; S_{affine})$",
    (symbolic, numeric, simulated, certified),
    breaks={"bend": 1.0},
    thorough={"larger sample": partial(simulated, n=200_000)},
)
