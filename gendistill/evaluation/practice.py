"""Deliberate practice: a learner is taught by a generator that is asked, again and again, for what it finds hard.

A learner begins with ``first`` images of a generator. Whenever its accuracy on the validation split has not grown for
``patience`` looks, ``added`` more are made by the generator for it, as they are now hard, and join those that it learns
from. What is compared with it at equal updates, learner by learner from the same first weights: as many images drawn at
random at the same moments, all of them from the start, new ones in every batch, and any other teacher, such as real
images or a GTN.

Askari-Hemmat et al. 2025, "Improving the Scaling Laws of Synthetic Data with Deliberate Practice" (arXiv 2502.15588),
Algorithm 1. Deviations are on the page docs/methods/deliberate-practice.md.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from gendistill import sphere
from gendistill.data.augment import augment, parse
from gendistill.data.description import Description
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.comparison import Sample, compare
from gendistill.evaluation.ensemble import Separate
from gendistill.evaluation.entropy import Logits, guided, hardest
from gendistill.evaluation.parts import of, once
from gendistill.evaluation.private_teachers import require_public, without_choice
from gendistill.evaluation.protocols import named_strategy
from gendistill.evaluation.rates import Candidate
from gendistill.evaluation.settings import OWN
from gendistill.evaluation.workers import Workers
from gendistill.nets.learners import default_learner
from gendistill.seeds import seed_list, stream
from gendistill.teacher.base import Teacher
from gendistill.teacher.draw import stratified_order
from gendistill.teacher.fit import fitted
from gendistill.teacher.generator import GeneratorTeacher
from gendistill.untrusted import Spec, said

PRACTICE, RANDOM, AT_ONCE, FRESH = "practice", "random", "at once", "fresh"
WAYS = (PRACTICE, RANDOM, AT_ONCE, FRESH)
AT_A_TIME = 256
"""Images that a generator and a learner look at together."""


@dataclass(frozen=True)
class PracticePlan:
    """How a learner practises.

    Attributes:
        updates: Of a learner, in all.
        batch_size: Images an update.
        first: Images that it begins with; at least one a class.
        added: Images that are added at a time; at least one a class.
        patience: Looks at the validation split without a better accuracy after which images are added.
        look_every: Updates between two looks.
        omega: Length of a step of guidance as a part of the latents' radius, from 0; 0: none.
        ascents: Steps of guidance, from 1.
        candidates: Latents that are looked at for each one that is added, from 1; the one of largest entropy is guided.
        lr: SGD's learning rate, positive; in the last ``decay`` of all updates it falls to 0 in a line, and nothing is
            added.
        decay: Share of the updates, in (0, 1].
        momentum: SGD's, in [0, 1).
        weight_decay: From 0.
        augment: What is done to everything that is shown: ``dsa``, names joined by ``_``
            (:func:`gendistill.data.augment.parse`) or None.

    Raises:
        UserError: An option is out of range.
    """

    updates: int = 1000
    batch_size: int = 64
    first: int = 100
    added: int = 100
    patience: int = 2
    look_every: int = 20
    omega: float = 0.1
    ascents: int = 5
    candidates: int = 1
    lr: float = 0.03
    decay: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augment: str | None = None

    def __post_init__(self) -> None:
        for name in ("updates", "batch_size", "first", "added", "patience", "look_every", "ascents", "candidates"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(f"{name} is {value!r}; give a whole number from 1")
        ranges = {
            "omega": (0 <= self.omega <= 1, "a number from 0 (no guidance) to 1 (a step as long as the radius)"),
            "lr": (0 < self.lr < float("inf"), "a positive number"),
            "decay": (0 < self.decay <= 1, "a share above 0 and at most 1"),
            "momentum": (0 <= self.momentum < 1, "a number in [0, 1)"),
            "weight_decay": (0 <= self.weight_decay < float("inf"), "a number from 0"),
        }
        for name, (fits, allowed) in ranges.items():
            if not fits:
                raise UserError(f"{name} is {getattr(self, name)}; give {allowed}")
        if self.augment != "dsa":
            parse(self.augment)

    def rate(self, step: int) -> float:
        """Return the learning rate of an update, counted from 0."""
        return self.lr * min(1.0, (self.updates - step) / (self.decay * self.updates))

    @property
    def stable(self) -> float:
        """Updates after which the rate falls and nothing is added any more."""
        return (1 - self.decay) * self.updates


class Pool:
    """What a learner has been given by a generator so far: latents on the sphere, classes, images.

    Args:
        source: The generator, in the data set's classes.
        generator: Draws latents and classes.
        description: Whose normalisation the learner sees images in.
    """

    def __init__(self, source: GeneratorTeacher, generator: torch.Generator, description: Description) -> None:
        self.source, self.generator, self.description = source, generator, description
        device = source.device
        self.latents = torch.empty(0, source.nz, device=device)
        self.classes = torch.empty(0, dtype=torch.int64, device=device)
        self.images = torch.empty(0, *description.image_shape, device=device)

    def shown(self, latents: Tensor, classes: Tensor) -> Tensor:
        """Return images (N, C, H, W) as the learner sees them, differentiable in the latents."""
        images = self.source.render(latents, classes)
        return self.source.description.normalisation.convert(images, self.description.normalisation)

    def add(self, latents: Tensor, classes: Tensor) -> None:
        """Add images of latents (N, d) on the sphere and classes (N,)."""
        with torch.no_grad():
            pairs = zip(latents.split(AT_A_TIME), classes.split(AT_A_TIME), strict=True)
            made = [self.shown(some, of_them) for some, of_them in pairs]
        self.latents = torch.cat([self.latents, latents])
        self.classes = torch.cat([self.classes, classes])
        self.images = torch.cat([self.images, *made])

    def add_random(self, count: int) -> None:
        """Add images of random latents, balanced over the classes."""
        self.add(*self._drawn(count))

    def add_hard(self, network: torch.nn.Module, count: int, plan: PracticePlan) -> None:
        """Add images that a learner finds hard: the hardest of random ones, guided further; see :class:`PracticePlan`.

        With one candidate and omega 0 they are those of :meth:`add_random`, to the bit.
        """
        latents, classes = self._drawn(count)
        logits = self._logits(network)
        others = sphere.uniform(count * (plan.candidates - 1), self.source.nz, self.generator).to(latents.device)
        every = torch.cat([latents[None], others.unflatten(0, (-1, count))])  # (candidates, N, d)
        found = []
        for some, of_them in zip(every.split(AT_A_TIME, 1), classes.split(AT_A_TIME), strict=True):
            kept = hardest(logits, some, of_them) if plan.candidates > 1 else some[0]
            found.append(guided(logits, kept, of_them, plan.omega, plan.ascents))
        self.add(torch.cat(found), classes)

    def batches(self, count: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches of all that is there, stratified, as stored images are shown."""
        for order in stratified_order(self.classes, count, batch_size, self.generator):
            index = order.to(self.images.device)
            yield self.images[index], self.classes[index]

    def _logits(self, network: torch.nn.Module) -> Logits:
        return lambda latents, classes: network(self.shown(latents, classes))

    def _drawn(self, count: int) -> tuple[Tensor, Tensor]:
        classes = self.source.fresh_labels(count, self.generator).to(self.source.device)
        return sphere.uniform(count, self.source.nz, self.generator).to(self.source.device), classes


def practise(
    teacher: Teacher,
    data: RealData,
    plan: PracticePlan | None = None,
    *,
    others: Mapping[str, Teacher] | None = None,
    rates: Sequence[float] | None = None,
    learner: Spec | None = None,
    seeds: int | Sequence[int] = 5,
    device: torch.device | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Teach fresh learners by deliberate practice, and in other ways at equal updates.

    Args:
        teacher: A generator that makes images without end.
        data: The real data: its validation split tells when to add, and chooses among rates; its test split judges.
        plan: How; None: :class:`PracticePlan`'s defaults.
        others: Further teachers by name; one with learned rates is taught at those, by plain SGD.
        rates: Learning rates that each way is tried at, of which the validation split chooses; None: the plan's.
        learner: The learner; None: the data set's own.
        seeds: How many learners, or their seeds.
        device: Where to train; None: where the data is.
        progress: Called with the trainings done and their total.

    Returns:
        Plain values: ``plan``, ``learner``, ``seeds``, ``test_images``, and ``ways`` by name, each with ``accuracy``
        (``mean``, ``std``, ``runs``), ``rate`` (chosen; None: the teacher's own), ``rates`` (mean validation accuracy
        of each), ``images`` (that a learner was given, by seed; None: no number), ``moments`` (updates at which
        some were added, by seed), ``validation`` (accuracy at every look, by seed), ``cpu_seconds`` of one learner,
        and, but for practice itself, ``behind``: by how much practice is ahead, ``mean``, ``low``, ``high`` and
        ``decided`` (:func:`gendistill.evaluation.comparison.compare` over all ways).

    Raises:
        UserError: The teacher is no generator, or does not fit the data; an option is out of range.
    """
    plan = plan or PracticePlan()
    source = _generator(fitted(teacher, data.description), plan)
    require_public(source, "practice asks validation images when a learner is to be given more")
    where = data.train.labels.device if device is None else torch.device(device)
    case = _Case(source.to(where), data.to(where), plan, learner or default_learner(data.description), where)
    tried = list(dict.fromkeys(rates or [plan.lr]))
    for beside in (others or {}).values():
        without_choice(beside, tried)
    plans = [replace(plan, lr=rate) for rate in tried]
    ways: dict[str, Teacher | None] = dict.fromkeys((PRACTICE, RANDOM, AT_ONCE))
    ways |= {FRESH: source} | {
        name: fitted(other, data.description).to(where) for name, other in (others or {}).items()
    }
    numbers = seed_list(seeds)
    done, total = 0, len(numbers) * sum(1 if _own_rates(one) else len(plans) for one in ways.values())
    found: dict[str, list[list[dict[str, Any]]]] = {}
    for name, other in ways.items():
        found[name] = []
        for place, one in enumerate(plans[:1] if _own_rates(other) else plans):
            runs = []
            for number, seed in enumerate(numbers):
                pattern = found[PRACTICE][place][number] if name in (RANDOM, AT_ONCE) else None
                runs.append(case.taught(name, other, one, seed, pattern))
                done += 1
                if progress is not None:
                    progress(done, total)
            found[name].append(runs)
    chosen = {name: _chosen(runs, tried, _own_rates(ways[name])) for name, runs in found.items()}
    _compare(chosen, numbers, 1 / len(data.test))
    return {
        "plan": asdict(plan),
        "learner": said(case.learner),
        "seeds": numbers,
        "test_images": len(data.test),
        "ways": chosen,
    }


def _generator(teacher: Teacher, plan: PracticePlan) -> GeneratorTeacher:
    if not isinstance(teacher, GeneratorTeacher) or teacher.latents is not None:
        what = "stores what it shows" if isinstance(teacher, GeneratorTeacher) else "is no generator"
        raise UserError(f"practice asks a generator for new images, and this teacher {what}; give the file or run of a "
                        "GAN")  # fmt: skip
    classes = teacher.description.num_classes
    for name in ("first", "added"):
        if getattr(plan, name) < classes:
            raise UserError(f"{name} is {getattr(plan, name)}; give at least {classes}, one image of each class")
    return teacher


def _own_rates(teacher: Teacher | None) -> bool:
    return teacher is not None and teacher.learning_rates is not None


@dataclass(frozen=True)
class _Case:
    """What is the same for all ways and learners."""

    source: GeneratorTeacher
    data: RealData
    plan: PracticePlan
    learner: Spec
    device: torch.device

    def taught(
        self, way: str, teacher: Teacher | None, plan: PracticePlan, seed: int, pattern: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """Teach one learner, or return what is kept of that.

        Args:
            way: Its name.
            teacher: Whose batches are shown; None: those of a pool.
            plan: With the rate at hand.
            seed: Of first weights and draws.
            pattern: What practice did from the same seed: when images were added, and how many there were in the end.
        """

        def what() -> dict[str, Any]:
            asked = {"way": way, "plan": asdict(plan), "seed": seed, "learner": said(self.learner)}
            grown = None if pattern is None else [pattern["moments"], pattern["images"]]
            return asked | {"pattern": grown, "device": self.device.type, **of(teacher or self.source, self.data)}

        result: dict[str, Any] = once("practice", what, lambda place: self._teach(way, teacher, plan, seed, pattern))
        return result

    def _teach(
        self, way: str, teacher: Teacher | None, plan: PracticePlan, seed: int, pattern: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        started = time.process_time()
        description = self.data.description
        ensemble = Separate(
            self.learner,
            description,
            [seed],
            [_candidate(teacher, plan)],
            optimizer="sgd",
            device=self.device,
            workers=Workers(1),
        )
        draws = stream(seed, "evaluation/batches", self.device)
        pool = None if teacher is not None else Pool(self.source, draws, description)
        if pool is not None:
            pool.add_random(pattern["images"] if way == AT_ONCE and pattern else plan.first)
        shown = (
            _shown(teacher, description, plan, draws) if pool is None else pool.batches(plan.updates, plan.batch_size)
        )
        augmenter = stream(seed, "evaluation/augment", self.device)
        strategy = named_strategy(plan.augment, description)
        looks: list[float] = []
        moments: list[int] = []
        best, since, done = 0.0, 0, 0
        while done < plan.updates:
            batches = list(islice(shown, min(plan.look_every, plan.updates - done)))
            if strategy not in (None, "", "none"):
                batches = [(augment(images, strategy, augmenter), labels) for images, labels in batches]
            ensemble.train([batches], done)
            done += len(batches)
            looks.append(float(ensemble.accuracy([0], self.data.validation)[0]))
            best, since = (looks[-1], 0) if looks[-1] > best else (best, since + 1)
            wanted = done in pattern["moments"] if pattern else since >= plan.patience and done < plan.stable
            if pool is None or way == AT_ONCE or not wanted:
                continue
            if way == PRACTICE:
                pool.add_hard(ensemble.networks[0].eval(), plan.added, plan)
            else:
                pool.add_random(plan.added)
            moments.append(done)
            shown, since = pool.batches(plan.updates - done, plan.batch_size), 0
        return {
            "accuracy": float(ensemble.accuracy([0], self.data.test)[0]),
            "validation": looks,
            "moments": moments,
            "images": len(pool.classes) if pool is not None else getattr(teacher, "images_stored", None),
            "cpu_seconds": time.process_time() - started,
        }


def _candidate(teacher: Teacher | None, plan: PracticePlan) -> Candidate:
    own = None if teacher is None else teacher.schedules(plan.updates)
    if own is not None:
        return Candidate(OWN, tuple(own[0]), tuple(own[1]), 0.0)
    rates = tuple(plan.rate(step) for step in range(plan.updates))
    return Candidate(plan.lr, rates, (plan.momentum,) * plan.updates, plan.weight_decay)


def _shown(
    teacher: Teacher | None, description: Description, plan: PracticePlan, draws: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    assert teacher is not None
    for images, labels, _ in teacher.batches(plan.updates, plan.batch_size, draws):
        yield teacher.description.normalisation.convert(images, description.normalisation), labels


def _chosen(by_rate: list[list[dict[str, Any]]], tried: Sequence[float], own: bool) -> dict[str, Any]:
    """Return the runs at the rate of highest mean validation accuracy in the end, with what the others had."""
    scores = [statistics.fmean(run["validation"][-1] for run in runs) for runs in by_rate]
    place = max(range(len(scores)), key=scores.__getitem__)
    runs = by_rate[place]
    values = [run["accuracy"] for run in runs]
    return {
        "accuracy": {
            "mean": statistics.fmean(values),
            "std": statistics.stdev(values) if len(values) > 1 else None,
            "runs": values,
        },
        "rate": None if own else tried[place],
        "rates": {} if own else {str(rate): score for rate, score in zip(tried, scores, strict=True)},
        "images": [run["images"] for run in runs],
        "moments": [run["moments"] for run in runs],
        "validation": [run["validation"] for run in runs],
        "cpu_seconds": statistics.fmean(run["cpu_seconds"] for run in runs),
    }


def _compare(ways: dict[str, dict[str, Any]], seeds: list[int], step: float) -> None:
    """Write into every way but practice by how much practice is ahead of it."""
    samples = {name: Sample(tuple(way["accuracy"]["runs"]), tuple(seeds), step) for name, way in ways.items()}
    found = compare({name: (samples[PRACTICE], sample) for name, sample in samples.items() if name != PRACTICE})
    for name, one in found.items():
        ways[name]["behind"] = {"mean": one.mean, "low": one.low, "high": one.high, "decided": one.decided}
