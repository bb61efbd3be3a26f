"""Tries the usual suspects one by one, and tells which of them moves a measured accuracy to the claimed one.

Every suspect changes one thing. It is tried with few learners first; what brings the number nearer to the claim is
then tried with all. Learners of one seed are the same whatever is changed, so a move is a mean of paired differences;
its interval is widened by the number of suspects (Bonferroni), which is right however the few were picked for the
second look.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from gendistill.data.fingerprint import tensors_fingerprint
from gendistill.errors import UserError
from gendistill.evaluation.comparison import paired, quantile
from gendistill.evaluation.learning import learning_curve
from gendistill.evaluation.protocols import with_defaults
from gendistill.evaluation.suspects import Case, Suspect, apply, more_suspects, quick_suspects
from gendistill.evaluation.verification import Claim, Verdict, judge_claim, signed
from gendistill.teacher.base import Teacher
from gendistill.words import counted

FIRST_LOOK = 3
"""Learners of a suspect's first look."""
SECOND_LOOKS = 3
"""Suspects of a round that are tried with all learners."""
REASON = 0.5
"""Share of a difference from which on what closes it is a reason for it."""
ROUNDS = {"quick": 1, "all": 2}
"""How often suspects are tried: again from the best of the first time."""


@dataclass
class Trial:
    """One suspect that was tried.

    Attributes:
        suspect: Which.
        round: From 1; those of the second start from the best of the first.
        runs: Accuracies of the learners so far, by seed.
        skipped: Why it was not tried, None where it was.
    """

    suspect: Suspect
    round: int
    runs: list[float] = field(default_factory=list)
    skipped: str | None = None


@dataclass
class Verification:
    """The work: what is judged, and how far it has come.

    Attributes:
        path: The result.
        case: How it is read and judged.
        seeds: Seeds of the learners.
        claim: What was published, None where nothing is claimed.
        margin: Within it accuracies are the same, a fraction.
        device: Where learners are trained, None: where the data is.
        tell: Called with a sentence before each training.
        progress: Called with the updates done and their total.
    """

    path: str | Path
    case: Case
    seeds: list[int]
    claim: Claim | None
    margin: float
    device: Any = None
    tell: Callable[[str], None] | None = None
    progress: Callable[[int, int], None] | None = None

    def learn(self, teacher: Teacher, learning: Mapping[str, Any], seeds: Sequence[int]) -> dict[str, Any]:
        """Train learners of some seeds, and return the result of ``learning_curve``."""
        options = {**learning, "seeds": list(seeds), "device": self.device, "progress": self.progress}
        return learning_curve(teacher, self.case.data, **options)

    def say(self, words: str) -> None:
        """Tell a person what is done next."""
        if self.tell is not None:
            self.tell(words)

    @property
    def step(self) -> float:
        """Distance of two accuracies that can be told apart."""
        return 1 / max(1, len(getattr(self.case.data, self.case.learning.get("split", "test"))))

    def distance(self, runs: Sequence[float]) -> float:
        """Return how far runs are from the claim, or from being right everywhere."""
        mean = statistics.fmean(runs)
        return abs(mean - self.claim.value) if self.claim else 1.0 - mean

    def verdict(self, runs: Sequence[float]) -> Verdict | None:
        """Hold runs against the claim, if there is one."""
        return None if self.claim is None else judge_claim(runs, self.claim, margin=self.margin, step=self.step)


def investigate(work: Verification, runs: Sequence[float], budget: str) -> tuple[list[dict[str, Any]], str]:
    """Try the suspects, and return what became of each, and a sentence on what moves the number.

    Args:
        work: What is judged.
        runs: Accuracies of all learners before anything is changed.
        budget: ``quick`` or ``all``.
    """
    first = list(runs)
    base, changes, rivals = first, list[Suspect](), list[Suspect]()
    trials: list[Trial] = []
    before: list[tuple[Trial, list[float]]] = []
    for number in range(1, ROUNDS[budget] + 1):
        settled = {change.kind for change in changes}
        found = _round(work, number, budget, base, changes, settled)
        trials += found
        before += [(trial, base) for trial in found]
        tried = sum(trial.skipped is None for trial in trials)
        sure = _sure(work, found, base, tried)
        if not sure:
            break
        best = sure[0]
        rivals = [one.suspect for one in sure[1:] if work.distance(one.runs) < work.distance(best.runs) + work.margin]
        closed = 1 - work.distance(best.runs) / work.distance(base)
        changes, base = [*changes, best.suspect], best.runs
        if _arrived(work.verdict(base)) or closed < REASON:
            break
    tried = sum(trial.skipped is None for trial in trials)
    listed = [_entry(work, trial, start, tried) for trial, start in before]
    finding = _finding(work, first, base, changes, tried, budget)
    if rivals:
        others = "; ".join(one.words for one in rivals)
        finding += f" It comes as near, to within the margin of ±{100 * work.margin:g}, with: {others}."
    return listed, finding


def _round(
    work: Verification, number: int, budget: str, base: list[float], changes: list[Suspect], settled: set[str]
) -> list[Trial]:
    """Try every suspect of a round with few learners, and the most promising ones with all."""
    case = work.case
    reading, learning, teacher = case.reading, dict(case.learning), case.teacher
    for change in changes:
        reading, learning = apply(reading, change), learning | dict(change.learning)
    if changes:
        teacher = reading.open(work.path, case.data)
    case = replace(case, teacher=teacher, reading=reading, learning=learning)
    makers = [quick_suspects(case), *([more_suspects(case)] if budget == "all" else [])]
    trials = [Trial(suspect, number) for suspect in chain(*makers) if suspect.kind not in settled]
    look = min(FIRST_LOOK, len(work.seeds))

    def changed(trial: Trial) -> tuple[Teacher, dict[str, Any]]:
        read = apply(reading, trial.suspect).open(work.path, case.data) if trial.suspect.reading else teacher
        return read, learning | dict(trial.suspect.learning)

    # What cannot be, or is the same as something else, is known before anything is trained.
    known = [_key(teacher, learning)]
    for trial in trials:
        try:
            key = _key(*changed(trial))
        except UserError as error:
            trial.skipped = f"cannot be: {error}"
            continue
        if key in known:
            trial.skipped = "the same as before"
        known.append(key)
    left = [trial for trial in trials if trial.skipped is None]
    for place, trial in enumerate(left, 1):
        work.say(f"suspect {place} of {len(left)}: {trial.suspect.words}")
        try:
            trial.runs = work.learn(*changed(trial), work.seeds[:look])["accuracy"]["runs"][-1]
        except UserError as error:
            trial.skipped = f"cannot be: {error}"
    nearer = [trial for trial in left if trial.runs and _gain(work, trial.runs, base) > work.margin / 2]
    nearer.sort(key=lambda trial: work.distance(trial.runs))
    for trial in nearer[:SECOND_LOOKS] if look < len(work.seeds) else ():
        work.say(f"once more with all {len(work.seeds)} learners: {trial.suspect.words}")
        trial.runs = trial.runs + work.learn(*changed(trial), work.seeds[look:])["accuracy"]["runs"][-1]
    return trials


def _key(teacher: Teacher, learning: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what tells lessons apart: images, labels, rates, normalisation, and all options."""
    options = with_defaults(learning)
    return tensors_fingerprint(teacher.tensors()), teacher.description.normalisation, options


def _gain(work: Verification, runs: Sequence[float], base: Sequence[float]) -> float:
    """Return by how much runs are nearer to the claim than the same learners were before."""
    return work.distance(base[: len(runs)]) - work.distance(runs)


def _move(work: Verification, runs: Sequence[float], base: Sequence[float], tried: int) -> tuple[float, float, float]:
    """Return the mean move of the same learners, and its 95 % interval over all suspects together."""
    estimate = paired([new - old for new, old in zip(runs, base, strict=False)], work.step)
    mean, reach = float(estimate.mean), float(quantile(estimate.df, tried) * estimate.error)
    return mean, mean - reach, mean + reach


def _moved(low: float, high: float) -> bool:
    return low > 0 or high < 0


def _sure(work: Verification, trials: Sequence[Trial], base: Sequence[float], tried: int) -> list[Trial]:
    """Return the suspects that with all learners come nearer to the claim by a move that counts, the nearest first."""
    whole = [trial for trial in trials if len(trial.runs) == len(work.seeds)]
    moved = [trial for trial in whole if _moved(*_move(work, trial.runs, base, tried)[1:])]
    nearer = [trial for trial in moved if _gain(work, trial.runs, base) > work.margin / 2]
    return sorted(nearer, key=lambda trial: work.distance(trial.runs))


def _entry(work: Verification, trial: Trial, base: Sequence[float], tried: int) -> dict[str, Any]:
    suspect = trial.suspect
    entry: dict[str, Any] = {
        "kind": suspect.kind,
        "words": suspect.words,
        "conclusion": suspect.conclusion,
        "reading": {name: _told(value) for name, value in suspect.reading.items()},
        "learning": dict(suspect.learning),
        "round": trial.round,
        "skipped": trial.skipped,
        "runs": trial.runs,
    }
    if trial.skipped is not None:
        return entry | dict.fromkeys(("mean", "move", "low", "high", "moved", "verdict"))
    mean, low, high = _move(work, trial.runs, base, tried)
    verdict = work.verdict(trial.runs)
    return entry | {
        "mean": statistics.fmean(trial.runs),
        "move": mean,
        "low": low,
        "high": high,
        "moved": _moved(low, high),
        "verdict": None if verdict is None else verdict.word,
    }


def _told(value: Any) -> Any:
    """Return what JSON can hold of a reading's attribute."""
    return {"mean": value.mean, "std": value.std} if hasattr(value, "whitening") else value


def _arrived(verdict: Verdict | None) -> bool:
    """Return whether nothing is left to explain: it agrees, or so few learners see no difference."""
    return (
        verdict is None or verdict.word == "agrees" or (verdict.word == "undecided" and verdict.low < 0 < verdict.high)
    )


def _finding(
    work: Verification, first: list[float], last: list[float], changes: Sequence[Suspect], tried: int, budget: str
) -> str:
    """Say what moves the number, or that nothing does."""
    count = counted(tried, "suspect")
    if not changes:
        more = "" if budget == "all" else "; --suspects all tries more"
        does = "brings it nearer to the claim" if work.claim else "raises it"
        return f"None of {count} {does} by a difference that counts{more}."
    mean, low, high = _move(work, last, first, tried)
    done = " and ".join(change.words for change in changes)
    move = f"{signed(mean)} points, 95 % interval {signed(low)} to {signed(high)} over {count} together"
    conclusion = "; ".join(change.conclusion for change in changes)
    reached = f"With {done} it reaches {100 * statistics.fmean(last):.1f} % ({move})"
    verdict = work.verdict(last)
    if verdict is None:
        return f"{reached}: if that is what its authors did, {conclusion}."
    if verdict.word == "agrees":
        return f"{reached}, which agrees with the claim: {conclusion}."
    span = f"95 % interval {signed(verdict.low)} to {signed(verdict.high)}"
    if _arrived(verdict):
        few = f"which {len(last)} learners do not tell from the claim ({signed(verdict.difference)} points, {span})"
        return f"{reached}, {few}: {conclusion}."
    left = f"still {signed(verdict.difference)} points from the claim, {span}"
    closed = 1 - work.distance(last) / work.distance(first)
    if closed < REASON:
        more = "" if budget == "all" else "; --suspects all tries more"
        return f"{reached}, {left}: that is {closed:.0%} of the difference and hardly the reason{more}."
    more = "" if budget == "all" else "; --suspects all goes on from there"
    return f"{reached}, {left}: {conclusion}, but that is not all{more}."
