"""The laws of a perturbation set, over every set, NumPy and torch, float32 and float64, vectors and images."""

from itertools import product
from math import inf

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import interpolate, ndimage, optimize

from tradeoff.perturbations import (
    L1,
    L2,
    PRESETS,
    Affine,
    BrightnessContrast,
    Elastic,
    GaussianBlur,
    Linf,
    Lp,
    RotationTranslation,
    Swap,
    Union,
    elastic,
    parse,
)

BALLS = [Linf(0.3), L2(1.0), L1(2.0), Lp(1.5, 0.7), Lp(3, 1.2), Lp(1.05, 2.0), Lp(40, 0.3), Linf(0), L1(0)]
HULLS = [
    Affine(Linf(0.3), L1(2.0)),
    Affine(L2(1.0), Linf(0.3)),
    Affine(L2(1.0), L1(1.5)),
    Affine(L1(1.0), L1(2.0)),
    Affine(Linf(0.3), Lp(1.5, 1.0)),
]
UNIONS = [Union((Linf(0.3), L1(2.0))), Union((Linf(0.3), L2(1.0), L1(2.0)))]
CONVEX = BALLS + HULLS
ADDITIVE = CONVEX + UNIONS
FILTERS = [
    *(RotationTranslation(3, 30), RotationTranslation(0, 10), RotationTranslation(2, 0)),
    *(BrightnessContrast(0.3, 0.5), BrightnessContrast(0, 1), GaussianBlur(2), GaussianBlur(0)),
    *(Elastic(1, 3), Elastic(0, 1), Elastic(2.5, 1)),
]
MOVES = [*FILTERS, Swap(4), Swap(0)]
KINDS = list(product((np.float32, np.float64), (False, True)))  # dtype, torch?


def batch(dtype, as_torch, shape=(6, 1, 3, 4), seed=0, scale=1.0):
    z = (scale * np.random.default_rng(seed).normal(size=shape)).astype(dtype)
    z[0] = 0.0
    z[1] *= 1e-3  # inside most sets
    return torch.from_numpy(z) if as_torch else z


def value(array):
    """As float64 NumPy, flattened per example."""
    array = np.asarray(array, dtype=np.float64)
    return array.reshape(len(array), -1)


def inner(a, b):
    return (value(a) * value(b)).sum(axis=1)


@pytest.mark.parametrize(("dtype", "as_torch"), KINDS)
@pytest.mark.parametrize("S", [Linf(50), L2(50), L1(50), Lp(3, 50)], ids=str)
def test_no_direction_moves_nothing_however_large_the_set(S, dtype, as_torch):
    zero = 0 * batch(dtype, as_torch)
    assert not value(S.argmax(zero)).any() and not value(S.project(zero)).any()
    assert not value(S.project(zero, zero, zero)).any()


@pytest.mark.parametrize(("dtype", "as_torch"), KINDS)
@pytest.mark.parametrize("S", ADDITIVE, ids=str)
def test_sample_argmax_and_project_lie_in_the_set(S, dtype, as_torch):
    z = batch(dtype, as_torch)
    for r in (S.sample(z, np.random.default_rng(1)), S.argmax(z), S.project(z)):
        assert type(r) is type(z) and r.shape == z.shape and r.dtype == z.dtype
        assert np.all(np.asarray(S.contains(r)))
        assert np.all(np.isfinite(value(r)))


@pytest.mark.parametrize(("dtype", "as_torch"), KINDS)
@pytest.mark.parametrize("S", ADDITIVE, ids=str)
def test_argmax_attains_the_support_and_nothing_exceeds_it(S, dtype, as_torch):
    w = batch(dtype, as_torch)
    support = value(S.support(w)[:, None])[:, 0]
    rtol = 2e-6 if dtype == np.float32 else 1e-12  # a dozen roundings of the dtype
    np.testing.assert_allclose(inner(w, S.argmax(w)), support, rtol=rtol, atol=1e-30)
    for seed in range(20):
        r = S.sample(w, np.random.default_rng(seed))
        assert np.all(inner(w, r) <= support * (1 + rtol) + 1e-30)


@pytest.mark.parametrize(("dtype", "as_torch"), KINDS)
@pytest.mark.parametrize("scale", [0.1, 1.0, 100.0])
@pytest.mark.parametrize("S", CONVEX, ids=str)
def test_project_meets_the_optimality_condition(S, scale, dtype, as_torch):
    """p = project(z) if and only if p is in S and <z - p, p> = support(z - p): rescaling would fail this."""
    z = batch(dtype, as_torch, scale=scale)
    p = S.project(z)
    gap = value(z) - value(p)
    # In float32 p itself is rounded, which moves <z - p, p> by a rounding of |z|·|p| per entry.
    tol = (4e-6 if dtype == np.float32 else 1e-9) * np.linalg.norm(value(z), axis=1) * np.linalg.norm(value(p), axis=1)
    assert np.all(np.abs((gap * value(p)).sum(axis=1) - S.support(gap)) <= tol + 1e-12)


@pytest.mark.parametrize(("dtype", "as_torch"), KINDS)
@pytest.mark.parametrize("S", ADDITIVE, ids=str)
def test_project_fixes_the_set(S, dtype, as_torch):
    r = S.sample(batch(dtype, as_torch), np.random.default_rng(3))
    rtol = 1e-6 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(value(S.project(r)), value(r), rtol=rtol, atol=rtol)
    inside = S.sample(batch(dtype, as_torch), np.random.default_rng(3)) * 0.9
    assert np.array_equal(value(S.project(inside)), value(inside))


@pytest.mark.parametrize("S", UNIONS, ids=str)
def test_union_projects_on_the_nearest_member(S):
    z = batch(np.float64, False, scale=2.0)
    distance = np.linalg.norm(value(z - S.project(z)), axis=1)
    each = [np.linalg.norm(value(z - member.project(z)), axis=1) for member in S.sets]
    np.testing.assert_allclose(distance, np.min(each, axis=0), rtol=1e-12)


def brute_force_projection(S, z, box=None):
    """The nearest point of an lp ball (within a box) or hull to z by a general-purpose solver that knows only the
    norms."""
    n = len(z)
    constraint = {"type": "ineq"}
    if isinstance(S, Affine):  # variables r_1, r_2, beta
        size = 2 * n + 1
        constraints = [
            {**constraint, "fun": lambda v: v[-1] * S.a.eps - np.linalg.norm(v[:n], S.a.p)},
            {**constraint, "fun": lambda v: (1 - v[-1]) * S.b.eps - np.linalg.norm(v[n:-1], S.b.p)},
        ]
        objective = lambda v: ((v[:n] + v[n:-1] - z) ** 2).sum()  # noqa: E731
        bounds = [(None, None)] * (2 * n) + [(0, 1)]
        start = np.concatenate([z * 0.01, z * 0.01, [0.5]])
    else:
        size = n
        constraints = [{**constraint, "fun": lambda v: S.eps - np.linalg.norm(v, S.p)}]
        objective, bounds, start = lambda v: ((v - z) ** 2).sum(), box and list(zip(*box, strict=True)), z * 0.01
        if box:
            start = start.clip(*box)
    assert len(start) == size
    found = optimize.minimize(
        objective,
        start,
        bounds=bounds,
        constraints=constraints,
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-14},
    )
    return found.x if size == n else found.x[:n] + found.x[n:-1]


@pytest.mark.parametrize("S", [L2(1.0), Lp(1.5, 0.7), Lp(3, 1.2), HULLS[2]], ids=str)
def test_project_against_a_general_solver(S):
    rng = np.random.default_rng(7)
    for _ in range(5):
        z = rng.normal(size=4) * 2
        ours, theirs = S.project(z[None])[0], brute_force_projection(S, z)
        assert ((ours - z) ** 2).sum() <= ((theirs - z) ** 2).sum() + 1e-6  # the solver may leave the set by 1e-7
        np.testing.assert_allclose(ours, theirs, atol=2e-4)  # the solver's own precision near kinks


@pytest.mark.parametrize("S", [L2(1.0), L1(1.0), Linf(0.4), Lp(1.5, 0.7), Lp(3, 1.2)], ids=str)
def test_project_in_a_box_against_a_general_solver(S):
    rng = np.random.default_rng(8)
    for _ in range(8):
        z = rng.normal(size=4) * 2
        low, high = -rng.uniform(0, 0.8, 4), rng.uniform(0, 0.8, 4)
        low[0], high[1] = 0, 0  # coordinates at an edge of the box
        ours, theirs = S.project(z[None], low[None], high[None])[0], brute_force_projection(S, z, (low, high))
        assert S.contains(ours[None]).all() and np.all(ours >= low) and np.all(ours <= high)
        assert ((ours - z) ** 2).sum() <= ((theirs - z) ** 2).sum() + 1e-6
        if S.p > 1:
            np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_l1_projection_in_a_box_against_every_choice_of_pieces():
    """Brute force: a coordinate is at zero, between, or at its bound; θ follows; the nearest feasible point wins."""
    rng = np.random.default_rng(3)
    for n in (1, 2, 5):
        for _ in range(30):
            z, eps = rng.normal(size=n) * 2, float(rng.uniform(0.1, 2))
            low, high = -rng.uniform(0, 1, n), rng.uniform(0, 1, n)
            a, room = np.abs(z), np.where(z > 0, high, -low)
            ours = L1(eps).project(z[None], low[None], high[None])[0]
            if np.minimum(a, room).sum() <= eps:
                np.testing.assert_array_equal(ours, np.clip(z, low, high))
                continue
            best = np.inf
            for pieces in product((0, 1, 2), repeat=n):
                pieces = np.array(pieces)
                r, free = np.where(pieces == 2, room, 0.0), pieces == 1
                if free.any():
                    r[free] = a[free] - (a[free].sum() + r[~free].sum() - eps) / free.sum()
                if np.all(r >= -1e-12) and np.all(r <= room + 1e-12) and r.sum() <= eps + 1e-12:
                    best = min(best, ((r - a) ** 2).sum())
            assert abs(((ours - z) ** 2).sum() - best) < 1e-10


def test_a_wide_box_changes_no_projection():
    for S in BALLS:
        z = batch(np.float64, False, scale=2.0)
        wide = np.full_like(z, 1e3)
        np.testing.assert_allclose(S.project(z, -wide, wide), S.project(z), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="two bounds"):
        L1(1).project(z, wide)


def duchi(z, eps):
    """Figure 1 of Duchi et al. (2008), by the letter, one vector at a time."""
    if np.abs(z).sum() <= eps:
        return z
    mu = np.sort(np.abs(z))[::-1]
    rho = max(j for j in range(1, len(z) + 1) if mu[j - 1] - (mu[:j].sum() - eps) / j > 0)
    theta = (mu[:rho].sum() - eps) / rho
    return np.sign(z) * np.maximum(np.abs(z) - theta, 0)


def quadratic_program(z, eps):
    """The nearest point of the l1 ball by brute force: every choice of support, the best feasible one."""
    best, n = None, len(z)
    for kept in product((False, True), repeat=n):
        kept = np.array(kept)
        if not kept.any():
            continue
        r = np.zeros(n)
        r[kept] = (np.abs(z[kept]) - (np.abs(z[kept]).sum() - eps) / kept.sum()) * np.sign(z[kept])
        feasible = np.abs(r).sum() <= eps * (1 + 1e-12)
        if feasible and (best is None or ((r - z) ** 2).sum() < ((best - z) ** 2).sum()):
            best = r
    return best


def test_l1_projection_is_that_of_duchi_and_of_brute_force():
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 6, 9):
        for eps in (0.05, 1.0, 3.0):
            z = rng.normal(size=n) * 2
            if n > 2:
                z[1] = z[0]  # ties
            ours = L1(eps).project(z[None])[0]
            np.testing.assert_allclose(ours, duchi(z, eps), atol=1e-14)
            if np.abs(z).sum() > eps:
                np.testing.assert_allclose(ours, quadratic_program(z, eps), atol=1e-12)


FLOATS = st.floats(-1e6, 1e6, allow_nan=False, allow_subnormal=False)


@settings(deadline=None, max_examples=150)
@given(
    z=arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(1, 12)), elements=FLOATS),
    p=st.sampled_from([1.0, 2.0, inf, 1.2, 5.0]),
    eps=st.floats(1e-6, 1e6),
    room=st.floats(0, 1e6),
)
@example(z=np.array([[28.0]]), p=1.0, eps=1e-6, room=14.0)  # an excess that stands still
def test_projection_laws_hold_for_any_numbers(z, p, eps, room):
    S = Lp(p, eps)
    bound = np.full_like(z, room)
    r = S.project(z, -bound, bound)
    assert S.contains(r).all() and np.all(np.abs(r) <= room) and np.all(r * z >= 0)
    free, order = (np.abs(r) < room) & (r != 0), np.abs(z - r)  # only at its bound or at zero is an entry cut more
    if p == 1:
        for gaps, between in zip(order, free, strict=True):
            assert np.ptp(gaps[between]) <= 1e-9 * np.abs(z).max() if between.any() else True
    r = S.project(z)
    assert S.contains(r).all()
    gap = z - r
    size = np.linalg.norm(z, axis=1) * np.linalg.norm(r, axis=1)
    assert np.all(np.abs((gap * r).sum(axis=1) - S.support(gap)) <= 1e-9 * size + 1e-300)
    assert np.array_equal(np.sign(r) * np.sign(z) >= 0, np.ones_like(z, dtype=bool))


@settings(deadline=None, max_examples=100)
@given(
    w=arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(1, 12)), elements=FLOATS),
    p=st.floats(1, 1e3) | st.just(inf),
    eps=st.floats(0, 1e6),
)
def test_duality_holds_for_any_numbers(w, p, eps):
    S = Lp(p, eps)
    r = S.argmax(w)
    assert S.contains(r).all()
    np.testing.assert_allclose((w * r).sum(axis=1), S.support(w), rtol=1e-9, atol=1e-300)
    assert np.all(S.scaled(0.5).support(w) == pytest.approx(0.5 * S.support(w)))


@pytest.mark.parametrize("S", ADDITIVE, ids=str)
def test_numpy_and_torch_agree(S):
    z, w = batch(np.float64, False), batch(np.float64, True)
    for ours, theirs in (
        (S.project(z), S.project(w)),
        (S.argmax(z), S.argmax(w)),
        (S.support(z)[:, None], S.support(w)[:, None]),
        (S.sample(z, np.random.default_rng(5)), S.sample(w, np.random.default_rng(5))),
    ):
        np.testing.assert_allclose(value(ours), value(theirs), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("S", [S for S in ADDITIVE if not isinstance(S, Union)], ids=str)
def test_scaled_is_membership_at_the_scaled_radius(S):
    z = batch(np.float64, False)
    r = S.argmax(z)[2:]  # on the boundary
    if S.support(z)[2:].max() > 0:
        assert S.scaled(1).contains(r).all() and not S.scaled(0.99).contains(r).any()
        assert S.scaled(0.5).contains(0.5 * r).all()


def test_affine_contains_exactly_the_mixtures():
    """Against a direct scan over β of the least l1 norm that is left when linf takes its share."""
    S = Affine(Linf(0.5), L1(2.0))
    r = np.random.default_rng(0).normal(size=(400, 3))
    betas = np.linspace(0, 1, 2001)
    left = np.maximum(np.abs(r)[:, None, :] - 0.5 * betas[None, :, None], 0).sum(axis=2)
    slack = (2.0 * (1 - betas) - left).max(axis=1)
    clear = np.abs(slack) > 1e-2  # the scan's resolution
    assert np.array_equal(S.contains(r)[clear], slack[clear] > 0)
    assert 20 < (slack[clear] > 0).sum() < 380


EXPONENTS = (1, 1.2, 2, 3, inf)


@pytest.mark.parametrize(("p", "q"), list(product(EXPONENTS, repeat=2)))
def test_affine_gauge_is_the_dual_of_its_support(p, q):
    """gauge(r) = max_w <w, r> / support(w): no w exceeds it, and what maximises some w has gauge one."""
    rng = np.random.default_rng(0)
    S = Affine(Lp(p, 1.3), Lp(q, 0.9))
    r, w = rng.normal(size=(40, 5)), rng.normal(size=(2000, 5))
    ratios = r @ w.T / S.support(w)
    assert np.all(ratios.max(axis=1) <= S.gauge(r) * (1 + 1e-9))
    np.testing.assert_allclose(S.gauge(S.argmax(w)), 1, rtol=1e-9)
    np.testing.assert_allclose(S.gauge(7 * r), 7 * S.gauge(r), rtol=1e-9)
    inner = S.gauge(r) < 1  # projecting moves what the gauge says is outside, and nothing else
    if 2 in (p, q) or inf in (p, q):
        assert np.array_equal(np.linalg.norm(r - S.project(r), axis=1) < 1e-9, inner)


@pytest.mark.parametrize(("p", "q"), [(1.2, 3), (3, 1.2), (2, 3), (1.5, 1.2)])
def test_affine_gauge_against_a_general_solver(p, q):
    rng = np.random.default_rng(1)
    S = Affine(Lp(p, 1.3), Lp(q, 0.9))
    for r in rng.normal(size=(3, 3)):
        starts = [np.sign(r) * np.abs(r) ** power for power in (0.5, 1.0, 2.0)]
        options = {"maxiter": 5000, "xatol": 1e-9, "fatol": 1e-13}
        found = [
            optimize.minimize(lambda w, r=r: -(w @ r) / S.support(w[None])[0], w, method="Nelder-Mead", options=options)
            for w in starts
        ]
        np.testing.assert_allclose(S.gauge(r[None])[0], max(-f.fun for f in found), rtol=1e-7)


# ---- sets that move features ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_torch", [False, True])
@pytest.mark.parametrize("S", MOVES, ids=str)
def test_moves_sample_and_grid_lie_in_the_set(S, as_torch):
    x = batch(np.float32, as_torch, shape=(6, 9) if S.name == "swap" else (6, 1, 8, 8))
    r = S.sample(x, np.random.default_rng(0))
    assert np.all(np.asarray(S.contains(r)))
    assert S.contains(S.grid()).all()
    moved = S.apply(x, r)
    assert moved.shape == x.shape and moved.dtype == x.dtype and type(moved) is type(x)


@pytest.mark.parametrize("S", FILTERS, ids=str)
def test_nothing_moved_is_the_image_and_smaller_sets_are_inside(S):
    """The identity is in every set; beta·S is in gamma·S for beta < gamma, and holds what its share of a move is."""
    x = np.random.default_rng(0).uniform(size=(6, 2, 9, 9))
    r = S.sample(x, np.random.default_rng(1))
    assert S.scaled(0).contains(0 * r).all() and np.allclose(S.apply(x, 0 * r), x, rtol=0, atol=1e-12)
    for beta in (0.2, 0.5, 0.9):
        assert S.scaled(beta).contains(beta * r).all() and S.contains(beta * r).all()
        np.testing.assert_allclose(S.gauge(beta * r), beta * S.gauge(r), rtol=1e-12)
        inner = S.scaled(beta).sample(x, np.random.default_rng(2))
        assert S.contains(inner).all() and np.all(S.gauge(inner) <= beta * (1 + 1e-9))
    outside = r * 1.01 / np.maximum(S.gauge(r), 1e-9).reshape(-1, *[1] * (r.ndim - 1))
    assert not S.contains(outside)[S.gauge(r) > 0].any()
    with pytest.raises(ValueError, match="scale beta is -1"):
        S.scaled(-1)


@pytest.mark.parametrize("S", FILTERS, ids=str)
def test_images_stay_images_alike_in_numpy_and_torch_and_one_by_one(S):
    x = np.random.default_rng(0).uniform(size=(5, 3, 9, 9 if isinstance(S, RotationTranslation) else 12))
    r = S.sample(x, np.random.default_rng(1))
    moved = S.apply(x, r)
    assert moved.min() >= 0 and moved.max() <= 1 + 1e-12
    np.testing.assert_allclose(S.apply(torch.from_numpy(x), torch.from_numpy(r)).numpy(), moved, rtol=0, atol=1e-12)
    alone = [S.apply(x[i : i + 1], r[i : i + 1]) for i in range(5)]
    np.testing.assert_allclose(moved, np.concatenate(alone), rtol=0, atol=1e-14)
    if S.name != "bc":  # which looks at the mean of all channels
        np.testing.assert_allclose(moved[:, 1:2], S.apply(x[:, 1:2], r), rtol=0, atol=1e-14)
    with torch.device("meta"):  # every new tensor is where the images are
        here = torch.from_numpy(x.astype(np.float32))
        drawn = S.sample(here, np.random.default_rng(1))
        assert S.apply(here, drawn).device.type == "cpu" and S.contains(drawn).all()
    with torch.inference_mode():
        S.apply(torch.from_numpy(x), torch.from_numpy(r))


def test_brightness_and_contrast_are_those_of_kornia():
    """Its contrast blends with the mean of a grey image, its brightness adds; and both cut off at 0 and 1."""
    enhance = pytest.importorskip("kornia.enhance", reason="pip install kornia, of the extra dev")
    x = np.random.default_rng(0).uniform(size=(40, 1, 5, 6))
    S = BrightnessContrast(1, 1)
    r = S.sample(x, np.random.default_rng(1))
    images, (b, c) = torch.from_numpy(x), torch.from_numpy(r).T
    contrast = enhance.adjust_contrast_with_mean_subtraction(images, 1 + c)
    none = np.zeros(len(x))
    np.testing.assert_allclose(S.apply(x, np.stack([none, c], axis=1)), contrast.numpy(), atol=1e-12)
    brightness = enhance.adjust_brightness(images, b)
    np.testing.assert_allclose(S.apply(x, np.stack([b, none], axis=1)), brightness.numpy(), atol=1e-12)
    for image, moved, (b, c) in zip(x, S.apply(x, r), r, strict=True):  # and together they are cut off once
        np.testing.assert_allclose(moved, np.clip((1 + c) * image - c * image.mean() + b, 0, 1), atol=1e-14)
    shift = S.apply(x, r * (1, 0)) - x
    assert np.all(Linf(1).gauge(shift) <= np.abs(r[:, 0]) + 1e-12)  # brightness alone is linf noise


@pytest.mark.parametrize("shape", [(6, 1, 28, 28), (6, 3, 17, 32), (6, 2, 5, 5)])
def test_blur_is_that_of_scipy(shape):
    x = np.random.default_rng(0).uniform(size=shape)
    S = GaussianBlur(3)
    r = np.array([[0.0], [0.1], [0.4], [1.0], [-2.0], [3.0]])
    moved = S.apply(x, r)
    for image, ours, (sigma,) in zip(x, moved, r, strict=True):
        for plane, blurred in zip(image, ours, strict=True):
            expected = ndimage.gaussian_filter(plane, abs(sigma), mode="reflect", truncate=8)
            np.testing.assert_allclose(blurred, expected, rtol=0, atol=1e-8)  # the weights 6 sigma away
    np.testing.assert_allclose(moved.mean(axis=(2, 3)), x.mean(axis=(2, 3)), rtol=1e-8)
    np.testing.assert_array_equal(moved[0], x[0])


@pytest.mark.parametrize("cells", [1, 2, 3, 5])
def test_splines_are_those_of_scipy(cells):
    n = 28
    place = (np.arange(n) + 0.5) * cells / n
    basis = interpolate.BSpline.design_matrix(place, np.arange(-3.0, cells + 4), 3).toarray()
    np.testing.assert_allclose(elastic._spline(n, cells), basis, rtol=0, atol=1e-14)


def test_a_deformation_alike_everywhere_is_a_shift_and_no_displacement_exceeds_that_of_the_points():
    x = np.random.default_rng(0).uniform(size=(1, 1, 12, 12))
    S = Elastic(2, 2)
    r = np.zeros((1, 2, 5, 5))
    r[:, 0], r[:, 1] = 1.5, -2.0
    shifted = RotationTranslation(2, 0).apply(x, np.array([[1.5, -2.0, 0.0]]))
    np.testing.assert_allclose(S.apply(x, r), shifted, atol=1e-12)
    spline = elastic._spline(28, 3)
    moved = spline @ Elastic(3, 3).grid() @ spline.T
    assert spline.min() >= 0 and np.abs(moved).max() <= 3


@pytest.mark.parametrize("cells", [2, 3, 4])
def test_the_largest_shifts_do_not_fold_the_image(cells):
    """Left stays left: the determinant of the derivative of p - d(p) is positive, between pixels too; half as much
    again folds some."""
    n, fine = 28, 280
    place = (np.arange(fine) + 0.5) * cells / fine
    knots = np.arange(-3.0, cells + 4)
    value = interpolate.BSpline.design_matrix(place, knots, 3).toarray()
    slope = np.stack([interpolate.BSpline(knots, row, 3).derivative()(place) for row in np.eye(cells + 3)], axis=1)
    slope *= cells / n  # by pixels

    def least(shift):
        r = Elastic(shift, cells).grid(200)
        x_x, x_y = value @ r[:, 0] @ slope.T, slope @ r[:, 0] @ value.T
        y_x, y_y = value @ r[:, 1] @ slope.T, slope @ r[:, 1] @ value.T
        return ((1 - x_x) * (1 - y_y) - x_y * y_x).min()

    most = elastic.FOLDING * n / cells
    assert least(most) > 0 > least(1.5 * most)
    x = np.zeros((1, 1, n, n))
    Elastic(most, cells).check_input(x)
    with pytest.raises(ValueError, match="can fold 28×28 images .* give at most"):
        Elastic(most * 1.01, cells).check_input(x)


def test_swap_is_a_permutation_that_moves_x0():
    x = np.arange(12.0).reshape(2, 6)
    assert np.array_equal(Swap(5).apply(x, np.array([0, 3])), [[0, 1, 2, 3, 4, 5], [9, 7, 8, 6, 10, 11]])


SHAPES = [(4, 1, 28, 28), (3, 3, 32, 32), (2, 2, 5, 5)]  # of MNIST, of CIFAR-10, and with a middle pixel


def moved_slowly(x, r):
    """Every pixel of every plane asks where it came from: that the forward map takes to it, found by solving for it."""
    out = np.empty_like(x)
    last = x.shape[-1] - 1
    for image, planes, (dx, dy, degrees) in zip(x, out, r, strict=True):
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        turn = np.array([[cos, sin], [-sin, cos]])  # of (right, down), counter-clockwise
        v, u = np.mgrid[: last + 1, : last + 1].reshape(2, -1) - last / 2
        column, row = np.linalg.solve(turn, np.stack([u - dx, v - dy])) + last / 2
        for plane, target in zip(image, planes, strict=True):
            found = ndimage.map_coordinates(plane, [row, column], order=1, mode="grid-constant", cval=0.0)
            target[:] = found.reshape(target.shape)
    return out


@pytest.mark.parametrize(("dtype", "as_torch"), KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_rotation_of_a_batch_is_that_of_single_pixels(shape, dtype, as_torch):
    """The image's edge and what comes in from outside too. Where an image rises by at most 1 a pixel, a coordinate
    below 32 rounded thrice to 24 bits moves an interpolation by at most 4·32·2⁻²³ < 2e-5."""
    rng = np.random.default_rng(0)
    S, atol = RotationTranslation(3, 180), 2e-5 if dtype == np.float32 else 1e-12
    for limits in ((3, 3, 180), (0, 0, 30), (3, 3, 0)):
        x, r = rng.uniform(size=shape).astype(dtype), (rng.uniform(-1, 1, (shape[0], 3)) * limits).astype(dtype)
        found = S.apply(torch.from_numpy(x), torch.from_numpy(r)) if as_torch else S.apply(x, r)
        np.testing.assert_allclose(value(found), value(moved_slowly(x.astype(np.float64), r)), rtol=0, atol=atol)


@pytest.mark.parametrize("shape", SHAPES)
def test_rotation_is_that_of_kornia(shape):
    """Its own matrix about the centre, then our shift, in one interpolation: the same pixels."""
    transform = pytest.importorskip("kornia.geometry.transform", reason="pip install kornia, of the extra dev")
    x = torch.from_numpy(np.random.default_rng(0).uniform(size=shape))
    S = RotationTranslation(3, 30)
    r = S.sample(x, np.random.default_rng(1))
    centre = torch.full((len(x), 2), (shape[-1] - 1) / 2, dtype=x.dtype)
    matrix = transform.get_rotation_matrix2d(centre, r[:, 2], torch.ones_like(centre))
    matrix[:, :, 2] += r[:, :2]
    theirs = transform.warp_affine(x, matrix, shape[2:], mode="bilinear", padding_mode="zeros", align_corners=True)
    assert float((theirs - x).abs().max()) > 0.1
    np.testing.assert_allclose(S.apply(x, r).numpy(), theirs.numpy(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("as_torch", [False, True])
def test_rotation_of_an_image_made_by_hand(as_torch):
    """An L of 5×5, whose corner is left of and below the centre, a quarter turn counter-clockwise, then a pixel right
    and two up; on 4×4 the centre is between pixels."""
    image = np.array([[0, 0, 0, 0, 0],
                      [0, 3, 0, 0, 0],
                      [0, 2, 0, 0, 0],
                      [0, 1, 5, 0, 0],
                      [0, 0, 0, 0, 0]])  # fmt: skip
    turned = np.array([[0, 0, 0, 0, 0],
                       [0, 0, 0, 0, 0],
                       [0, 0, 0, 5, 0],
                       [0, 3, 2, 1, 0],
                       [0, 0, 0, 0, 0]])  # fmt: skip
    both = np.array([[0, 0, 0, 0, 5],
                     [0, 0, 3, 2, 1],
                     [0, 0, 0, 0, 0],
                     [0, 0, 0, 0, 0],
                     [0, 0, 0, 0, 0]])  # fmt: skip
    even = np.array([[1, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [4, 0, 0, 3]])
    even_turned = np.array([[0, 0, 0, 3], [0, 0, 0, 0], [2, 0, 0, 0], [1, 0, 0, 4]])
    S = RotationTranslation(2, 90)
    for before, move, after in (
        (image, (0, 0, 90), turned),
        (image, (1, -2, 90), both),
        (even, (0, 0, 90), even_turned),
    ):
        x, r = before[None, None].astype(float), np.array([move], dtype=float)
        found = S.apply(torch.from_numpy(x), torch.from_numpy(r)) if as_torch else S.apply(x, r)
        np.testing.assert_allclose(np.asarray(found)[0, 0], after, rtol=0, atol=1e-12)


@pytest.mark.parametrize("as_torch", [False, True])
def test_rotation_signs_and_order(as_torch):
    """dx moves right, dy down, a positive angle turns counter-clockwise as displayed, and the shift comes last."""
    x = np.random.default_rng(0).uniform(size=(1, 1, 9, 9))
    x[..., :2, :] = x[..., -2:, :] = x[..., :, :2] = x[..., :, -2:] = 0  # room to shift
    S = RotationTranslation(2, 90)

    def moved(*r):
        y, r = (torch.from_numpy(x), torch.tensor([r], dtype=torch.float64)) if as_torch else (x, np.array([r]))
        return np.asarray(S.apply(y, r))[0, 0]

    image = x[0, 0]
    np.testing.assert_allclose(moved(2, 0, 0), np.roll(image, 2, axis=1), atol=1e-12)
    np.testing.assert_allclose(moved(0, -1, 0), np.roll(image, -1, axis=0), atol=1e-12)
    np.testing.assert_allclose(moved(0, 0, 90), np.rot90(image), atol=1e-12)
    np.testing.assert_allclose(moved(2, 1, 90), np.roll(np.rot90(image), (1, 2), axis=(0, 1)), atol=1e-12)


def test_half_a_pixel_is_the_mean_of_neighbours_and_outside_is_black():
    x = np.ones((1, 1, 4, 4))
    moved = RotationTranslation(1, 0).apply(x, np.array([[0.5, 0.0, 0.0]]))
    np.testing.assert_allclose(moved[0, 0], [[0.5, 1, 1, 1]] * 4)


def test_mixture_of_a_move_and_noise():
    S = Affine(RotationTranslation(2, 20), Linf(0.3))
    x = np.random.default_rng(0).uniform(size=(50, 1, 6, 6))
    r = S.sample(x, np.random.default_rng(1))
    assert S.contains(r).all()
    assert not S.contains((r[0] * 0 + (2.0, 0.0, 0.0), r[1] * 0 + 0.1)).any()
    assert S.apply(x, r).shape == x.shape
    swap = Affine(Swap(4), L2(1.0))
    z = np.random.default_rng(0).normal(size=(50, 6))
    assert swap.contains(swap.sample(z, np.random.default_rng(1))).all()
    with pytest.raises(TypeError, match="changes the input as a whole"):
        S.support(x)
    with pytest.raises(TypeError, match="rt:3px,30deg changes the input as a whole"):
        PRESETS["paper_mnist"].contains(x)


def test_sample_fills_the_ball():
    """Radii of uniform draws: P[‖r‖_p ≤ t eps] = t^n. False alarm ≤ 4·2·exp(-2·20000·0.025²) < 1e-10 (DKW)."""
    n, count = 3, 20_000
    for p in (1, 1.5, 2, inf):
        S = Lp(p, 2.0)
        radius = np.sort(S.gauge(S.sample(np.zeros((count, n)), np.random.default_rng(0))))
        assert np.abs(radius**n - (np.arange(count) + 0.5) / count).max() < 0.025


# ---- text -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "S", [*ADDITIVE, *MOVES, *PRESETS.values(), Affine(RotationTranslation(3, 30), L1(0.1))], ids=str
)
def test_text_reads_back(S):
    assert parse(str(S)) == S
    assert eval(repr(S)) == S


@settings(deadline=None)
@given(p=st.floats(1, 100), eps=st.floats(0, 1e300))
def test_text_reads_back_any_number(p, eps):
    p = round(p, 3)  # exponents are written as decimals
    assert parse(str(Lp(p, eps))) == Lp(p, eps)


@pytest.mark.parametrize(
    ("text", "S"),
    [
        ("linf:8/255", Linf(8 / 255)),
        (" L1 : 10 ", L1(10)),
        ("l1.5:2", Lp(1.5, 2)),
        ("l2:2", L2(2)),
        ("rt:3px,30deg", RotationTranslation(3, 30)),
        ("linf:1e+0|l1:2e+1", Union((Linf(1), L1(20)))),
        ("rt:3px,30deg+linf:0.3", Affine(RotationTranslation(3, 30), Linf(0.3))),
        ("union_cifar10", Union((Linf(8 / 255), L2(0.5), L1(12)))),
    ],
)
def test_parse(text, S):
    assert parse(text) == S


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lnf:0.3", "unknown set 'lnf', did you mean 'linf'"),
        ("paper_mnst", "did you mean 'paper_mnist'"),
        ("linf", "'linf' has no size"),
        ("linf:abc", "'abc' in 'linf:abc' is not a number"),
        ("linf:8/0", "'8/0' in 'linf:8/0' is not a number"),
        ("linf:-0.3", "radius of the linf ball is -0.3"),
        ("l1:nan", "radius of the l1 ball is nan"),
        ("l0.5:1", "p is 0.5"),
        ("rt:3,30", "write 'rt:3px,30deg'"),
        ("bc:0.3", "'0.3' in 'bc:0.3' does not give brightness and contrast: write 'bc:0.3,0.5'"),
        ("bc:0.3,1.5", "bc:0.3,1.5: pixels range over"),
        ("blur:2", "does not give pixels: write 'blur:2px'"),
        ("blur:-2px", "sigma is -2.0"),
        ("elastic:3px,2.5cells", "write 'elastic:3px,3cells'"),
        ("elastic:3px,0cells", "cells is 0, but must be an integer ≥ 1"),
        ("rt:-3px,30deg", "shift is -3.0"),
        ("swap:x", "write 'swap:49'"),
        ("l1:1 + l2:1 + linf:1", "mixes 3 sets"),
        ("", "does not name a perturbation set"),
        ("l1:10 + rt:3px,30deg", "with an lp ball, second"),
    ],
)
def test_parse_names_what_is_wrong(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)


@pytest.mark.parametrize("eps", [-1, float("nan"), inf, "x", None])
def test_bad_radius(eps):
    with pytest.raises(ValueError, match="radius of the l2 ball is .* finite number ≥ 0"):
        L2(eps)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Linf(1).contains(np.zeros(3)), r"shape \(3,\) is not a batch"),
        (lambda: L1(1).project(np.zeros((0, 3))), r"shape \(0, 3\) is not a batch"),
        (lambda: Lp(0.5, 1), "p is 0.5"),
        (lambda: Lp(float("nan"), 1), "p is nan"),
        (lambda: Linf(1).scaled(-1), "scale beta is -1"),
        (lambda: Swap(-1), "N is -1"),
        (lambda: Swap(2.5), "N is 2.5"),
        (lambda: Swap(True), "N is True"),
        (lambda: Swap(2).apply(np.zeros((1, 4)), np.array([9])), "positions of 0..3"),
        (lambda: Swap(2).apply(np.zeros((1, 4)), np.array([-1])), "positions of 0..3"),
        (lambda: RotationTranslation(3, 30).contains(np.zeros((2, 5))), r"shape \(batch, 3\), not \(2, 5\)"),
        (lambda: Elastic(3, 3).contains(np.zeros((2, 1))), "deformations have shape"),
        (lambda: Lp(None, 1), "p is None"),
        (lambda: Linf(1).project(np.zeros(3)), "is not a batch"),
        (lambda: L2(1).argmax(np.zeros(3)), "is not a batch"),
        (lambda: Swap(4).apply(np.zeros((1, 4)), np.array([1])), "n > 4"),
        (lambda: RotationTranslation(3, 30).apply(np.zeros((1, 9)), np.zeros((1, 3))), "need images"),
        (lambda: RotationTranslation(3, 30).apply(np.zeros((2, 1, 9, 9)), np.zeros((1, 3))), r"of shape \(2, 3\)"),
        (
            lambda: RotationTranslation(9, 30).apply(np.zeros((1, 1, 9, 9)), np.zeros((1, 3))),
            "a shift of 9 px moves 9×9 images out of sight: choose one below 9 px",
        ),
        (
            lambda: RotationTranslation(3, 30).apply(np.zeros((1, 1, 8, 10)), np.zeros((1, 3))),
            "rotations need square images, not 8×10: crop or pad them",
        ),
        *(
            (lambda S=S: S.apply(np.zeros((2, 9)), np.zeros((2, 1))), r"images \(batch, C, H, W\), not shape \(2, 9\)")
            for S in (BrightnessContrast(), GaussianBlur(2), Elastic(1, 3))
        ),
        (lambda: BrightnessContrast().apply(np.zeros((2, 1, 9, 9)), np.zeros((1, 2))), r"of shape \(2, 2\)"),
        (lambda: GaussianBlur(2).apply(np.zeros((2, 1, 9, 9)), np.zeros((2, 2))), r"of shape \(2, 1\)"),
        (lambda: Elastic(1, 3).apply(np.zeros((2, 1, 9, 9)), np.zeros((2, 2, 5, 6))), r"of shape \(2, 2, 6, 6\)"),
        (lambda: GaussianBlur(9).apply(np.zeros((1, 1, 9, 9)), np.zeros((1, 1))), "leaves nothing of 9×9 images"),
        (lambda: BrightnessContrast(-0.1, 0), "brightness is -0.1"),
        (lambda: Elastic(1, 2.5), "cells is 2.5"),
        (lambda: Union(()), "at least one set"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
