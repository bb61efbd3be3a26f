"""A whole study: search by a teacher's score, baselines and truth of what was looked at, rankings."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gendistill.errors import UserError
from gendistill.evaluation.ranking import ranking, spearman, upper_half
from gendistill.evaluation.workers import Workers
from gendistill.nas.ledger import Ledger
from gendistill.nas.proxies import Proxy, ShortTraining
from gendistill.nas.search import search
from gendistill.nas.truth import TrainedTruth, truths
from gendistill.nets.spaces import LearnerSpace
from gendistill.seeds import stream

Progress = Callable[[str, int, int], None]
STAGES = ("pilots", "score", "baselines", "truth")
"""What is done with architectures, in this order."""


class Away(Protocol):
    """Who does a stage elsewhere."""

    @property
    def slots(self) -> int:
        """How many architectures are looked at at once."""

    def __call__(self, stage: str, names: Sequence[str], ledger: Ledger) -> None:
        """Do a stage for architectures; afterwards what came of it is in the ledger."""


class Study:
    """Scores architectures and keeps every result on the disk.

    Args:
        space: The space.
        proxies: The teacher's score first, then the baselines.
        path: File of the results, see :class:`gendistill.nas.ledger.Ledger`.
        settings: What the results depend on besides the proxies.
        workers: Runs architectures side by side.
        pilots: Architectures on which rates are chosen.
        seed: Draws the pilots and the random search.
        data: What the data holds; see :class:`gendistill.nas.ledger.Ledger`.
        fresh: Start anew.
        progress: Called with what is done, how many of it are done and how many there are.
        away: Does the stages elsewhere; None: they are done here.
    """

    def __init__(
        self,
        space: LearnerSpace,
        proxies: Sequence[Proxy],
        path: Path,
        settings: Mapping[str, Any],
        *,
        workers: Workers,
        pilots: int = 4,
        seed: int = 0,
        data: Mapping[str, Any] | None = None,
        fresh: bool = False,
        progress: Progress | None = None,
        away: Away | None = None,
    ) -> None:
        self.away = away
        self.space, self.proxies, self.workers, self.seed, self.progress = space, list(proxies), workers, seed, progress
        known = {proxy.label: proxy.settings() for proxy in proxies}
        given = {**settings, "pilots": pilots, "seed": seed, "proxies": known}
        self.ledger = Ledger(path, given, data=data, fresh=fresh)
        self.pilots = space.samples(min(pilots, space.size), stream(seed, "nas/pilots"))

    def prepare(self) -> None:
        """Let every proxy choose its rate; choices that were made before are taken over."""
        chosen = self.ledger.choices
        trained = [one for one in self.proxies if isinstance(one, ShortTraining) and one.chosen is None]
        if self.away is not None and any(proxy.label not in chosen for proxy in trained):
            self.away("pilots", (), self.ledger)
        for proxy in self.proxies:
            earlier = self.ledger.choices.get(proxy.label)
            if earlier is not None and (not isinstance(proxy, ShortTraining) or proxy.resume(earlier)):
                continue
            self.ledger.choose(proxy.label, proxy.prepare(self.pilots, self._pilot_map(proxy.label)))

    def _pilot_map(self, label: str) -> Callable[[Callable[[str], Any], Sequence[str]], list[Any]]:
        def mapped(function: Callable[[str], Any], names: Sequence[str]) -> list[Any]:
            return self._each(f"pilots of '{label}'", names, function)

        return mapped

    def score(self, names: Sequence[str]) -> list[float]:
        """Return the teacher's scores, computing those that are not known yet."""
        main = self.proxies[0]
        self._elsewhere("score", [name for name in names if not self._is_scored(main, name)])
        self._each(f"'{main.label}'", names, partial(self._apply, main))
        return [self.score_of(name) for name in names]

    def search(self, how: str, count: int, budget: float | None = None) -> list[str]:
        """Look at architectures; see :func:`gendistill.nas.search.search`."""
        at_once = max(self.workers.count, 1) if self.away is None else self.away.slots
        return search(how, self.space, self.score, count=count, seed=self.seed, side_by_side=at_once, budget=budget)

    def baselines(self, names: Sequence[str]) -> None:
        """Score architectures with every other proxy."""
        others = self.proxies[1:]
        lacking = [name for name in names if not all(self._is_scored(proxy, name) for proxy in others)]
        self._elsewhere("baselines", lacking)
        for proxy in self.proxies[1:]:
            self._each(f"'{proxy.label}'", names, partial(self._apply, proxy))

    def train(self, names: Sequence[str], truth: TrainedTruth) -> None:
        """Find out the truth of architectures by training them."""

        def one(name: str) -> None:
            if self.ledger.get(name, "truth") is None:
                self.ledger.put(name, "truth", truth.train(name))

        self._elsewhere("truth", [name for name in names if self.ledger.get(name, "truth") is None])
        self._each("truth", names, one)

    def _elsewhere(self, stage: str, names: Sequence[str]) -> None:
        if self.away is not None and names:
            self.away(stage, names, self.ledger)

    def _is_scored(self, proxy: Proxy, name: str) -> bool:
        return proxy.label in (self.ledger.get(name, "proxies") or {})

    def look_up(self, names: Sequence[str], table: Mapping[str, float]) -> None:
        """Take the truth of architectures from a table.

        Raises:
            UserError: The table lacks one.
        """
        for name in names:
            if name not in table:
                raise UserError(f"the table of true accuracies lacks '{name}'; add it, or let --truth train")
            if self.ledger.get(name, "truth") is None:
                self.ledger.put(name, "truth", {"accuracy": table[name], "runs": [table[name]], "seconds": None})

    def best(self, names: Sequence[str]) -> str:
        """Return the architecture with the highest score of the teacher; of equal ones the first, NaN never."""
        return max(names, key=lambda name: score if math.isfinite(score := self.score_of(name)) else -math.inf)

    def score_of(self, name: str) -> float:
        """Return the teacher's score of an architecture that was looked at."""
        return float(self.ledger.architectures[name]["proxies"][self.proxies[0].label]["score"])

    def standing(self, name: str, names: Sequence[str]) -> dict[str, Any]:
        """Return an architecture, its truth, and the share of ``names`` whose truth is lower (ties count half)."""
        entries = self.ledger.architectures
        truth = truths(entries)[name]
        others = [known for other, known in truths(entries).items() if other in names and other != name]
        beaten = sum(1.0 if truth > other else 0.5 if truth == other else 0.0 for other in others)
        share = beaten / len(others) if others else None
        return {"architecture": name, "truth": truth, "better_than": share}

    def results(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the rankings of all proxies, and every architecture looked at.

        Returns:
            Plain values: ``rankings`` by proxy (:func:`gendistill.evaluation.ranking.ranking`, plus ``seconds`` for all
            architectures, ``pilot_seconds`` and ``lr``), ``truth`` (seconds, and the correlation of two seeds of it,
            which no score can be expected to exceed by much; None without two seeds), ``found`` (the best by the
            teacher) and ``architectures``.
        """
        entries = {name: self.ledger.architectures[name] for name in names}
        known = truths(entries)
        rankings = {}
        for proxy in self.proxies:
            scored = {
                name: entry["proxies"][proxy.label]
                for name, entry in entries.items()
                if proxy.label in entry.get("proxies", {})
            }
            if not scored:
                continue
            values = {name: one["score"] for name, one in scored.items()}
            choice = self.ledger.choices.get(proxy.label, {})
            rankings[proxy.label] = {
                **(ranking(values, known, seed=self.seed) if len(known) >= 3 else {}),
                "seconds": sum(one["seconds"] for one in scored.values()),
                "updates": [one.get("updates") for one in scored.values()],
                "pilot_seconds": choice.get("pilot_seconds", 0.0),
                "lr": choice.get("lr"),
            }
        best = self.best(names)
        return {
            "rankings": rankings,
            "truth": self._truth(entries),
            "found": {"architecture": best, "score": self.score_of(best), "truth": known.get(best)},
            "architectures": entries,
        }

    def _truth(self, entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        runs = [entry["truth"]["runs"] for entry in entries.values() if "truth" in entry]
        seconds = [entry["truth"]["seconds"] for entry in entries.values() if "truth" in entry]
        pairs = np.array([one[:2] for one in runs if len(one) > 1], dtype=np.float64).reshape(-1, 2)
        half = pairs[upper_half(pairs.mean(1))] if len(pairs) > 2 else pairs
        return {
            "architectures": len(runs),
            "seconds": sum(seconds) if all(one is not None for one in seconds) else None,
            "spearman_of_two_seeds": {
                "all": spearman(pairs[:, 0], pairs[:, 1]),
                "top_half_by_truth": spearman(half[:, 0], half[:, 1]),
            },
        }

    def _apply(self, proxy: Proxy, name: str) -> None:
        known = self.ledger.get(name, "proxies") or {}
        if proxy.label not in known:
            self.ledger.put(name, "proxies", {**known, proxy.label: proxy.score(name, known)})

    def _each(self, what: str, names: Sequence[str], function: Callable[[str], Any]) -> list[Any]:
        started, done = time.monotonic(), [0]

        def one(name: str) -> Any:
            result = function(name)
            done[0] += 1
            if self.progress is not None and (done[0] == len(names) or time.monotonic() - started > 0.5):
                self.progress(what, done[0], len(names))
            return result

        return self.workers.map(one, names)
