"""How well distilled images adapt networks that were trained on another data set (Wang et al. 2018, section 4.3)."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gendistill.data.real import RealData
from gendistill.errors import UserError, did_you_mean
from gendistill.evaluation.ensemble import Ensemble
from gendistill.evaluation.learning import SPLITS
from gendistill.evaluation.poisoning import taught
from gendistill.evaluation.pretraining import Pretraining, load_source, named_source
from gendistill.evaluation.private_teachers import require_test
from gendistill.evaluation.rates import Rate
from gendistill.seeds import stream
from gendistill.teacher import RealSubset, StoredImages
from gendistill.teacher.base import Teacher
from gendistill.untrusted import said

RATES = (0.001, 0.003, 0.01, 0.03, 0.1)
"""Rates tried for real images. Trained networks take smaller ones than fresh networks do."""
ROWS = ("before", "distilled", "random real")


def adaptation_report(
    teacher: Teacher,
    data: RealData,
    *,
    source: Mapping[str, Any] | None = None,
    source_root: str | None = None,
    networks: int = 10,
    split: str = "test",
    rates: Sequence[Rate] = RATES,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Measure networks trained on the source: as they are, after the distilled images, after random real images.

    The networks are held out: distillation met others, trained in the same way from other seeds. A teacher that was
    made for one known network is measured with that network. Random real images are shown like the distilled ones: as
    many of every class, in batches of the same size, for as many steps of plain gradient descent; the best rate is
    chosen on the validation split for all networks together.

    Args:
        teacher: What a run with ``source`` made.
        data: The data set that networks are adapted to.
        source: The data set that networks are trained on, with arguments of :func:`gendistill.data.load`. None: the
            one that the teacher names, if it is a public one whose files are there.
        source_root: Where the source's files are; None: the default place.
        networks: How many are held out; of a teacher for one known network this is ignored.
        split: Where accuracy is measured: ``test``, ``validation`` or ``train``.
        rates: Rates that are tried for the real images.
        seed: Draws these images.
        progress: Called with the updates on the source that each network has made, and their number.

    Returns:
        Plain values: ``source``, ``target``, ``known``, ``learner``, ``split``, ``updates``, ``images``, ``networks``
        (their seeds), ``lr`` (the real images' best) and, by name of :data:`ROWS`, under ``accuracy``: ``mean``, sample
        ``std`` (None for one network) and ``runs``, as fractions.

    Raises:
        UserError: The teacher was not made for networks of another data set, or an option is out of range.
    """
    plan = Pretraining.of(teacher)
    if plan is None or not isinstance(teacher, StoredImages) or teacher.learning_rates is None:
        raise UserError(
            "the teacher was not made to adapt networks of another data set; make one with trainer.source, as "
            "configs/dd/adapt-usps-mnist.yaml does"
        )
    if split not in SPLITS:
        raise UserError(f"split is '{split}'; {did_you_mean(split, SPLITS)}choose among: {', '.join(SPLITS)}")
    require_test(teacher, split)
    if networks < 1:
        raise UserError(f"networks is {networks}; give a whole number from 1")
    device = data.train.labels.device
    seeds = [plan.first_seed] if plan.known else list(range(networks))
    given = named_source(plan, source_root) if source is None else source
    trained_on = load_source(given, data.description, device, source_root)
    pool = plan.trained(trained_on, seeds, progress)
    updates = len(teacher.learning_rates)

    def measure(ensemble: Ensemble, members: Sequence[int]) -> Tensor:
        return ensemble.accuracy(members, getattr(data, split))

    victims: dict[str, Any] = {"learner": plan.learner, "seeds": seeds, "victim": "trained", "networks": pool}
    distilled = taught(teacher, data, measure, updates=(0, updates), **victims)
    real = taught(
        _as_shown(teacher, data, seed), data, measure, updates=(updates,), lr=list(rates), momentum=0.0, **victims
    )
    measured = zip(ROWS, [*distilled.measured, *real.measured], strict=True)
    return {
        "source": trained_on.description.name,
        "target": data.description.name,
        "known": plan.known,
        "learner": said(plan.learner),
        "split": split,
        "updates": updates,
        "images": teacher.images_stored,
        "networks": seeds,
        "lr": real.facts["lr"],
        "accuracy": {name: _summary(row.tolist()) for name, row in measured},
    }


def _as_shown(teacher: StoredImages, data: RealData, seed: int) -> RealSubset:
    """Return random real images, as many and in batches as the teacher shows its own.

    Of a class with fewer images all are shown, and more of the others.
    """
    classes = data.description.num_classes
    count = max(1, teacher.decoded_images // classes) * classes
    drawn = RealSubset.random(
        data.train,
        data.description,
        generator=stream(seed, "adaptation/real", data.train.labels.device),
        count=min(count, len(data.train)),
    )
    # Ordered by class as drawn; every batch is to have the classes in turn, as distilled ones do.
    starts = torch.bincount(drawn.labels, minlength=classes).cumsum(0).roll(1)
    starts[0] = 0
    turn = torch.arange(len(drawn.labels), device=drawn.labels.device) - starts[drawn.labels]
    order = (turn * classes + drawn.labels).argsort()
    return RealSubset(
        drawn.images[order], drawn.labels[order], data.description, order="fixed", batch_size=teacher.batch_size
    )


def _summary(runs: list[float]) -> dict[str, Any]:
    return {"mean": statistics.fmean(runs), "std": statistics.stdev(runs) if len(runs) > 1 else None, "runs": runs}
