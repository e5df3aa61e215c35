"""D_B and D_G: samples, Bayes risks and exact linear risks, against closed forms, quadrature and Monte Carlo."""

from math import inf, log, sqrt

import numpy as np
import pytest
from flint import arb, ctx
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import ndtr

from tradeoff.perturbations import L1, L2, Affine, Linf, Lp, Union
from tradeoff.theory import BernoulliFeature, GaussianFeature
from tradeoff.theory.intervals import normal_cdf
from tradeoff.theory.theorem import hoeffding

DISTRIBUTIONS = [
    BernoulliFeature(2.0, 100, 0.9),
    BernoulliFeature(0.5, 3, 0.5),
    BernoulliFeature(1.0, 1, 0.75),
    GaussianFeature(2.0, 100),
    GaussianFeature(0.5, 3),
    GaussianFeature(1.0, 1),
]
SETS = [None, Linf(0.1), L2(0.5), L1(1.5), Lp(3, 0.4), Union((Linf(0.1), L1(1.5))), Affine(L2(0.5), Linf(0.1))]


def test_bayes_risk_oracles():
    assert BernoulliFeature(2, 100, 0.9).bayes_risk() == pytest.approx(0.01220044391116520579, rel=1e-13)  # 40 digits
    assert GaussianFeature(2, 784).bayes_risk() == pytest.approx(ndtr(-2 * sqrt(2)), rel=1e-14)
    assert BernoulliFeature(2, 100, 0.5).bayes_risk() == pytest.approx(ndtr(-2.0), rel=1e-14)  # x_0 says nothing
    assert BernoulliFeature(1e-9, 100, 0.9).bayes_risk() == pytest.approx(0.1, rel=1e-12)  # the weak ones say nothing


@pytest.mark.parametrize("dist", DISTRIBUTIONS, ids=str)
def test_samples_follow_the_law(dist):
    """Mean and covariance of y·x by Hoeffding on bounded statistics: signs and an indicator. Failure ≤ 1e-9 each."""
    n = 100_000
    x, y = dist.sample(n, np.random.default_rng(0))
    assert x.shape == (n, dist.d + 1) and y.shape == (n,) and x.dtype == y.dtype == np.float64
    assert set(np.unique(y)) == {-1.0, 1.0}
    aligned = y[:, None] * x
    strong = dist.p0 if isinstance(dist, BernoulliFeature) else ndtr(dist.alpha)
    expected = np.r_[strong, np.full(dist.d, ndtr(dist.eta))]
    width = hoeffding(n, 3 * (dist.d + 1), 1e-9)
    assert np.all(np.abs((aligned > 0).mean(axis=0) - expected) < width)
    assert abs((y > 0).mean() - 0.5) < width
    assert np.all(np.abs((aligned[:, 1:] > dist.eta + 1).mean(axis=0) - ndtr(-1)) < width)  # unit variance
    T = x[:, 1:].sum(axis=1) / sqrt(dist.d)
    assert abs((y * T <= dist.alpha - 1).mean() - ndtr(-1)) < width  # N(alpha, 1): the weak features are independent
    if isinstance(dist, GaussianFeature):
        assert abs((aligned[:, 0] <= 1 - 1 / dist.alpha).mean() - ndtr(-1)) < width
    else:
        assert np.all(np.abs(x[:, 0]) == 1)


def test_sampling_is_reproducible_and_independent_of_other_draws():
    dist = DISTRIBUTIONS[0]
    first, again = (dist.sample(50, np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])


@pytest.mark.parametrize("S", SETS, ids=str)
@pytest.mark.parametrize("dist", DISTRIBUTIONS, ids=str)
def test_linear_risk_is_the_error_rate_under_the_worst_noise(dist, S):
    """Monte Carlo with S.argmax; all the rates of a test within Hoeffding intervals of joint failure ≤ 1e-9."""
    n, rng = 20_000, np.random.default_rng(1)
    x, y = dist.sample(n, rng)
    w = rng.normal(0.3, 1.0, (8, dist.d + 1))
    w[1] = np.eye(dist.d + 1)[0]
    w[2, 0] = 0.0
    w[3, 1:] *= rng.random(dist.d) < 0.1
    b = np.r_[0.0, 0.0, 0.0, 0.3, rng.normal(size=4)]
    noise = np.zeros_like(w) if S is None else S.argmax(w)
    rates = np.mean(y * (x @ w.T + b).T - (w * noise).sum(axis=1)[:, None] <= 0, axis=1)
    risks = dist.linear_risk(w, S, b)
    assert np.all(np.abs(rates - risks) <= hoeffding(n, len(w), 1e-9))


@pytest.mark.parametrize("S", SETS, ids=str)
@pytest.mark.parametrize("b", [0.0, 0.7])
@pytest.mark.parametrize("strong", ["bernoulli", "gaussian"])
def test_linear_risk_by_integration_over_the_features_one_at_a_time(strong, b, S):
    """d = 2: P[w_1 x_1 ≤ t] given x_0, x_2, integrated over x_2 and over (or summed over) x_0."""
    alpha, w, p0 = 0.8, np.array([0.6, -0.9, 1.4]), 0.8
    dist = BernoulliFeature(alpha, 2, p0) if strong == "bernoulli" else GaussianFeature(alpha, 2)
    eta = alpha / sqrt(2)
    s = 0.0 if S is None else float(S.support(w[None])[0])

    def density(t, mean, spread=1.0):
        return np.exp(-(((t - mean) / spread) ** 2) / 2) / (spread * sqrt(2 * np.pi))

    def given_x_0(x_0, y):
        # y(w_0 x_0 + w_1 x_1 + w_2 x_2 + b) ≤ s, w_1 < 0
        def inner(x_2):
            most = s - y * (w[0] * x_0 + w[2] * x_2 + b)  # of y w_1 x_1 ~ N(w_1 eta, w_1²)
            return ndtr((most - w[1] * eta) / abs(w[1])) * density(x_2, y * eta)

        return quad(inner, y * eta - 10, y * eta + 10, epsabs=1e-12, epsrel=1e-12)[0]

    expected = 0.0
    for y in (1, -1):
        if strong == "bernoulli":
            expected += (p0 * given_x_0(y, y) + (1 - p0) * given_x_0(-y, y)) / 2
        else:
            low, high = y - 10 / alpha, y + 10 / alpha
            outer = quad(lambda t, y=y: given_x_0(t, y) * density(t, y, 1 / alpha), low, high, epsabs=1e-11)[0]
            expected += outer / 2
    assert dist.linear_risk(w, S, b) == pytest.approx(expected, abs=1e-9)  # the quadrature's own error


@pytest.mark.parametrize("d", [1, 25, 784, 10**6])
@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_the_two_textbook_classifiers(alpha, d):
    dist = BernoulliFeature(alpha, d, 0.9)
    strong, weak = np.eye(1, d + 1)[0], np.r_[0.0, np.ones(d)]
    for eps in (0.0, 0.5, 0.999):
        assert dist.linear_risk(strong, Linf(eps)) == pytest.approx(0.1, rel=1e-14)
    for eps in (1.0, 1.5, 2.0):  # at 1 every score is a tie
        assert dist.linear_risk(strong, L1(eps)) == 1.0
    rtol = 1e-9  # of sums of 10^6 terms
    assert dist.linear_risk(weak) == pytest.approx(ndtr(-alpha), rel=rtol)
    assert dist.linear_risk(weak, L1(2)) == pytest.approx(ndtr(-alpha + 2 / sqrt(d)), rel=rtol)
    assert dist.linear_risk(weak, Linf(0.3 * dist.eta)) == pytest.approx(ndtr(-alpha + 0.3 * alpha), rel=rtol)
    assert dist.linear_risk(weak, Linf(2 * dist.eta)) == pytest.approx(ndtr(alpha), rel=rtol)


def test_constants_and_ties():
    dist = BernoulliFeature(2.0, 3, 0.9)
    zero, strong = np.zeros(4), np.array([1.0, 0, 0, 0])
    assert dist.linear_risk(zero, L1(5), 1.0) == dist.linear_risk(zero, b=-1e-300) == 0.5
    assert dist.linear_risk(zero) == 1.0  # sign(0) is no label
    assert dist.linear_risk(strong, b=1.0) == pytest.approx((0.1 + 1) / 2)  # scores 2 and 0
    assert dist.linear_risk(strong, b=2.0) == 0.5
    assert dist.linear_risk(-strong) == pytest.approx(0.9)
    gauss = GaussianFeature(2.0, 3)
    assert gauss.linear_risk(zero) == 1.0 and gauss.linear_risk(zero, b=3.0) == 0.5
    assert gauss.linear_risk(strong) == pytest.approx(ndtr(-2.0), rel=1e-14)


def bayes_weights(dist):
    strong = log(dist.p0 / (1 - dist.p0)) if isinstance(dist, BernoulliFeature) else 2 * dist.alpha**2
    return np.r_[strong, np.full(dist.d, 2 * dist.eta)]


@pytest.mark.parametrize("dist", DISTRIBUTIONS, ids=str)
def test_bayes_risk_is_the_least_linear_risk(dist):
    """Both log-likelihood ratios are linear, so the minimum is attained; nothing near or far goes below."""
    w, rng = bayes_weights(dist), np.random.default_rng(2)
    assert dist.linear_risk(w) == pytest.approx(dist.bayes_risk(), rel=1e-12)
    others = w + rng.normal(size=(2000, dist.d + 1)) * np.abs(w) * np.geomspace(1e-3, 10, 2000)[:, None]
    offsets = rng.normal(size=2000) * np.geomspace(1e-3, 10, 2000)
    assert np.all(dist.linear_risk(others, b=offsets) >= dist.bayes_risk() * (1 - 1e-12))


@pytest.mark.parametrize("alpha", [6.0, 20.0, 26.0])
def test_tails_are_accurate_to_the_last_digits(alpha):
    with ctx.workprec(200):
        expected = float(normal_cdf(arb(-alpha) * arb(2).sqrt()))
        shift = arb(9).log() / (2 * arb(alpha))  # log(p0/(1-p0)) = log 9; 0.9 is not exactly a float: rtol
        bernoulli = 0.9 * float(normal_cdf(-arb(alpha) - shift)) + 0.1 * float(normal_cdf(-arb(alpha) + shift))
    gauss, bern = GaussianFeature(alpha, 400), BernoulliFeature(alpha, 400, 0.9)
    rtol = 4e-16 * alpha**2 * 2 + 1e-13  # d log Φ(-t) = -t² (dt/t): the argument's rounding is amplified
    assert 0 < expected and gauss.bayes_risk() == pytest.approx(expected, rel=rtol, abs=0)
    assert gauss.linear_risk(bayes_weights(gauss)) == pytest.approx(expected, rel=10 * rtol, abs=0)
    assert bern.bayes_risk() == pytest.approx(bernoulli, rel=rtol, abs=0)
    assert bern.linear_risk(bayes_weights(bern)) == pytest.approx(bernoulli, rel=10 * rtol, abs=0)


@pytest.mark.parametrize("scale", [1e-320, 1e-300, 1e-150, 1.0, 3.7, 1e150, 1e300])
@pytest.mark.parametrize("dist", DISTRIBUTIONS[:4], ids=str)
def test_scaling_a_classifier_changes_nothing(dist, scale):
    w, b = np.random.default_rng(3).normal(size=dist.d + 1), 0.4
    rtol = 1e-2 if scale == 1e-320 else 1e-12  # subnormal: the weights themselves are rounded to three digits
    S = Union((L1(1.0), L2(0.3)))
    assert dist.linear_risk(scale * w, S, scale * b) == pytest.approx(dist.linear_risk(w, S, b), rel=rtol)


def test_vanishing_weak_weights_tend_to_the_step():
    dist = BernoulliFeature(2.0, 4, 0.9)
    w = np.r_[1.0, np.full(4, 1e-200)]
    assert dist.linear_risk(w, Linf(0.5)) == pytest.approx(0.1, rel=1e-14)
    w = np.r_[1.0, np.full(4, 5e-324)]
    assert dist.linear_risk(w, Linf(0.5)) == pytest.approx(0.1, rel=1e-14)


def test_a_batch_is_its_rows():
    for dist in DISTRIBUTIONS:
        rng = np.random.default_rng(5)
        w, b = rng.normal(size=(7, dist.d + 1)), rng.normal(size=7)
        w[0], w[1, 1:] = 0.0, 0.0
        batched = dist.linear_risk(w, Linf(0.1), b)
        assert batched.shape == (7,)
        # A sum may be taken in another order for another shape of array.
        rows = [dist.linear_risk(w_k, Linf(0.1), b_k) for w_k, b_k in zip(w, b, strict=True)]
        assert all(isinstance(row, float) for row in rows)
        np.testing.assert_allclose(batched, rows, rtol=1e-12)


weights = st.lists(st.floats(-1e3, 1e3, allow_subnormal=False), min_size=4, max_size=4).map(np.array)
radii = st.floats(0, 10)


@settings(deadline=None, max_examples=150)
@given(weights, st.floats(-100, 100), radii, radii, st.sampled_from([1.0, 1.5, 2.0, inf]), st.floats(0.05, 5))
def test_risks_are_probabilities_that_grow_with_the_noise(w, b, small, large, p, alpha):
    small, large = sorted((small, large))
    for dist in (BernoulliFeature(alpha, 3, 0.8), GaussianFeature(alpha, 3)):
        clean, weaker, stronger = (dist.linear_risk(w, S, b) for S in (None, Lp(p, small), Lp(p, large)))
        slack = 1e-12
        assert dist.bayes_risk() - slack <= clean <= weaker + slack <= stronger + 2 * slack <= 1 + 3 * slack
        if np.any(w) or b:  # the two classifiers disagree everywhere but on ties, which both lose
            assert clean + dist.linear_risk(-w, None, -b) >= 1 - slack
        assert dist.linear_risk(w, Lp(p, 0), b) == clean
        # Labels are symmetric.
        assert dist.linear_risk(w, Lp(p, small), -b) == pytest.approx(weaker, abs=slack)


@settings(deadline=None, max_examples=100)
@given(weights, st.floats(-10, 10), radii, radii)
def test_union_and_affine_risks_agree_and_bound_their_members(w, b, eps_inf, eps_1):
    A, B = Linf(eps_inf), L1(eps_1)
    for dist in (BernoulliFeature(1.5, 3, 0.8), GaussianFeature(1.5, 3)):
        one = [dist.linear_risk(w, S, b) for S in (A, B)]
        assert dist.linear_risk(w, Union((A, B)), b) == max(one) == dist.linear_risk(w, Affine(A, B), b)


BAD_FIELDS = [
    ({"alpha": 0}, "alpha is 0"),
    ({"alpha": -1.0}, "alpha is -1.0"),
    ({"alpha": inf}, "alpha is inf"),
    ({"alpha": float("nan")}, "alpha is nan"),
    ({"alpha": "2"}, "alpha is '2'"),
    ({"d": 0}, "d is 0"),
    ({"d": -3}, "d is -3"),
    ({"d": 2.5}, "d is 2.5"),
    ({"d": True}, "d is True"),
    ({"d": None}, "d is None"),
]


@pytest.mark.parametrize(("fields", "message"), BAD_FIELDS, ids=str)
def test_bad_parameters_are_named(fields, message):
    for make in (GaussianFeature, lambda alpha, d: BernoulliFeature(alpha, d, 0.9)):
        with pytest.raises(ValueError, match=message) as error:
            make(**{"alpha": 2.0, "d": 10, **fields})
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("p0", [0.49, 1, 1.5, -0.9, float("nan"), "0.9", None])
def test_bad_p0_is_named(p0):
    with pytest.raises(ValueError, match="p0 is .*1/2 ≤ p0 < 1"):
        BernoulliFeature(2.0, 10, p0)


@pytest.mark.parametrize("dist", [BernoulliFeature(2.0, 3, 0.9), GaussianFeature(2.0, 3)], ids=str)
def test_bad_arguments_are_named(dist):
    for w in (np.ones(3), np.ones((2, 5)), np.ones((1, 1, 4)), np.ones((0, 4)), 1.0):
        with pytest.raises(ValueError, match=r"needs \(d\+1,\) = \(4,\) or"):
            dist.linear_risk(w)
    for w, b in ((np.ones(4), np.ones(2)), (np.ones((3, 4)), np.ones(2)), (np.ones((3, 4)), np.ones((3, 1)))):
        with pytest.raises(ValueError, match="b has shape"):
            dist.linear_risk(w, b=b)
    for w, b in ((np.array([1, np.nan, 0, 0]), 0.0), (np.ones(4), inf)):
        with pytest.raises(ValueError, match="not finite"):
            dist.linear_risk(w, b=b)
    for n in (0, -1, 2.5):
        with pytest.raises(ValueError, match=f"n is {n}"):
            dist.sample(n, np.random.default_rng(0))


def test_numpy_numbers_are_accepted_and_equal():
    assert BernoulliFeature(np.float32(2), np.int64(100), np.float64(0.5)) == BernoulliFeature(2, 100, 0.5)
    assert GaussianFeature(np.int64(2), np.int32(7)) == GaussianFeature(2.0, 7)
    assert hash(GaussianFeature(2, 7)) == hash(GaussianFeature(2.0, 7))
