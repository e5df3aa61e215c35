r"""Theorem 1 for dual norms: l_p and l_q noise are mutually exclusive, and the exclusion grows with d.

On D_B (`BernoulliFeature`), let 1/p + 1/q = 1 with 1 ≤ p < 2, S_p the l_p ball of radius 2 and S_q the l_q ball of
radius 2 alpha d^{1/q-1/2}. Then R_avg(f; S_p, S_q) ≥ 1/2 for every f. The radius of S_q tends to 0 with growing d,
while the same flip of the weak features costs 2 alpha d^{1/p-1/2} → ∞ in l_p: the feature that is robust in a norm is
the fragile one in its dual.

Proof. The flips of Theorem 1 are (2, 0, .., 0) up to sign, of l_p norm 2, and (0, 2 eta, .., 2 eta), of l_q norm
2 eta d^{1/q} = 2 alpha d^{1/q-1/2}: both are admissible, and the rest of that proof does not mention the norms. With
1/q = 1/2 - s and 1/p = 1/2 + s, where 0 < s ≤ 1/2, the two costs are 2 alpha d^{-s} and 2 alpha d^s.

`radius` is the l_p radius, and radius·alpha·d^{1/q-1/2} the l_q radius.
"""

from fractions import Fraction
from functools import partial
from math import sqrt

import numpy as np
import sympy as sp
from scipy.special import ndtr

from tradeoff.perturbations import Lp
from tradeoff.theory.distributions import BernoulliFeature
from tradeoff.theory.intervals import ball, dual, exceeds, power, risk_in_plane
from tradeoff.theory.theorem import FAILURE, Evidence, Theorem, around, hoeffding, proof
from tradeoff.theory.theorems.thm1_linf_l1 import flips_give_one_law

P = (Fraction(1), Fraction(6, 5), Fraction(3, 2), Fraction(7, 4))


def balls(dist: BernoulliFeature, p: Fraction, radius: float) -> tuple[Lp, Lp]:
    """S_p and S_q.

    >>> balls(BernoulliFeature(alpha=2, d=100, p0=0.9), Fraction(1), 2.0)
    (L1(2), Linf(0.4))
    """
    q = float(dual(p))
    return Lp(float(p), radius), Lp(q, radius * dist.alpha * dist.d ** (1 / q - 0.5))


def symbolic(radius: float = 2.0) -> Evidence:
    """Each step of the proof in sympy, for every 1 < p < 2, p0, alpha > 0, d ≥ 1; p = 1, q = ∞ as the limit s = 1/2."""
    alpha, d, s, margin = sp.symbols("alpha d s margin", positive=True)
    eta, budget = alpha / sp.sqrt(d), sp.nsimplify(radius)
    q, p = 1 / (sp.Rational(1, 2) - s), 1 / (sp.Rational(1, 2) + s)
    inside = {s: 1 / (2 + margin)}  # 0 < s < 1/2, that is 1 < p < 2

    def weak_flip(exponent):  # ‖(2 eta, .., 2 eta)‖
        return (d * (2 * eta) ** exponent).subs(inside) ** (1 / exponent.subs(inside))

    def same(a, b):
        return sp.simplify(sp.expand_log(sp.log(a / b), force=True)) == 0

    radius_q = (budget * alpha * d ** (1 / q - sp.Rational(1, 2))).subs(inside)
    return proof(
        {
            "1/p + 1/q = 1": sp.simplify(1 / p + 1 / q) == 1,
            "the strong flip, of l_p norm 2, is admissible": sp.Integer(2) <= budget,
            "the weak flip is admissible in l_q": same(weak_flip(q) * budget / 2, radius_q) and sp.Integer(2) <= budget,
            "p = 1 is the limit s = 1/2": same(2 * eta, (2 * alpha * d**-s).subs(s, sp.Rational(1, 2))),
            "the weak flip costs 2 alpha d^{1/p-1/2} in l_p": same(weak_flip(p), (2 * alpha * d**s).subs(inside)),
            "the l_q radius 2 alpha d^{-s} tends to 0": sp.limit(2 * alpha * d**-s, d, sp.oo) == 0,
            "the l_p cost 2 alpha d^s tends to infinity": sp.limit(2 * alpha * d**s, d, sp.oo) == sp.oo,
            **flips_give_one_law(min(radius, 2.0)),
        }
    )


def numeric(radius: float = 2.0) -> Evidence:
    """Exact risks of linear classifiers for several p and d up to 10^6, and the reversal of the robust feature.

    The costs, and the risks of sign(x_0) and sign(Σ x_i), are compared with the formulas to a relative 1e-9, for sums
    of 10^6 terms.
    """
    least, agree, costs = np.inf, True, {}
    for p in P:
        last = None
        for d in (64, 4096, 10**6):
            dist = BernoulliFeature(alpha=1.0, d=d, p0=0.9)
            sets = balls(dist, p, radius)
            w = np.ones((4, d + 1))
            w[:, 0] = np.array([0.0, 0.5, 5.0, 1.0]) * sqrt(d)
            w[-1, 1:] = 0.0  # sign(x_0); row 0 is sign(Σ x_i)
            risks = np.array([dist.linear_risk(w, S) for S in sets])
            least = min(least, risks.mean(axis=0).min())
            # By duality, moving T = Σ x_i/√d by 2 alpha costs at least 2 alpha over what a unit ball can move it.
            to_T = np.r_[0.0, np.full(d, 1 / sqrt(d))][None]
            cost = np.array([2 * dist.alpha / Lp(S.p, 1).support(to_T)[0] for S in sets])
            rate = d ** (float(1 / p) - 0.5)
            agree &= np.allclose(cost, [2 * dist.alpha * rate, 2 * dist.alpha / rate], rtol=1e-9, atol=0)
            agree &= last is None or bool(cost[0] > last[0] and cost[1] < last[1])
            shifts = [radius * 1 / rate, radius * dist.alpha]  # of T, by S_p and by S_q
            agree &= np.allclose(risks[:, 0], ndtr(np.array(shifts) - dist.alpha), rtol=1e-9, atol=0)
            agree &= np.allclose(risks[:, -1], [1.0 if S.eps >= 1 else 0.1 for S in sets], rtol=1e-9, atol=0)
            last = cost
        costs[p] = last
    return Evidence(
        agree and least >= 0.5 - 1e-12,
        f"least R_avg of sign(c x_0 + Σ x_i) {least:.9f}; at d = 10^6, alpha = 1 the weak flip costs in l_p and in l_q "
        f"{', '.join(f'{in_p:.4g} and {in_q:.4g} (p = {p})' for p, (in_p, in_q) in costs.items())}",
        {
            "R_avg, least": least,
            **{f"cost in l_p (p={p})": in_p for p, (in_p, _) in costs.items()},
            **{f"cost in l_q (p={p})": in_q for p, (_, in_q) in costs.items()},
        },
    )


def simulated(radius: float = 2.0, n: int = 40_000, seed: int = 2) -> Evidence:
    """The worst noise (`Lp.argmax`) against linear classifiers, on samples.

    Every error rate is that of `linear_risk`, and R_avg ≥ 1/2, within intervals (Hoeffding) that all hold together with
    probability at least 1 - 1e-9.
    """
    dist, rng = BernoulliFeature(alpha=2.0, d=64, p0=0.9), np.random.default_rng(seed)
    x, y = dist.sample(n, rng)
    w = np.concatenate([np.eye(dist.d + 1)[:1], np.ones((8, dist.d + 1))])
    w[1:, 0] = (0.0, 4.0, 11.0, 20.0, *rng.normal(0, 8, 4))
    w[5:, 1:] += rng.normal(0, 0.5, (4, dist.d))
    exponents = P[:3]
    width = hoeffding(n, 2 * len(exponents) * len(w), FAILURE)
    least, furthest = np.inf, 0.0
    for p in exponents:
        rates = []
        for S in balls(dist, p, radius):
            r = S.argmax(w)  # against label y, the worst noise is -y r
            scores = [(x - y[:, None] * r_k) @ w_k for w_k, r_k in zip(w, r, strict=True)]
            rates.append(np.mean(y * np.array(scores) <= 0, axis=1))
            furthest = max(furthest, np.abs(rates[-1] - dist.linear_risk(w, S)).max())
        least = min(least, np.mean(rates, axis=0).min())
    return Evidence(
        least >= 0.5 - width and furthest <= width,
        f"least R_avg of {len(w)} linear classifiers under worst l_p and l_q noise {least:.4f} ≥ 0.5 - {width:.4f}, "
        f"error rates within {furthest:.4f} of the exact risks (failure ≤ 1e-9)",
        {
            "classifiers": len(w),
            "R_avg, least": around(least, width),
            "distance from the exact risks": furthest,
            "distance allowed": width,
        },
        FAILURE,
    )


def certified(radius: float = 2.0) -> Evidence:
    """Ball arithmetic: sign(c x_0 + Σ x_i/√d) has R_avg > 1/2 for every real c in [0, 4], for several p and d."""
    total, covered = 0, True
    for p in P:
        for d in (16, 64, 1024):
            dist, q = BernoulliFeature(alpha=2.0, d=d, p0=0.875), dual(p)
            rate = power(ball(d), 1 / p - Fraction(1, 2))
            eps_p, eps_q = ball(radius), ball(radius) * ball(dist.alpha) / rate

            def average_risk(lo, hi, dist=dist, p=p, q=q, eps_p=eps_p, eps_q=eps_q):
                return (risk_in_plane(dist, p, eps_p, lo, hi) + risk_in_plane(dist, q, eps_q, lo, hi)) / 2

            holds, pieces = exceeds(average_risk, ball(0.5), Fraction(0), Fraction(4))
            covered, total = covered and holds, total + pieces
    return Evidence(
        covered,
        f"sign(c x_0 + T), p in {', '.join(map(str, P))}, d in 16, 64, 1024: "
        f"{'R_avg > 1/2 for all c in [0, 4]' if covered else 'not always above 1/2'} ({total} pieces)",
        {"pieces": total},
        failure=0.0,
    )


THEOREM = Theorem(
    "thm1-dual-norms",
    "Tramèr & Boneh 2019, Theorem 1, dual norms",
    r"On $\mathcal{D}_B$ with $1/p + 1/q = 1$, $p < 2$, $\epsilon_p = 2$, $\epsilon_q = 2\alpha d^{1/q - 1/2} \to 0$: "
    r"$R_{avg}(f; S_p, S_q) \ge 1/2$ for every $f$",
    (symbolic, numeric, simulated, certified),
    breaks={"radius": 1.0},
    thorough={"larger sample": partial(simulated, n=400_000)},
)
