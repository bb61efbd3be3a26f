"""Which architectures to look at: random ones, or those that Optuna's TPE proposes."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from typing import Any

from gendistill.errors import UserError, did_you_mean
from gendistill.nets.spaces import LearnerSpace
from gendistill.seeds import derive_seed, stream

SEARCHES = ("random", "optuna")
ScoreAll = Callable[[Sequence[str]], list[float]]
"""Scores several architectures, perhaps side by side."""


def check_search(how: str) -> None:
    """Refuse a way of searching that there is not.

    Raises:
        UserError: An unknown way, or Optuna is not installed.
    """
    if how not in SEARCHES:
        raise UserError(f"search is '{how}'; {did_you_mean(how, SEARCHES)}choose among: {', '.join(SEARCHES)}")
    if how == "optuna" and importlib.util.find_spec("optuna") is None:
        raise UserError(
            "search 'optuna' needs Optuna, which is not installed; run pip install 'gendistill[nas]', or use random"
        )


def search(
    how: str,
    space: LearnerSpace,
    score: ScoreAll,
    *,
    count: int,
    seed: int,
    side_by_side: int = 1,
    budget: float | None = None,
) -> list[str]:
    """Score architectures within a budget.

    Args:
        how: ``random`` (all different) or ``optuna`` (TPE; needs the extra ``gendistill[nas]``).
        space: The space.
        score: What is maximised.
        count: Architectures to look at, at most.
        seed: Of the search.
        side_by_side: How many are scored at a time.
        budget: Seconds of wall time after which no further ones are begun; None: no limit.

    Returns:
        The different names that were scored, in order.

    Raises:
        UserError: An unknown way, a space that is too small, or Optuna is not installed.
    """
    check_search(how)
    deadline = None if budget is None else time.monotonic() + budget
    if how == "optuna":
        return _optuna(space, score, count, seed, side_by_side, deadline)
    names = space.samples(count, stream(seed, "nas/search"))
    return score_in_turn(names, score, side_by_side if deadline is not None else len(names), deadline)


def score_in_turn(names: Sequence[str], score: ScoreAll, at_once: int, deadline: float | None) -> list[str]:
    """Score names a few at a time until the deadline; return those that were scored."""
    done: list[str] = []
    while len(done) < len(names) and not (done and _late(deadline)):
        some = names[len(done) : len(done) + at_once]
        score(some)
        done += some
    return done


def _late(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline


def _optuna(
    space: LearnerSpace, score: ScoreAll, count: int, seed: int, side_by_side: int, deadline: float | None
) -> list[str]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=derive_seed(seed, "nas/optuna") % 2**32)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    found: dict[str, None] = {}
    asked = 0
    while asked < count and not (found and _late(deadline)):
        trials = [study.ask() for _ in range(min(side_by_side, count - asked))]
        asked += len(trials)
        names = [space.compose(_suggestions(trial)) for trial in trials]
        scores = score(list(dict.fromkeys(names)))
        by_name = dict(zip(dict.fromkeys(names), scores, strict=True))
        for trial, name in zip(trials, names, strict=True):
            study.tell(trial, by_name[name])
        found |= dict.fromkeys(names)
    return list(found)


def _suggestions(trial: Any) -> Callable[[str, Sequence[Any]], Any]:
    def choose(label: str, options: Sequence[Any]) -> Any:
        if isinstance(options, range):
            return trial.suggest_int(label, options[0], options[-1])
        return trial.suggest_categorical(label, list(options))

    return choose
