"""What is committed for MNIST and the tables, claims and figures made of it: exact on planted results, and gaps."""

import io
import json
from collections import Counter
from dataclasses import replace
from itertools import product
from math import comb

import numpy as np
import pytest
from matplotlib import pyplot as plt

from tradeoff import claims, comparison, records, tables
from tradeoff.claims import ALARM, CLAIMS, UNCONFIRMED, Claim, Missing, difference, missed, share
from tradeoff.comparison import (
    COMPARISONS,
    SUITES,
    beyond_sampling,
    broken_by,
    cheapest,
    cost,
    measure,
    reason,
    rows,
    strategies,
    table,
)
from tradeoff.experiments import EXPERIMENTS
from tradeoff.figures import figure_module
from tradeoff.figures.style import paper_style
from tradeoff.masking import THRESHOLD
from tradeoff.outcomes import Outcomes
from tradeoff.paired import Paired
from tradeoff.published import PUBLISHED
from tradeoff.records import read, read_all

SETS = ("linf:0.3", "l1:10", "l2:2")
LP = ("linf", "l1", "l2")


def outcomes(correct, sets=SETS, names=None, tried=None, attacks=None):
    """Planted outcomes: a clean column, then one per set unless named otherwise."""
    names = names or tuple(f"attack {S}" for S in sets)
    columns = ("clean", *names)
    passes = {name: {"forward": 30 * len(correct), "backward": 10 * len(correct)} for name in columns}
    about = {"passes": passes, "data": "planted", "attacks": attacks or {name: "PGD(...)" for name in names}}
    return Outcomes(np.asarray(correct, dtype=bool), columns, ("", *sets), about, tried)


def at(shares, n=1000, seed=0):
    """Outcomes of the given accuracies, clean first, on examples of a fixed order of hardness plus some noise."""
    hard = np.random.default_rng(seed).permutation(n) / n
    correct = np.stack([hard < s for s in shares], axis=1)
    return outcomes(correct & correct[:, :1])


def write(folder, name, found=None, log=(), suite="paper", finished=True):
    """A run as training and evaluation leave it."""
    run = folder / name
    run.mkdir(parents=True, exist_ok=True)
    (run / "experiment.json").write_text(json.dumps({"experiment": repr(EXPERIMENTS["mnist-max"])}))
    (run / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in log))
    if finished:
        (run / "weights.safetensors").touch()
    if found is not None:
        place = run / f"{suite}-{len(found.correct)}"
        place.mkdir()
        found.save(place / "outcomes")


def epochs(unions, passes=100, sets=LP):
    """A log whose epochs cost the same, watched."""
    cost = {"forward": passes, "backward": passes, "seconds": 1.0}
    return [{"epoch": k, **cost, "watch": {"clean": 1.0, **dict.fromkeys(sets, union + 0.1), "union": union}}
            for k, union in enumerate(unions, start=1)]  # fmt: skip


# ---- published numbers


@pytest.mark.parametrize(("key", "model"), [(key, model) for key in PUBLISHED for model in PUBLISHED[key].table])
def test_published_rows_are_possible(key, model):
    """A union is at most its least set (Fréchet), and at least what the sets lose one by one leaves of the clean."""
    row = PUBLISHED[key].table[model]
    clean, union = row["clean"], row["union"]
    sets = [value for name, value in row.items() if name not in ("clean", "union")]
    assert all(0 <= value <= clean <= 100 for value in sets)
    assert clean - sum(clean - value for value in sets) - 0.3 <= union <= min(sets)  # rounded: 0.05 for each number


def test_every_compared_model_is_declared_and_every_published_one_compared():
    for compared in COMPARISONS.values():
        assert set(compared.runs) <= set(EXPERIMENTS)
        for key in compared.published:
            assert set(PUBLISHED[key].table) <= {model.published for model in compared.models}


# ---- pairs


@pytest.mark.parametrize(("first", "second"), [(0, 0), (5, 0), (7, 3), (3, 7), (40, 12)])
def test_mcnemar_is_a_count_of_coin_tosses(first, second):
    n = first + second
    counted = sum(comb(n, k) for k in range(first, n + 1)) / 2**n
    assert Paired(first, second, 100).p_value == pytest.approx(counted, rel=1e-9)


def test_bootstrap_is_that_of_resampled_examples():
    rng = np.random.default_rng(0)
    a, b = rng.random(80) < 0.7, rng.random(80) < 0.5
    drawn = [np.mean(a[k].astype(float) - b[k]) for k in rng.integers(80, size=(4000, 80))]
    assert Paired.of(a, b).difference == pytest.approx(a.mean() - b.mean())
    # Ends of 95 % of some thousand draws: standard error about 0.003; examples come in steps of 1/80.
    assert Paired.of(a, b).interval() == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.026)


# ---- records


def test_what_is_there_is_read_and_what_is_not_is_missing(tmp_path):
    small, large = at((1, 0.5, 0.4, 0.6), n=20), at((1, 0.5, 0.4, 0.6), n=50)
    write(tmp_path, "a", small, epochs([0.1, 0.2]))
    write(tmp_path, "a", large, epochs([0.1, 0.2]))
    write(tmp_path, "b", log=[{"forward": 6, "backward": 2, "seconds": 1.0}], finished=False)
    (tmp_path / "a" / "strong-10").mkdir()  # an evaluation that is under way
    a, b, none = read_all(["a", "b", "none"], tmp_path).values()
    assert list(a.outcomes) == ["paper"] and (a.outcomes["paper"].correct == large.correct).all()
    assert a.network == "small_cnn" and a.epochs == EXPERIMENTS["mnist-max"].epochs and a.finished
    assert a.passes().tolist() == [100, 200] and a.watched("union").tolist() == [0.1, 0.2]
    assert b.passes().tolist() == [4] and np.isnan(b.watched("union")).all() and not b.finished  # an old log
    assert none.log == () and none.outcomes == {} and none.network is None and not none.finished
    (tmp_path / "b" / "log.jsonl").write_text("{half")
    with pytest.raises(ValueError, match="log.jsonl is damaged"):
        read("b", tmp_path)


def test_fine_tuning_has_cost_what_it_began_with_too(tmp_path):
    write(tmp_path, "a", log=epochs([0.1, 0.2], passes=100))
    write(tmp_path, "b", log=epochs([0.5], passes=30))
    (tmp_path / "b" / "experiment.json").write_text(
        json.dumps({"experiment": repr(replace(EXPERIMENTS["mnist-max"], start="a"))})
    )
    fine = read("b", tmp_path)
    assert fine.passes().tolist() == [100, 200, 230] and fine.watched("union").tolist() == [0.1, 0.2, 0.5]
    assert len(fine.log) == 1 and len(fine.history) == 3
    (tmp_path / "a" / "log.jsonl").unlink()
    assert read("b", tmp_path).passes().tolist() == [30]


# ---- the tables


def test_measured_is_the_accuracy_and_what_it_cost():
    one, two = at((1, 0.5, 0.4, 0.6)), at((1, 0.7, 0.3, 0.6))
    found = measure([one], "l1", LP)
    assert (found.mean, found.low, found.high) == (one.accuracy("l1"), *one.interval("l1")) and found.seeds == 1
    assert found.passes == 20 and measure([one], "union", LP).passes == 60 and measure([one], "clean", LP).passes == 20
    both = measure([one, two], "linf", LP)
    assert (both.mean, both.low, both.high, both.seeds) == (pytest.approx(0.6), 0.5, 0.7, 2)
    assert both.text() == "60.0 [50.0, 70.0]" and measure([], "linf", LP) is None
    one.about["passes"].pop("attack l1:10")
    assert np.isnan(cost(one, "l1"))


def test_broken_by_says_what_a_count_says():
    """Shares against a plain loop over examples, on random outcomes with two attacks to a set."""
    rng = np.random.default_rng(0)
    sets = tuple(S for S in SETS for _ in "ab")
    weak = outcomes(rng.random((40, 7)) < 0.9, sets, tuple(f"{k} {S}" for S in SETS for k in "ab"))
    strong = outcomes(rng.random((60, 7)) < 0.7, sets, weak.attacks[1:])
    found = broken_by(weak, strong, LP)
    first, alone, lost = {}, dict.fromkeys(LP, 0), 0
    for i in range(40):
        if not weak.correct[i].all() or strong.correct[i].all():
            continue
        lost += 1
        falls = [S for k, S in enumerate(LP) if not (strong.correct[i, [0, 1 + 2 * k, 2 + 2 * k]].all())]
        if len(falls) == 1:
            alone[falls[0]] += 1
        for k in range(3):
            for column in (1 + 2 * k, 2 + 2 * k):
                if not strong.correct[i, column]:
                    first[strong.attacks[column]] = first.get(strong.attacks[column], 0) + 1
                    break
    assert found.paired.first == lost > 3 and found.paired.n == 40
    assert found.alone == pytest.approx({S: count / lost for S, count in alone.items()})
    assert found.first == pytest.approx({attack: count / lost for attack, count in first.items()})


def test_reasons_name_the_attack_that_made_the_difference():
    weak = at((1, 0.5, 0.5, 0.5))
    correct = weak.correct.copy()
    correct[np.flatnonzero(correct[:, 2])[:100], 2] = False
    said = reason({}, [weak], (weak, outcomes(correct)), LP)
    assert said == "the strong suite breaks 100 more (100% under l1 alone, 100% attack l1:10)"
    assert reason({}, [weak], (weak, weak), LP) == "the strong suite breaks no more"
    assert (
        reason({"paper": 0.5}, [weak], None, ("l1",)) == "as the paper" and reason({"paper": 0.5}, [], None, LP) == "–"
    )
    assert reason({"paper": 0.9, "maini": 0.51}, [weak], None, ("l1",)).endswith("beyond sampling; as Maini et al.")
    low, high = weak.interval("l1")
    assert beyond_sampling(0.9, None, [weak], ("l1",)) == pytest.approx(high - 0.9)
    assert beyond_sampling(0.1, None, [weak], ("l1",)) == pytest.approx(low - 0.1)
    assert abs(beyond_sampling(0.9, 1000, [weak], ("l1",))) < abs(high - 0.9)


def test_missing_results_are_gaps(tmp_path):
    for compared in COMPARISONS.values():
        header, lines = table(compared, read_all(compared.runs, tmp_path))
        first = header.index("ours, paper suite %")
        assert len(lines) == len(compared.models) * (2 + len(compared.sets)) and len(header) == len(lines[0])
        assert all(cell == "–" for line in lines for cell in line[first:])


def test_tables_from_the_command_line(tmp_path, capsys):
    weak, strong = at((1, 0.8, 0.5, 0.6)), at((0.99, 0.7, 0.1, 0.5))
    for k, run in enumerate(("mnist-max", "mnist-max-s1", "mnist-max-s2")):
        write(tmp_path / "runs", run, at((1, 0.8, 0.5 + k / 100, 0.6)), epochs([0.2] * 3))
        write(tmp_path / "runs", run, strong, epochs([0.2] * 3), suite="strong")
    out = tmp_path / "out"
    assert comparison.main(["lp", "--runs", str(tmp_path / "runs"), "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["lp.json", "lp.md", "lp.tex", "lp.txt"]
    line = next(line for line in shown.splitlines() if line.startswith("max") and " union " in line)
    assert "52.4" in line and "42.1" in line and "51.0 [50.0, 52.0]" in line and "10.0 [10.0, 10.0]" in line
    assert "−40.0" in line and "under l1 alone" in line
    union = Paired.of(strong.standing(*LP), weak.standing(*LP))
    kept = json.loads((out / "lp.json").read_text())["rows"]
    row = next(row for row in kept if (row["model"], row["set"]) == ("max", "union"))
    assert row["difference"] == pytest.approx(union.difference) and row["interval"][1] < 0
    again = ["lp", "--runs", str(tmp_path / "runs"), "--out", str(out)]
    assert (
        comparison.main(again) == 2 and "lp.txt exists: choose another place, or replace it" in capsys.readouterr().err
    )
    assert comparison.main([*again, "--force"]) == 0
    assert comparison.main(["pl", "--runs", str(tmp_path)]) == 2 and "did you mean 'lp'" in capsys.readouterr().err
    assert comparison.main(["--runs", str(tmp_path / "none")]) == 2


def test_suites_are_compared_on_one_network(tmp_path):
    """Of the seeds, the first that both suites attacked."""
    write(tmp_path, "mnist-max", at((1, 0.8, 0.5, 0.6), n=100))
    write(tmp_path, "mnist-max-s1", at((1, 0.8, 0.7, 0.6), n=100))
    write(tmp_path, "mnist-max-s1", at((1, 0.8, 0.4, 0.6), n=100), suite="strong")
    made = rows(COMPARISONS["lp"], read_all(COMPARISONS["lp"].runs, tmp_path))
    row = next(row for row in made if (row["model"], row["set"]) == ("max", "l1"))
    assert row["difference"] == pytest.approx(-0.3) and row["paper"].seeds == 2 and row["strong"].seeds == 1


def test_the_cheapest_near_the_best(tmp_path):
    """By hand: the mean over seeds of passes and of accuracies; other networks and unfinished runs are left out."""
    for k, run in enumerate(("mnist-max", "mnist-max-s1")):
        log = epochs([0.1, 0.50 + k / 50], passes=400 + 100 * k)
        write(tmp_path, run, at((1, 0.9, 0.5, 0.9)), log, suite="strong")
    write(tmp_path, "mnist-e-at", at((1, 0.9, 0.48, 0.9)), epochs([0.495], passes=100), suite="strong")
    write(tmp_path, "mnist-linf", at((1, 0.9, 0.1, 0.9)), epochs([0.3], passes=50), suite="strong")
    write(tmp_path, "mnist-l1", log=epochs([0.9], passes=1))
    (tmp_path / "mnist-l1" / "experiment.json").write_text(
        json.dumps({"experiment": repr(replace(EXPERIMENTS["mnist-l1"], model="paper_cnn"))})
    )
    write(tmp_path, "mnist-l2", log=epochs([0.9], passes=1), finished=False)
    records = read_all(COMPARISONS["lp"].runs, tmp_path)
    found = strategies(COMPARISONS["lp"], records)
    assert [(s.label, s.passes) for s in found] == [("linf", 50), ("e-at", 100), ("max", 900)]
    assert [s.watched for s in found] == pytest.approx([0.3, 0.495, 0.51])
    assert [s.label for s in cheapest(found, "watched")] == ["e-at", "max"]
    assert [s.strong for s in found] == pytest.approx([0.1, 0.48, 0.5])
    assert [s.label for s in cheapest([s for s in found if s.label != "max"], "strong")] == ["e-at", "e-at"]
    assert cheapest([], "strong") is None
    lines = comparison.scaling_table(COMPARISONS["lp"], records)[1]
    assert lines[1] == ["e-at", "0.0", "49.5 ← cheapest near best", "48.0 ← cheapest near best"]
    assert lines[2][2:] == ["51.0 best", "50.0 best"]


def test_an_evaluation_on_other_sets_is_no_number_here(tmp_path):
    write(tmp_path, "mnist-max-rt", outcomes(np.ones((10, 3)), ("linf:0.3", "rt:3px,30deg")))
    write(tmp_path, "mnist-linf", at((1, 0.9, 0.1, 0.1)))
    write(tmp_path, "mnist-natural", at((1, 0.0, 0.1, 0.1)))
    write(tmp_path, "mnist-natural", outcomes(np.eye(3), ("linf:0.3", "rt:3px,30deg")), suite="paper-rt")
    found = {
        (row["model"], row["set"]): row for row in rows(COMPARISONS["rt"], read_all(COMPARISONS["rt"].runs, tmp_path))
    }
    assert found["max", "union"]["paper"].mean == 1 and found["linf", "rt"]["paper"] is None
    assert found["linf", "union"]["paper"] is None and found["linf", "linf"]["paper"].mean == 0.9
    assert found["natural", "union"]["paper"].n == 3 and found["natural", "linf"]["paper"].n == 1000


# ---- claims


def planted(folder, suites=(*SUITES, "searches")):
    """Networks of which every claim on lp sets holds: specialists, and those trained on several."""
    shares = {"linf": (1, 0.95, 0.35, 0.35), "l1": (1, 0.02, 0.99, 0.5), "l2": (1, 0.02, 0.5, 0.95),
              **dict.fromkeys(("avg", "max", "msd"), (1, 0.7, 0.68, 0.7))}  # fmt: skip
    for suite, (model, row) in product(suites, shares.items()):
        rng = np.random.default_rng(sum(map(ord, model)))  # the stronger suite breaks what the other does, and more
        correct = rng.random((1000, 4)) < np.array(row) * (1 if suite != "strong" else np.array((1, 1, 0.7, 1)))
        columns = [[1], [2, 2], [3, 3]]
        first = "PGD(...)" if suite != "strong" else "Softened(attack=SLIDE(...))"
        sets, names, parts, described = [], [], [correct[:, 0]], {}
        for own, S in zip(columns, SETS, strict=True):
            for k, column in enumerate(own):
                sets.append(S)
                names.append(f"{k} {S}")
                described[names[-1]] = "Square(...)" if k else first
                # In the weaker suite the climb leaves more standing, and the search breaks a third of that.
                masked = suite != "strong" and k < len(own) - 1
                parts.append(correct[:, column] | (masked & (rng.random(1000) < 0.7)))
        write(folder, f"mnist-{model}", outcomes(np.stack(parts, axis=1), tuple(sets), tuple(names), attacks=described),
              suite=suite)  # fmt: skip


def test_claims_hold_where_they_are_planted_and_wait_where_nothing_is(tmp_path):
    planted(tmp_path)
    found = claims.findings(tmp_path)
    for name, finding in found.items():
        rotated = "-rt" in name or " rt " in name or name.endswith(" rt")
        of_others = rotated or "cifar10" in name
        elsewhere = of_others or finding.claim.group == "mixtures"  # see tests/test_mixtures.py
        assert finding.verdict == ("waits" if elsewhere else "holds"), (name, finding)
        assert (finding.missing is None) == (finding.estimate is not None)
    header, lines = claims.table(found)
    assert len(lines) == sum(finding.verdict == "holds" for finding in found.values()) and len(lines[0]) == len(header)
    assert {finding.verdict for finding in claims.findings(tmp_path / "none").values()} == {"waits"}
    assert any("mnist-rt has no evaluation by the paper suite" in line for line in claims.waiting(found))


def test_claims_fail_on_the_opposite(tmp_path):
    """Specialists and the others change places: no claim that compares them holds, and those that are clear fail."""
    planted(tmp_path)
    for a, b in (("avg", "linf"), ("max", "l1"), ("msd", "l2")):
        for one, other in ((a, "swap"), (b, a), ("swap", b)):
            (tmp_path / f"mnist-{one}").rename(tmp_path / f"mnist-{other}")
    found = claims.findings(tmp_path)
    above = [
        finding for finding in found.values() if finding.claim.group == "union above specialists" and finding.estimate
    ]
    assert len(above) == 18 and {finding.verdict for finding in above} == {"fails"}


@pytest.mark.parametrize("n", [50, 1000])
def test_a_claim_without_an_effect_does_not_hold(n):
    """False alarms: of 200 draws without a difference none may hold (each would with probability ≤ ALARM)."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        a, b = rng.random((2, n)) < 0.5
        assert difference(a, b).p_value > ALARM and share(rng.random(n) < THRESHOLD).p_value > ALARM


def test_what_searches_find_behind_gradients():
    """Only what gradients left and a search tried counts; a cascade spares the search the rest."""
    S = ("l1:10",) * 4
    names = ("climb", "walk", "peer", "later")
    about = dict(zip(names, ("SLIDE(...)", "Peer(library='foolbox', name='PointwiseAttack')", "Peer(name='EADAttack')",
                             "APGD(...)"), strict=True))  # fmt: skip
    #                   clean climb walk peer later
    correct = np.array([[1, 1, 1, 1, 1],  # nothing breaks it
                        [1, 0, 0, 0, 0],  # the climb
                        [1, 1, 0, 0, 0],  # the search alone
                        [1, 1, 1, 0, 0],  # a gradient after the search
                        [0, 0, 0, 0, 0]], dtype=bool)  # fmt: skip
    tried = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 0, 0, 0, 0]], dtype=bool)
    assert missed(outcomes(correct, S, names, tried, about), "l1").tolist() == [False, True, False]
    with pytest.raises(Missing, match="no search on l2"):
        missed(outcomes(correct, S, names, tried, about), "l2")


def test_slopes_are_compared_by_first_attacks_alone():
    """Those that even a cascade tries on all; a later one says nothing of its own."""
    about = {"climb": "SLIDE(...)", "soft": "Softened(attack=SLIDE(...))"}
    S, correct = ("l1:10", "l1:10"), np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0]], dtype=bool)
    tried = np.array([[1, 1, 1], [1, 1, 0], [1, 1, 1]], dtype=bool)
    found = outcomes(correct, S, ("climb", "soft"), tried, about)
    assert claims.under_first(found, "l1", "gradient").tolist() == [True, False, True]
    with pytest.raises(Missing, match="the first attack on l1 is climb"):
        claims.under_first(found, "l1", "softened")
    with pytest.raises(Missing, match="is None"):
        claims.under_first(found, "l2", "gradient")


def test_names_of_claims_are_their_own():
    made = [claim for suite in SUITES for part in (claims._own_set, claims._union_below, claims._union_above,
                                                   claims._foreign) for claim in part(suite)]  # fmt: skip
    assert len({*(claim.name for claim in made)}) == len(made) < len(CLAIMS)
    assert set(UNCONFIRMED) <= set(CLAIMS)


@pytest.fixture(scope="module")
def committed():
    return claims.findings()


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_committed_results_bear_the_claim_out(claim: Claim, committed):
    """Or the claim is listed among those that they do not bear out; one that they do must not be."""
    finding = committed[claim.name]
    if finding.verdict == "waits":
        pytest.skip(finding.missing)
    assert (finding.verdict in ("open", "fails")) == (claim.name in UNCONFIRMED), (finding.verdict, finding.estimate)


# ---- the figures' numbers


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Planted runs in the place of the committed ones."""
    monkeypatch.setattr(records, "RUNS", tmp_path)
    return tmp_path


def test_mnist_table_shows_the_means(runs):
    write(runs, "mnist-max", at((1, 0.8, 0.5, 0.6)))
    write(runs, "mnist-max-s1", at((1, 0.6, 0.5, 0.6)))
    module = figure_module("mnist_table")
    numbers = module.compute(**module.PARAMETERS["quick"])
    panels = {panel["title"]: dict(zip(numbers["models"], panel["cells"], strict=True)) for panel in numbers["panels"]}
    assert panels["ours, paper suite"]["max"] == pytest.approx([100, 70, 50, 60, 50])
    assert panels["ours, strong suite"]["max"] == [None] * 5 and panels["ours, paper suite"]["avg"] == [None] * 5
    assert panels["Maini et al. 2020"]["msd"] == [98.3, 62.7, 65.0, 67.9, 58.4]


@pytest.mark.parametrize("name", ["mnist_table", "mnist_epochs", "cost"])
def test_figures_draw_whatever_is_there(runs, name):
    """Complete runs, a run under way, an old log: warnings are errors here."""
    for model in ("linf", "max", "max-s1"):
        write(runs, f"mnist-{model}", at((1, 0.8, 0.5, 0.6), n=100), epochs([0.2, 0.3]))
        write(runs, f"mnist-{model}", at((1, 0.8, 0.1, 0.6), n=100), epochs([0.2, 0.3]), suite="strong")
    write(runs, "mnist-msd", log=epochs([0.5]), finished=False)
    write(runs, "mnist-avg", log=[{"forward": 6, "backward": 2, "seconds": 1.0}])
    module = figure_module(name)
    numbers = json.loads(json.dumps(module.compute(**module.PARAMETERS["quick"]), allow_nan=False))
    with paper_style():
        figure = module.draw(numbers)
        figure.savefig(io.BytesIO(), format="png")
    plt.close(figure)


def test_cost_is_compared_at_that_of_the_cheapest(runs):
    write(runs, "mnist-e-at", log=epochs([0.1, 0.2], passes=100))
    write(runs, "mnist-max", log=epochs([0.2, 0.4], passes=150))
    write(runs, "mnist-max-s1", log=epochs([0.4, 0.4], passes=150))
    write(runs, "mnist-msd", log=epochs([0.5], passes=100), finished=False)  # under way: not there yet
    module = figure_module("cost")
    numbers = module.compute(**module.PARAMETERS["quick"])
    assert numbers["budget"] == 200
    # A third of the way from 150 to 300 passes.
    third = 0.2 + 0.2 / 3
    shown = {"mean": pytest.approx((third + 0.4) / 2), "low": pytest.approx(third), "high": 0.4}
    expected = {"max": shown, "E-AT": dict.fromkeys(("mean", "low", "high"), 0.2)}
    assert numbers["equal"] == expected and numbers["curves"]["avg"] == []


def test_mnist_epochs_shows_what_was_watched(runs):
    write(runs, "mnist-max", log=epochs([0.1, 0.25]))
    write(runs, "mnist-l1", log=epochs([0.3, 0.6]))
    module = figure_module("mnist_epochs")
    numbers = module.compute(**module.PARAMETERS["quick"])
    assert numbers["curves"]["max"]["union"] == [0.1, 0.25] and numbers["curves"]["avg"]["union"] == []
    assert numbers["specialists"] == {"linf": None, "l1": pytest.approx(0.7), "l2": None}


def test_the_plane_of_masking_goes_through_both_ends():
    """The margin on the plane is that on the ways; both ends are in the ball."""
    module = figure_module("masking")
    how = module.PARAMETERS["quick"] | {"examples": 4, "steps": 3, "tries": 1, "width": 1, "points": 17}
    numbers = module.compute(**how)
    assert set(numbers["panels"]) == set(how["runs"])  # the networks are committed
    for panel in numbers["panels"].values():
        at, margin, line = np.array(panel["at"]), np.array(panel["margin"]), panel["line"]
        origin, one = np.abs(at).argmin(), np.abs(at - 1).argmin()
        assert at[origin] == pytest.approx(0, abs=1e-6) and at[one] == pytest.approx(1, abs=1e-6) and line[-1] == 1
        gradient, search = panel["lines"]["gradient"], panel["lines"]["search"]
        assert margin[origin, [origin, one]] == pytest.approx([gradient[0], gradient[-1]], abs=1e-3)
        assert margin[[origin, one], origin] == pytest.approx([search[0], search[-1]], abs=1e-3)
        norm = np.array(panel["norm"])
        assert norm[origin, origin] == pytest.approx(0, abs=1e-3) and gradient[0] < 0
        assert max(norm[origin, one], norm[one, origin]) <= how["eps"] + 1e-3
        for way, answer in panel["answers"].items():
            assert (answer != numbers["label"]) == (panel["lines"][way][-1] > 0)


def test_the_report_of_agreement_counts_every_claim_once(committed):
    """By every verdict, over all of its rows, there are as many as the findings have."""
    _, lines = claims.agreement(committed)
    counted = Counter()
    for line in lines:
        for part in line[-1].split(", "):
            number, say = part.split(" ", 1)
            counted[say] += int(number)
    verdicts = Counter(claims.VERDICTS[finding.verdict] for finding in committed.values())
    assert counted == verdicts and {finding.claim.group for finding in committed.values()} == set(claims.GROUPS)


def test_tables_of_claims_render_in_every_style(committed):
    for style in tables.STYLES.values():
        assert "95 % interval" in style(*claims.table(committed)).replace("\\%", "%")
