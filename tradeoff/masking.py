"""Can a model's gradients be trusted? Signs of gradient masking, each with its numbers and the examples that show it.

A gradient attack that fails proves nothing if the gradients lead nowhere: they vanish (saturation, rounding, dead
zones), they are noise, or they point at a poor local optimum. The symptoms are those of Athalye et al. (2018,
section 3.1), Carlini et al. (2019, section 3 and the checklist) and Tramèr et al. (2020).

A check is a function of the trial and a set; `CHECKS` lists them. Attacks are paired: all see the same examples, those
that the model classifies correctly. A check raises its flag when its share of examples is large (`THRESHOLD`) and
significant: an exact one-sided binomial test, against the rate at which sound models show it (`CHANCE`), or, where one
attack is held against another, McNemar's. Within a check that makes several tests the p-value is multiplied by their
number, so `alarm` bounds the probability of a false flag per check and set.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise

import numpy as np
import torch
from scipy.stats import binom
from torch import Tensor

from tradeoff.attacks.ascent import LOSSES, Box, Model, ascend, evaluating, into, look
from tradeoff.attacks.draws import Draws
from tradeoff.attacks.pgd import PGD
from tradeoff.attacks.slide import SLIDE
from tradeoff.attacks.softened import softened
from tradeoff.attacks.square import Square
from tradeoff.checks import check_count
from tradeoff.evaluation import check_task
from tradeoff.paired import Paired
from tradeoff.perturbations import Lp, Union
from tradeoff.perturbations.lp import norm

THRESHOLD = 0.05  # the share of examples from which a finding matters
ALARM = 1e-3  # false flags per check and set
CHANCE = 0.01  # the share on which a sound model may show it: attacks are random and stop early
SPREAD = 0.1  # standard deviation of the noise that smooths, in widths of the box (of the data without a box)
QUERIES = 1000  # of a black-box attack, per example
CALLS = 20  # of the model on the same input, to see whether it is randomised


@dataclass(frozen=True)
class Check:
    """What one check found on one set: `flag` is raised if `share` ≥ `threshold` and `p_value` ≤ `alarm`.

    `share` is of the correctly classified examples, `examples` the indices that show the finding, `numbers` what else
    was measured, `grade` what the flag says of the model ("masked": the attack was misled; "suspect": a symptom).
    """

    name: str
    set: str
    grade: str
    share: float
    p_value: float
    threshold: float
    alarm: float
    examples: tuple[int, ...]
    numbers: Mapping
    sentence: str

    @property
    def flag(self) -> bool:
        return self.share >= self.threshold and self.p_value <= self.alarm


@dataclass(frozen=True)
class MaskingReport:
    """The checks of a model on its sets, and what follows from them.

    `verdict` is "masked" if a check of that grade raises its flag (the gradients misled the attack: it was beaten on
    its own ground, or could not move), else "suspect" if any does, else "sound". `verdicts` says so set by set.
    """

    checks: tuple[Check, ...]
    skipped: tuple[str, ...]  # a line for each set that was left out
    n: int  # examples given
    correct: int  # of them classified correctly, hence attacked
    seed: int
    seconds: float

    @property
    def verdict(self) -> str:
        return _verdict(self.checks)

    @property
    def verdicts(self) -> dict[str, str]:
        names = dict.fromkeys(check.set for check in self.checks)
        return {name: _verdict(check for check in self.checks if check.set == name) for name in names}

    @property
    def reasons(self) -> tuple[str, ...]:
        """The sentences of the checks that raise their flag."""
        return tuple(f"{check.set}, {check.name}: {check.sentence}" for check in self.checks if check.flag)

    def lines(self) -> list[str]:
        """The report for people: a verdict, and a line for each check."""
        sets = ", ".join(f"{name} {verdict}" for name, verdict in self.verdicts.items())
        lines = [f"gradients: {self.verdict} ({sets}), on the {self.correct} of {self.n} examples classified correctly"]
        for check in self.checks:
            mark = check.grade.upper() if check.flag else "ok"
            shown = f" (p = {check.p_value:.1g}; examples {_few(check.examples)})" if check.flag else ""
            lines.append(f"{check.set:>12}  {check.name:<16}  {mark:<7}  {check.sentence}{shown}")
        return lines + list(self.skipped)

    def data(self) -> dict:
        """The report as plain JSON data."""
        checks = [asdict(check) | {"flag": check.flag, "examples": list(check.examples)} for check in self.checks]
        own = {name: getattr(self, name) for name in ("verdict", "verdicts", "n", "correct", "seed", "seconds")}
        return own | {"reasons": list(self.reasons), "skipped": list(self.skipped), "checks": checks}


def _verdict(checks: Iterable[Check]) -> str:
    grades = {check.grade for check in checks if check.flag}
    return next((grade for grade in ("masked", "suspect") if grade in grades), "sound")


def _few(examples: Sequence[int], most: int = 8) -> str:
    return ", ".join(map(str, examples[:most])) + (", …" if len(examples) > most else "")


def masking_report(
    model: Model,
    x: Tensor,
    y: Tensor,
    sets: Union | Lp | Sequence[Lp],
    rng: np.random.Generator,
    *,
    box: Box = (0.0, 1.0),
    steps: int = 100,
    black_box: Callable[[Lp], Callable] | None = None,
    alarm: float = ALARM,
    chunk: int = 100,
) -> MaskingReport:
    """Whether attacks that follow the model's gradients can be trusted on the given lp balls.

    Parameters: `model` maps a float batch to logits; `x` (n, ...) float in the box (None: no bounds) and `y` (n,) int64
    are tensors on its device, some 200 examples or more (a rival must win 11 to be significant); `sets` is a ball,
    several, or their union (members that are not balls are skipped, with a line that says so). The attack under
    suspicion is PGD, for l1 SLIDE, on the margin in `steps` steps. `black_box` makes, from a set, an attack that uses
    no gradient (by default Square), to be tried beside finite differences. `alarm` is the false-alarm rate per check
    and set. Draws belong to the example, so that neither `chunk` nor the order of examples changes them.

    Raises ValueError for bad input, a model that does not return finite logits, one that is wrong on every example,
    and one whose output changes between calls, before any attack.

    >>> x = torch.rand(50, 2, generator=torch.Generator().manual_seed(0))
    >>> y = (x[:, 0] > x[:, 1]).long()
    >>> masking_report(lambda x: x.flip(1), x, y, Linf(0.1), np.random.default_rng(0), steps=10).verdict
    'sound'
    >>> rounded = lambda x: (100 * x.flip(1)).round()
    >>> masking_report(rounded, x, y, Linf(0.1), np.random.default_rng(0), steps=10).verdict
    'masked'
    """
    began = time.perf_counter()
    members = sets.sets if isinstance(sets, Union) else tuple(sets) if isinstance(sets, Sequence) else (sets,)
    balls = [S for S in members if isinstance(S, Lp) and S.eps]
    skipped = tuple(f"{S} is skipped: the report follows gradients in lp balls of positive radius"
                    for S in members if S not in balls)  # fmt: skip
    if not balls:
        raise ValueError(f"sets is {sets!r}, but the report needs an lp ball of positive radius")
    for name, value in (("steps", steps), ("chunk", chunk)):
        check_count(value, name)
    if not 0 < alarm < 1:
        raise ValueError(f"alarm is {alarm!r}, but a false-alarm rate lies between 0 and 1")
    seed = int(rng.integers(2**63))
    with evaluating(model):
        check_task(model, [_white(S, box, steps) for S in balls], x, y)
        _check_fixed(model, x[:16], y[:16])
        correct = torch.cat([~look(model, x[i : i + chunk], y[i : i + chunk], "margin").broken
                             for i in range(0, len(x), chunk)]).nonzero()[:, 0]  # fmt: skip
        if not len(correct):
            raise ValueError(f"the model classifies none of the {len(x)} examples correctly: check x and y")
        trial = Trial(model, x[correct], y[correct], correct.tolist(), box, steps, seed, alarm, chunk, black_box)
        checks = tuple(check(trial, S) for S in balls for check in CHECKS)
    return MaskingReport(checks, skipped, len(x), len(correct), seed, round(time.perf_counter() - began, 1))


def _check_fixed(model: Model, x: Tensor, y: Tensor) -> None:
    """ValueError if the model's margins change between calls by more than a rounding."""
    first = look(model, x, y, "margin").loss  # refuses NaN
    change = max(float((look(model, x, y, "margin").loss - first).abs().max()) for _ in range(CALLS))
    if not change <= 1e-5 * (1 + float(first.abs().max())):
        raise ValueError(f"the model is randomised: its margins change by {change:.2g} between calls on the same "
                         "input. Fix its draws, or attack its expectation over many (Athalye et al. 2018)")  # fmt: skip


# ---- what every check may use


def _white(S: Lp, box: Box, steps: int) -> PGD | SLIDE:
    return (SLIDE if S.p == 1 else PGD)(S, steps=steps, box=box)


@dataclass(frozen=True, eq=False)
class Trial:
    """A model, the examples that it classifies correctly, and what attacks have made of them so far."""

    model: Model
    x: Tensor
    y: Tensor
    index: list[int]  # of the examples, where the caller counts them
    box: Box
    steps: int
    seed: int
    alarm: float
    chunk: int
    black_box: Callable[[Lp], Callable] | None
    memory: dict = field(default_factory=dict)

    def white(self, S: Lp, **how) -> PGD | SLIDE:
        return replace(_white(S, self.box, self.steps), **how)

    @property
    def sigma(self) -> float:
        return SPREAD * (float(self.x.std()) if self.box is None else self.box[1] - self.box[0])

    def chunks(self, rows: np.ndarray) -> Iterable[tuple[np.ndarray, Tensor, Tensor]]:
        for i in range(0, len(rows), self.chunk):
            part = rows[i : i + self.chunk]
            yield part, self.x[part], self.y[part]

    def draws(self, x: Tensor, name: str) -> Draws:
        return Draws.for_examples(x.cpu().numpy(), self.seed, name)

    def broken(self, attack, rows: np.ndarray | None = None, borrow: Callable | None = None) -> np.ndarray:
        """Which examples (of `rows`, by default all) the attack breaks, bool; `borrow` gives it other gradients."""
        key = (repr(attack), borrow, None if rows is None else rows.tobytes())
        if key not in self.memory:
            broken = np.zeros(len(self.x), dtype=bool)
            for part, x, y in self.chunks(np.arange(len(self.x)) if rows is None else np.flatnonzero(rows)):
                model = borrow(self) if borrow else self.model
                found = attack(model, x, y, self.draws(x, repr(attack)))
                broken[part] = look(self.model, found, y, "margin").broken.cpu().numpy()
            self.memory[key] = broken
        return self.memory[key]

    def climb(self, S: Lp) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The climb under suspicion, without stopping: the loss at its start, at its end, and what it breaks."""
        if S not in self.memory:
            attack, parts = self.white(S), []
            for _, x, y in self.chunks(np.arange(len(self.x))):
                parts.append(self._climbed(attack, x, y).cpu().numpy())
            start, end, broken = np.concatenate(parts, axis=1)
            self.memory[S] = start, end, broken.astype(bool)
        return self.memory[S]

    def _climbed(self, attack: PGD | SLIDE, x: Tensor, y: Tensor) -> Tensor:
        """Loss at the start and at the end, and whether broken, (3, batch)."""
        losses: list[Tensor] = []
        found = ascend(self.model, x, y, self.draws(x, "climb"), [attack], steps=attack.steps, box=self.box,
                       early_stop=False, watch=lambda made, now: losses.append(now.loss))  # fmt: skip
        return torch.stack([losses[0], losses[-1], found.broken.to(x.dtype)])

    def standing(self, S: Lp) -> np.ndarray:
        """What the climb under suspicion leaves standing."""
        return ~self.climb(S)[2]

    def fewer_steps(self, S: Lp) -> dict[int, np.ndarray]:
        counts = (max(1, self.steps // k) for k in (10, 3))
        return {n: self.broken(self.white(S, steps=n)) for n in counts}

    def other_steps(self, S: Lp) -> dict[float, np.ndarray]:
        usual = 2.5 * S.eps / self.steps
        return {k: self.broken(self.white(S, step=k * usual)) for k in (0.1, 0.3, 3.0, 10.0)}

    def withstood(self, S: Lp) -> np.ndarray:
        """What is left standing by every run here that follows the model's own gradients, whatever its steps."""
        return self.standing(S) & ~np.any([*self.fewer_steps(S).values(), *self.other_steps(S).values()], axis=0)

    def rarely(self, name: str, S: Lp, grade: str, hits: np.ndarray, sentence: str, tests: int = 1, **numbers) -> Check:
        """A check of something that sound models show on a share of at most `CHANCE`."""
        p = float(binom.sf(hits.sum() - 1, len(hits), CHANCE))
        return self._check(name, S, grade, hits.mean(), tests * p, hits, sentence, numbers)

    def paired(self, name: str, S: Lp, grade: str, pairs: Mapping, sentence: Callable[[str], str], **numbers) -> Check:
        """A check that no rival beats: McNemar's test of each pair (broken by the rival, broken by the reference)."""
        tests = {rival: Paired.of(a, b) for rival, (a, b) in pairs.items()}
        best = min(tests, key=lambda rival: (tests[rival].p_value, -tests[rival].difference))
        test, (a, b) = tests[best], pairs[best]
        return self._check(name, S, grade, test.difference, len(pairs) * test.p_value, a & ~b, sentence(best), numbers)

    def _check(self, name, S, grade, share, p, hits, sentence, numbers) -> Check:
        examples = tuple(self.index[i] for i in np.flatnonzero(hits))
        return Check(name, str(S), grade, float(share), min(1.0, p), THRESHOLD, self.alarm, examples, numbers, sentence)


def _of(hits: np.ndarray) -> str:
    return f"{int(hits.sum())} of {len(hits)} ({100 * hits.mean():.0f} %)"


# ---- gradients borrowed from elsewhere: models with the value of the model and another gradient


def averaged(trial: Trial, draws: int = 8) -> Model:
    """The model with its gradient averaged over noise, which evens out what oscillates (Athalye et al. 2018)."""

    def logits(x: Tensor, noise: Tensor) -> Tensor:
        mean = torch.stack([trial.model(_moved(trial, x, way)) for way in noise]).mean(dim=0)
        return trial.model(x).detach() + mean - mean.detach()

    return _noisy(trial, logits, draws)


SMOOTH: Mapping[str, Callable] = {"softened": lambda trial: softened(trial.model), "averaged": averaged}


def differences(trial: Trial, draws: int = 32) -> Model:
    """The model with finite differences along random directions for a gradient (Uesato et al. 2018): values alone."""

    def logits(x: Tensor, noise: Tensor) -> Tensor:
        with torch.no_grad():
            there, back = (
                torch.stack([trial.model(_moved(trial, x, sign * way)) for way in noise]) for sign in (1, -1)
            )
            value, change = trial.model(x), (there - back) / (2 * trial.sigma**2 * len(noise))
        along = torch.einsum("kf,bf->kb", noise.flatten(1), x.flatten(1))
        return value + torch.einsum("kbc,kb->bc", change, along - along.detach())

    return _noisy(trial, logits, draws)


def _noisy(trial: Trial, logits: Callable[[Tensor, Tensor], Tensor], draws: int) -> Model:
    """Noise that is new at each step of a climb and the same for all examples, so that no batch changes a result."""
    rng = np.random.default_rng(trial.seed)

    def model(x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return trial.model(x)
        noise = rng.normal(0.0, trial.sigma, (draws, *x.shape[1:]))
        return logits(x, torch.as_tensor(noise, device=x.device).to(x.dtype))

    return model


def _moved(trial: Trial, x: Tensor, way: Tensor) -> Tensor:
    return x + way if trial.box is None else (x + way).clamp(*trial.box)


# ---- the checks


def zero_gradients(trial: Trial, S: Lp) -> Check:
    """At the climb's start no gradient may be zero (or below the least normal float), for neither loss."""
    dead = {loss: (_start_gradients(trial, S, loss).abs().amax(dim=1) < torch.finfo(trial.x.dtype).tiny).numpy()
            for loss in LOSSES}  # fmt: skip
    loss = max(dead, key=lambda loss: dead[loss].sum())
    where = "of every loss" if all(d.sum() == dead[loss].sum() for d in dead.values()) else f"of the loss {loss!r}"
    sentence = f"the whole gradient {where} is zero on {_of(dead[loss])}"
    if dead[loss].sum() and not dead["margin"].any():
        sentence += ", that of the margin on none: cross-entropy saturates, attack the margin"
    return trial.rarely("zero gradients", S, "masked", dead[loss], sentence, len(dead),
                        **{loss: float(hits.mean()) for loss, hits in dead.items()})  # fmt: skip


def zero_coordinates(trial: Trial, S: Lp) -> Check:
    """Of the coordinates that matter to some example, an example's gradient may not be zero on nearly all."""
    zero = _start_gradients(trial, S, "margin") == 0
    share = zero[:, ~zero.all(dim=0)].double().mean(dim=1).nan_to_num(1.0).numpy()
    hits = share > 0.9
    sentence = (
        f"the gradient is zero on more than 90 % of the coordinates (mean {100 * share.mean():.0f} %) of {_of(hits)}"
    )
    return trial.rarely("zero coordinates", S, "suspect", hits, sentence, mean=float(share.mean()))


def _start_gradients(trial: Trial, S: Lp, loss: str) -> Tensor:
    """The input gradients, (examples, coordinates), where the climb starts."""
    if (S, loss) not in trial.memory:
        parts = []
        for _, x, y in trial.chunks(np.arange(len(trial.x))):
            bounds = (None, None) if trial.box is None else (trial.box[0] - x, trial.box[1] - x)
            r = into(trial.white(S).start(x, trial.draws(x, "climb"))["r"], *bounds)
            at = (x + r).requires_grad_()
            (gradient,) = torch.autograd.grad(LOSSES[loss](trial.model(at), y).sum(), at)
            parts.append(gradient.flatten(1).cpu())
        trial.memory[S, loss] = torch.cat(parts)
    return trial.memory[S, loss]


def black_box(trial: Trial, S: Lp) -> Check:
    """Attacks that see values alone may not break what the climb leaves standing."""
    few = trial.white(S, steps=max(1, trial.steps // 4))
    attacks = {"finite differences": (few, differences)}
    attacks |= {type(attack).__name__: (attack, None) for attack in _queries(trial, S)}
    return _rivals("black box", trial, S, attacks)


def _queries(trial: Trial, S: Lp) -> list:
    if trial.black_box:
        return [trial.black_box(S)]
    return [Square(S, queries=QUERIES, box=trial.box)] if S.p in (1, 2, np.inf) else []


def unbounded(trial: Trial, S: Lp) -> Check:
    """As the ball grows to the whole box (without a box, a thousandfold) accuracy must go to zero.

    Only what is known to be possible counts: the last ball must hold an example of another class, classified so.
    """
    accuracy, fallen = _growing(trial, S)
    last = replace(S, eps=max(accuracy))
    hits = ~fallen
    for i in np.flatnonzero(hits):
        others = trial.x[trial.y != trial.y[i]]
        hits[i] = len(others) and bool(last.contains(others - trial.x[i]).any())
    sentence = f"at radius {last.eps:.4g} {_of(hits)} stand, though the ball holds examples of other classes"
    return trial.rarely("unbounded", S, "masked", hits, sentence,
                        accuracy={f"{eps:.4g}": value for eps, value in accuracy.items()})  # fmt: skip


def radius(trial: Trial, S: Lp) -> Check:
    """The same attack in a ball twice as large may not break fewer examples."""
    broken = {eps: trial.broken(trial.white(replace(S, eps=eps))) for eps in _growing(trial, S)[0]}
    sentence = "accuracy " + ", ".join(f"{1 - hits.mean():.3f} at {eps:.4g}" for eps, hits in broken.items())
    pairs = {b: (broken[a], broken[b]) for a, b in pairwise([S.eps, *broken])}
    return trial.paired("radius", S, "suspect", pairs, lambda eps: sentence, **_shares(broken))


def _growing(trial: Trial, S: Lp) -> tuple[dict[float, float], np.ndarray]:
    """Accuracy by radius, doubled until it is below the threshold or the ball holds the box; and what has fallen."""
    whole = 1024 * S.eps
    if trial.box is not None:
        whole = float(norm(torch.full_like(trial.x[:1], trial.box[1] - trial.box[0]), S.p)[0])
    fallen, eps = ~trial.standing(S), S.eps
    accuracy = {eps: float((~fallen).mean())}
    while eps < whole and not fallen.all():
        eps = min(2 * eps, whole)
        fallen = fallen | trial.broken(trial.white(replace(S, eps=eps)))
        accuracy[eps] = float((~fallen).mean())
    return accuracy, fallen


def loss_trace(trial: Trial, S: Lp) -> Check:
    """The loss must be larger at the end of the climb than at its start."""
    start, end, _ = trial.climb(S)
    hits = end <= start
    return trial.rarely("loss trace", S, "suspect", hits, f"the climb ends no higher than it starts on {_of(hits)}",
                        start=float(start.mean()), end=float(end.mean()))  # fmt: skip


def steps(trial: Trial, S: Lp) -> Check:
    """Fewer steps may not break more examples than many."""
    fewer, full = trial.fewer_steps(S), ~trial.standing(S)
    found = fewer | {trial.steps: full}
    sentence = "accuracy " + ", ".join(f"{1 - hits.mean():.3f} in {n} steps" for n, hits in found.items())
    pairs = {n: (hits, full) for n, hits in fewer.items()}
    return trial.paired("steps", S, "suspect", pairs, lambda n: sentence, **_shares(found))


def step_size(trial: Trial, S: Lp) -> Check:
    """No step of two decades around the default may break far more examples than the default."""
    other, usual = trial.other_steps(S), ~trial.standing(S)
    found = {1.0: usual} | other
    sentence = "accuracy " + ", ".join(f"{1 - found[k].mean():.3f} at ×{k:g}" for k in sorted(found))
    pairs = {k: (hits, usual) for k, hits in other.items()}
    return trial.paired("step size", S, "suspect", pairs, lambda k: sentence + " the default step", **_shares(found))


def smoothed(trial: Trial, S: Lp) -> Check:
    """The gradients of a smoothed copy may not break what the model's own leave standing."""
    half = trial.white(S, steps=max(1, trial.steps // 2))
    return _rivals("smoothed", trial, S, {f"{name} gradients": (half, borrow) for name, borrow in SMOOTH.items()})


def _rivals(name: str, trial: Trial, S: Lp, attacks: Mapping) -> Check:
    """Attacks that do not follow the model's gradients, on what withstood those that do, against one more of those."""
    withstood = trial.withstood(S)
    control = trial.broken(trial.white(S, steps=trial.steps + 1), withstood)
    broken = {rival: trial.broken(attack, withstood, borrow) for rival, (attack, borrow) in attacks.items()}
    return trial.paired(name, S, "masked", {rival: (hits, control) for rival, hits in broken.items()}, lambda rival:
                        f"of {withstood.sum()} that withstand the model's own gradients, {rival} break "
                        f"{broken[rival].sum()}, one more run of its own {control.sum()}",
                        **_shares(broken | {"own gradients": control}))  # fmt: skip


def _shares(broken: Mapping) -> dict[str, float]:
    return {str(name): float(hits.mean()) for name, hits in broken.items()}


CHECKS = (
    zero_gradients,
    zero_coordinates,
    loss_trace,
    steps,
    step_size,
    radius,
    unbounded,
    smoothed,
    black_box,
)
