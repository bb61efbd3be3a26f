"""How well a teacher teaches: the accuracy of fresh learners on real images after n updates on the teacher's batches.

The protocol, and what the numbers mean, is on the page docs/evaluation-learning.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import torch

from gendistill.class_names import timm_name
from gendistill.data.description import Description
from gendistill.data.real import RealData, Split
from gendistill.declared import require_types
from gendistill.errors import UserError, did_you_mean
from gendistill.evaluation.curve import Curve
from gendistill.evaluation.ensemble import Separate
from gendistill.evaluation.epochs import measuring_points, one_epoch, with_images
from gendistill.evaluation.flops import learner_operations
from gendistill.evaluation.lessons import Lessons, whose_normalisation
from gendistill.evaluation.optimisers import OPTIMISERS
from gendistill.evaluation.parts import Place, of, once
from gendistill.evaluation.private_teachers import require_test, without_choice
from gendistill.evaluation.protocols import OPTIONS, Protocol
from gendistill.evaluation.protocols import protocol as protocol_named
from gendistill.evaluation.rates import candidates, learned_rate
from gendistill.evaluation.scores import MEASURES, summary
from gendistill.evaluation.settings import LEARNED
from gendistill.evaluation.stacked import Stacked
from gendistill.evaluation.update_loss import PAYS, Precision
from gendistill.evaluation.workers import Workers
from gendistill.initial import Initial
from gendistill.nets.learners import default_learner
from gendistill.seeds import initialisation, seed_list
from gendistill.teacher.base import Teacher
from gendistill.untrusted import Spec, said

SPLITS = ("test", "validation", "train")
SELECT = ("each", "last")
FEWEST = 10_000
"""Images that a training sees at least before it is asked whether compiling pays."""


def learning_curve(
    teacher: Teacher,
    data: RealData,
    protocol: Protocol | str | None = None,
    *,
    seeds: int | Sequence[int] = 5,
    split: str = "test",
    device: torch.device | str | None = None,
    batched: bool | None = None,
    compile: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Train fresh learners on a teacher's batches and measure them on real images after chosen numbers of updates.

    All seeds and all learning rates are trained at once. Learners of one seed have the same initial weights and data
    order whatever the teacher and the rate, so that teachers can be compared seed by seed::

        learning_curve(teacher, data, "condensation-dsa", epochs=100, seeds=3)

    Args:
        teacher: What teaches. It is moved to ``device``.
        data: The real data that judges.
        protocol: How learners are trained and measured, or the name of a protocol of the literature
            (:data:`gendistill.evaluation.protocols.PROTOCOLS`); None: :class:`Protocol`'s defaults.
        seeds: How many learners (seeds 0, 1, ...), or their seeds.
        split: Where accuracy is reported: ``test``, ``validation`` or ``train``.
        device: Where to train; by default where the data is.
        batched: Whether all learners go through one stacked forward pass; None: on a GPU yes, on a CPU no (there each
            core trains one learner, which is quicker).
        compile: Whether updates are compiled, which takes a C++ compiler and ten seconds; None: on a CPU where the
            training is long enough (:data:`gendistill.evaluation.update_loss.PAYS`). Results differ by rounding.
        progress: Called with the updates done and their total.
        **changes: Fields of the protocol that are other ones here.

    Returns:
        Plain values: ``learner`` (spec), ``initialisation`` (where learners start, in words, if the teacher says so),
        ``parameters``, ``updates``, ``accuracy`` (``mean``, sample ``std`` and
        ``runs``, each by number of updates; runs by seed; all fractions; std is None for one seed; ``balanced`` with
        the same three, and ``per_class``; see :func:`gendistill.evaluation.scores.summary`), ``split``,
        ``split_sizes`` (images of each split), ``class_names``, ``class_sizes`` (images of each in the reported split),
        ``measure``, ``seeds``, ``batch_size``, ``optimizer``, ``momentum``, ``weight_decay``, ``schedule``,
        ``augment``, ``augment_mode``, ``augment_strength``, ``cutmix``, ``labels``, ``normalisation`` (``data`` or
        ``teacher``), ``precision``, ``compiled``, ``generated``, ``epoch`` (``images`` and ``updates`` of one),
        ``epochs``, ``lr_asked`` (the option, as it was given), ``lr`` (chosen, by number of updates), ``learned_rate``
        (what ``learned`` stands for, if it was tried), ``selection`` (None, or candidates and their mean validation
        accuracy),
        ``learner_updates`` (of one learner), ``learners_trained``, ``images_seen`` (by one learner, by number of
        updates), ``seconds``.

    Raises:
        UserError: An option out of range, or a teacher that does not fit the data.
    """
    started = time.perf_counter()
    asked = settled(protocol, changes, data.description)
    asked = replace(asked, lr=without_choice(teacher, asked.lr))
    require_test(teacher, split)
    if not (batched is None or isinstance(batched, bool)):
        raise UserError(f"batched is {batched!r}; give true, false or none")
    if not (compile is None or isinstance(compile, bool)):
        raise UserError(f"compile is {compile!r}; give true, false or none")
    judging = _Judging(teacher, data, asked, _seeds(seeds), split, device, compile)

    def make(place: Place | None) -> dict[str, Any]:
        curve = judging.train(batched, progress, place)
        earlier = 0.0 if place is None else place.seconds
        return judging.result(curve) | {"seconds": earlier + time.perf_counter() - started}

    result: dict[str, Any] = once("learning", lambda: judging.known(batched), make)
    return result


def settled(protocol: Protocol | str | None, changes: Mapping[str, Any], description: Description) -> Protocol:
    """Return a protocol for a data set with the changes that were asked for.

    Raises:
        UserError: There is no such protocol, or no such field, or a value is of a wrong type.
    """
    for name in changes:
        if name not in OPTIONS:
            raise UserError(
                f"learning has no option '{name}'; {did_you_mean(name, OPTIONS)}it takes: {', '.join(OPTIONS)}"
            )
    chosen = protocol_named(protocol) if isinstance(protocol, str) else protocol or Protocol()
    asked = replace(chosen, **changes).of(description)
    require_types(Protocol, asked.options(), "protocol")
    return asked


class _Judging:
    """One call of :func:`learning_curve`: everything that is settled before learners are trained.

    Args:
        teacher: What teaches.
        data: The real data that judges.
        asked: How; nothing in it is left to the description.
        seeds: Of the learners.
        split: Where accuracy is reported.
        device: Where to train; None: where the data is.
        compile: Whether updates are compiled; None: where it pays.

    Raises:
        UserError: See :func:`learning_curve`.
    """

    def __init__(
        self,
        teacher: Teacher,
        data: RealData,
        asked: Protocol,
        seeds: list[int],
        split: str,
        device: torch.device | str | None,
        compile: bool | None,
    ) -> None:
        counts = _counts(asked.updates, needed=asked.epochs is None)
        _among("optimizer", asked.optimizer, OPTIMISERS)
        _among("select", asked.select, SELECT)
        _among("measure", asked.measure, MEASURES)
        _among("precision", asked.precision, get_args(Precision))
        reported = _split(data, split)
        self.asked, self.seeds, self.split = asked, seeds, split
        self.device = data.train.labels.device if device is None else _device(device)
        self.reported = reported.to(self.device)
        self._meet(teacher.to(self.device), data.to(self.device))
        self.epoch = one_epoch(self.teacher, max(asked.batch_size, 1), len(self.data.train))
        if asked.epochs is not None:
            counts = measuring_points(counts, self.epoch, asked.epochs, asked.measure_every)
        self.counts, self.total = counts, counts[-1]
        self.tried = candidates(
            asked.lr,
            self.teacher,
            self.total,
            optimizer=asked.optimizer,
            momentum=asked.momentum,
            weight_decay=asked.weight_decay,
            schedule=asked.schedule,
        )
        if len(self.tried) > 1:
            _split(self.data, "validation")
        shown = {
            name: value
            for name, value in asked.options().items()
            if name.startswith("augment") or name in ("cutmix", "labels")
        }
        self.lessons = Lessons(self.teacher, self.data.description, seeds, self.total, asked.batch_size, **shown)
        self.learner, self.initial = _judge(self.teacher, self.data, asked.learner)
        self.compile = self._pays() if compile is None else compile

    def _meet(self, teacher: Teacher, data: RealData) -> None:
        """Let the teacher and the real data be seen in one normalisation."""
        self.normalisation = whose_normalisation(self.asked.normalisation, teacher, data)
        if self.normalisation == "teacher":
            data = data.with_normalisation(teacher.description.normalisation)
        self.data, self.teacher = data, with_images(teacher, self.asked.generated, len(data.train))

    def _pays(self) -> bool:
        """Return whether the whole training is so long that compiling its updates saves time.

        It depends on what is trained alone, so that a training is the same on all machines that compile.
        """
        updates = self.total * len(self.seeds) * len(self.tried)
        per_update = self.epoch.images / max(self.epoch.updates, 1)
        if self.device.type != "cpu" or updates * per_update < FEWEST:
            return False
        try:
            once = learner_operations(self.learner, self.data.description)["multiply_adds"]
        except Exception:  # a learner of one's own that cannot be looked at without numbers
            return False
        return 3 * once * updates * per_update >= PAYS

    def known(self, batched: bool | None) -> dict[str, Any]:
        """Return all that the result depends on, in plain values."""
        how = {"seeds": self.seeds, "split": self.split, "device": self.device.type, "batched": batched}
        how["compile"] = self.compile
        asked = self.asked.options() | {"learner": said(self.learner)}
        if not self.asked.cutmix:  # what was kept before there was such an option stays what it is
            del asked["cutmix"]
        return {"asked": asked, **how, **of(self.teacher, self.data)}

    def train(
        self, batched: bool | None, progress: Callable[[int, int], None] | None, place: Place | None = None
    ) -> Curve:
        """Train all learners, measuring them on the way, from where they are kept if they are."""
        strategy = Stacked if (self.device.type != "cpu" if batched is None else batched) else Separate
        if strategy is Stacked and self.device.type == "cpu" and self.asked.precision != "float32":
            # torch's casts for a CPU do not reach through vmap.
            raise UserError(f"precision is '{self.asked.precision}', in which a CPU trains learners one by one; leave "
                            "batched out")  # fmt: skip
        cores = torch.get_num_threads() if strategy is Separate and self.device.type == "cpu" else 1
        asked, description, seeds = self.asked, self.data.description, self.seeds
        tell = progress or _silent
        # Learners with dropout draw from torch's global generator, which is lent out here and put back untouched.
        with (
            Workers(min(cores, len(seeds) * len(self.tried))) as workers,
            initialisation(seeds[0], "evaluation/dropout"),
        ):
            ensemble = strategy(
                self.learner,
                description,
                seeds,
                self.tried,
                optimizer=asked.optimizer,
                device=self.device,
                workers=workers,
                initial=self.initial,
                temperature=self.lessons.temperature,
                precision=asked.precision,
                compile=self.compile,
            )
            each = asked.select == "each"
            curve = Curve(ensemble, len(seeds), self.data.validation, self.reported, each=each, measure=asked.measure)
            done = 0 if place is None else place.go_on(curve, self.lessons)
            if self.counts[0] == 0 and not curve.reported:
                curve.measure()
            tell(done, self.total)  # from here on time is that of updates
            # Where learners may be kept no batch is drawn ahead: what is kept is where the batches are, too.
            stops = [self.counts] if place is None else [[stop] for stop in place.stops(self.counts) if stop > done]
            for counts in stops:
                for chunk in workers.ahead(self.lessons.chunks(counts)):
                    ensemble.train(chunk, done)
                    done += len(chunk[0])
                    tell(done, self.total)
                    if done in self.counts:
                        curve.measure()
                if place is not None:
                    place.keep(done, curve, self.lessons)
        return curve

    def result(self, curve: Curve) -> dict[str, Any]:
        """Return what :func:`learning_curve` does, but for the time."""
        right, chosen = curve.chosen()
        asked, lr, tried = self.asked, self.asked.lr, self.tried
        momentum, strength = asked.momentum, asked.augment_strength
        return {
            "learner": said(self.learner),
            "initialisation": None if self.initial is None else self.initial.sentence(self.data.description),
            "parameters": curve.ensemble.parameter_count,
            "updates": self.counts,
            "accuracy": summary(right, curve.sizes[1]),
            "split": self.split,
            "split_sizes": {name: len(getattr(self.data, name)) for name in reversed(SPLITS)},
            "class_names": list(self.data.description.class_names),
            "class_sizes": curve.sizes[1].tolist(),
            "measure": asked.measure,
            "seeds": self.seeds,
            "batch_size": asked.batch_size,
            "optimizer": asked.optimizer,
            "momentum": momentum if isinstance(momentum, int | float) else list(momentum),
            "weight_decay": asked.weight_decay,
            "schedule": asked.schedule,
            "augment": asked.augment,
            "augment_mode": asked.augment_mode,
            "augment_strength": dict(strength) if isinstance(strength, Mapping) and strength else None,
            "cutmix": asked.cutmix,
            "labels": asked.labels,
            "normalisation": self.normalisation,
            "precision": asked.precision,
            "compiled": self.compile and curve.ensemble.compiles,
            "generated": asked.generated,
            "epoch": {"images": self.epoch.images, "updates": self.epoch.updates},
            "epochs": asked.epochs,
            "lr_asked": lr if lr is None or isinstance(lr, str | float | int) else list(lr),
            "lr": [tried[place].name for place in chosen],
            "learned_rate": learned_rate(self.teacher) if any(one.name == LEARNED for one in tried) else None,
            "selection": {"select": asked.select, **curve.selection()} if len(tried) > 1 else None,
            "learner_updates": self.total,
            "learners_trained": len(self.seeds) * len(tried),
            "images_seen": [self.lessons.images_seen[count] for count in self.counts],
        }


def _silent(done: int, total: int) -> None:
    """Say nothing of the updates done."""


def updates_to(result: Mapping[str, Any], accuracy: float) -> int | None:
    """Return the first measured number of updates whose mean accuracy reaches a target, None when none does.

    Args:
        result: What :func:`learning_curve` returned.
        accuracy: Target as a fraction in [0, 1].

    Raises:
        UserError: The target is not a fraction.
    """
    if not 0.0 <= accuracy <= 1.0:
        raise UserError(f"the accuracy to reach is {accuracy}; give a fraction between 0 and 1, such as 0.9")
    for count, mean in zip(result["updates"], result["accuracy"]["mean"], strict=True):
        if mean >= accuracy:
            return int(count)
    return None


def cross_architecture(
    teacher: Teacher, data: RealData, *, learners: Sequence[Spec] | None = None, **options: Any
) -> dict[str, dict[str, Any]]:
    """Return a learning curve for each of several kinds of learner, by name.

    Args:
        teacher: What teaches.
        data: The real data that judges.
        learners: Specs; by default the data set's default learner, an MLP and LeNet.
        **options: Options of :func:`learning_curve`.

    Returns:
        Results by ``Class(option=value, ...)``, in the given order.

    Raises:
        UserError: See :func:`learning_curve`.
    """
    home = "gendistill.nets.learners"
    standard: list[Spec] = [default_learner(data.description), f"{home}.MLP", f"{home}.LeNet"]
    chosen = standard if learners is None else learners
    return {learner_name(spec): learning_curve(teacher, data, learner=spec, **options) for spec in chosen}


def learner_name(spec: Spec) -> str:
    """Return a learner's spec as ``Class(option=value, ...)``."""
    plain = said(spec)
    if (of_timm := timm_name(plain["class_path"], plain.get("init_args"))) is not None:
        return of_timm
    options = ", ".join(f"{name}={value}" for name, value in (plain.get("init_args") or {}).items())
    return str(plain["class_path"]).rpartition(".")[2] + (f"({options})" if options else "")


def _judge(teacher: Teacher, data: RealData, learner: Any) -> tuple[Spec, Initial | None]:
    """Return the learner's spec and, where the teacher was made for this learner's first weights, what they are."""
    initial = Initial.of(teacher)
    if learner is None:
        return (default_learner(data.description), None) if initial is None else (initial.learner, initial)
    return learner, None if initial is None else initial.for_learner(learner)


def _counts(updates: Sequence[int], *, needed: bool) -> list[int]:
    if not updates and not needed:
        return []
    if not updates or not all(map(_whole, updates)) or min(updates) < 0:
        raise UserError(f"updates is {list(updates)}; give one or more whole numbers, each at least 0")
    return sorted({int(count) for count in updates})


def _whole(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)


def _device(name: torch.device | str) -> torch.device:
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise UserError(f"device is '{name}'; choose cpu, cuda or a numbered GPU such as cuda:0") from error


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    listed = seed_list(seeds)
    if not listed or not all(map(_whole, listed)) or len(set(listed)) != len(listed):
        raise UserError(f"seeds is {seeds}; give a number of at least 1, or a list of different seeds")
    return listed


def _among(option: str, given: str, allowed: Sequence[str] | Mapping[str, Any]) -> None:
    if given not in allowed:
        raise UserError(f"{option} is '{given}'; {did_you_mean(given, allowed)}choose among: {', '.join(allowed)}")


def _split(data: RealData, name: str) -> Split:
    _among("split", name, SPLITS)
    split: Split = getattr(data, name)
    if not len(split):
        raise UserError(
            f"'{data.description.name}' has no {name} images; choose another split, or a single learning rate if the "
            "validation split is what is missing"
        )
    return split
