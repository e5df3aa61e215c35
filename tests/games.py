"""Games on D_B: any, and those whose values are known from other programs."""

from math import inf, sqrt

from hypothesis import strategies as st

from tradeoff.perturbations import L1, Linf, Lp
from tradeoff.theory import BernoulliFeature

ADVERSARIES = ("average", "union", "affine")
D = BernoulliFeature(2.0, 100, 0.9)
FAR = BernoulliFeature(4.0, 10**4, 0.99), (Linf(0.16), L1(4 / 3))
VALUES = [
    (D, (Linf(D.eta), L1(2)), "union", 0.228870),
    (D, (Linf(D.eta), L1(2)), "average", 0.195743),
    (D, (Linf(2 * D.eta), L1(2)), "union", 0.5),
    (D, (Linf(2 * D.eta), L1(2)), "average", 0.5),
    (BernoulliFeature(2.0, 200, 0.977), (Linf(3 / sqrt(200)), L1(3)), "union", 0.339175),
    (*FAR, "union", 0.010032),
    (*FAR, "affine", 0.5),
]


@st.composite
def games(draw, least=1, most=3):
    """D_B, and balls whose reach in x_0 or in T is comparable to the distance between the classes."""
    alpha, d = draw(st.floats(0.25, 6)), int(10 ** draw(st.floats(0, 9)))
    sets = []
    for _ in range(draw(st.integers(least, most))):
        p = draw(st.sampled_from([1.0, 1.5, 2.0, 4.0, inf]))
        along = alpha * d ** (1 / p - 0.5)  # moves T as far as a class centre
        sets.append(Lp(p, draw(st.sampled_from([0.0, 1.0, along])) * draw(st.floats(0.01, 2.5))))
    return BernoulliFeature(alpha, d, draw(st.sampled_from([0.5, 0.6, 0.9, 0.999]))), tuple(sets)
