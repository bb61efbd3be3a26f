"""Training experts on real data, several side by side, one file for each that is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from gendistill.counter import Counter
from gendistill.data.real import RealData
from gendistill.errors import PlaceError, UserError
from gendistill.evaluation.ensemble import Ensemble, Separate
from gendistill.evaluation.lessons import Lessons
from gendistill.evaluation.protocols import named_strategy
from gendistill.evaluation.rates import Candidate
from gendistill.evaluation.stacked import Stacked
from gendistill.evaluation.workers import Workers
from gendistill.experts.files import expert_path, read_header, write_expert
from gendistill.experts.recipe import Recipe
from gendistill.experts.snapshots import Snapshots
from gendistill.files import place_sentence, remove_leftovers
from gendistill.finite import is_finite
from gendistill.notes import note
from gendistill.seeds import derive_seed, initialisation
from gendistill.teacher.subset import RealSubset

try:
    import fcntl
except ImportError:  # not a POSIX system: two runs may then train the same experts, to the same files
    fcntl = None  # type: ignore[assignment]

DIFFERENT = {
    "train": "other training images: those of this data set changed since, or it is another one",
    "description": "data with other classes, another shape or another normalisation",
}
"""What is said of an expert by the part of its identity that differs, where the values would say nothing."""
AUGMENTER = "augmenter"
"""Where an expert's state holds that of its augmenting generator."""
ON_GPU = 10
"""Experts side by side on a GPU where nothing is said; on the CPU as many as cores."""


def missing_experts(folder: Path, known: Mapping[str, Any], numbers: Sequence[int], epochs: int) -> list[int]:
    """Return the experts that are not there, or were not trained for long enough.

    Args:
        folder: Where experts are.
        known: What they must be; see :func:`gendistill.experts.recipe.identity`.
        numbers: Which ones.
        epochs: Snapshots needed, besides the first weights.

    Raises:
        UserError: A file is damaged, or is of other experts.
    """
    missing = []
    for number in numbers:
        path = expert_path(folder, number)
        if not path.exists():
            missing.append(number)
            continue
        header = read_header(path)
        found = header["identity"]
        # The images first: a measured normalisation changes with them.
        for part in dict.fromkeys(("train", *known)):
            if found.get(part) != known[part]:
                wanted = DIFFERENT.get(part, f"another {part}: {found.get(part)}, wanted {known[part]}")
                raise UserError(f"'{path}' is an expert of {wanted}; choose another folder for experts")
        if len(header["checksums"]) <= epochs:
            missing.append(number)
    return missing


def train_experts(
    data: RealData,
    folder: Path,
    known: Mapping[str, Any],
    numbers: Sequence[int],
    epochs: int,
    *,
    recipe: Recipe,
    at_once: int | None = None,
    progress: bool = False,
) -> None:
    """Train those of the experts that are not there yet, and write each one's file.

    An expert depends on its identity and its number alone. Each snapshot is written as it is made, so that a call that
    was interrupted goes on from the last one, to the bit. Several programs may call this at the same time with one
    folder: one trains, the others wait.

    Args:
        data: The real data, on the device to train on.
        folder: Where files go.
        known: Their identity.
        numbers: Which experts.
        epochs: Snapshots of each besides the first weights: no further than they will be used.
        recipe: How to train.
        at_once: Experts side by side; None: as many as cores, on a GPU :data:`ON_GPU`.
        progress: Say on stderr how far they are.

    Raises:
        UserError: See :func:`missing_experts`.
        StorageError: A file cannot be written.
    """
    device = data.train.labels.device
    cores = torch.get_num_threads() if device.type == "cpu" else 1
    size = at_once or (cores if device.type == "cpu" else ON_GPU)
    with _alone(folder, numbers):
        missing = missing_experts(folder, known, numbers, epochs)
        for number in set(numbers) - set(missing):  # killed when its file was there and its parts were still to go
            Snapshots(folder, number, known).remove()
        groups = _groups({number: Snapshots(folder, number, known).last() for number in missing}, epochs, size)
        every = recipe.updates_per_epoch(len(data.train))
        total = every * sum(epochs - (last or 0) for last, _ in groups)
        counter, done = Counter("experts", "updates"), 0

        def tell(updates: int) -> None:
            nonlocal done
            done += updates
            if progress:
                counter(done, total)

        for last, group in groups:
            _train_group(data, folder, known, group, last, epochs, recipe, min(cores, len(group)), tell)


def _groups(found: Mapping[int, int | None], epochs: int, size: int) -> list[tuple[int | None, list[int]]]:
    """Return experts to be trained side by side, with the snapshot that all of them go on from; None: they start."""
    usable = {number: None if last is None or last > epochs else last for number, last in found.items()}
    groups = []
    for last in sorted(set(usable.values()), key=lambda last: -1 if last is None else last, reverse=True):
        alike = [number for number in usable if usable[number] == last]
        groups += [(last, alike[first : first + size]) for first in range(0, len(alike), size)]
    return groups


def _train_group(
    data: RealData,
    folder: Path,
    known: Mapping[str, Any],
    group: Sequence[int],
    last: int | None,
    epochs: int,
    recipe: Recipe,
    threads: int,
    tell: Callable[[int], object],
) -> None:
    description, device = data.description, data.train.labels.device
    every = recipe.updates_per_epoch(len(data.train))
    total = every * epochs
    # Far from 0, 1, ...: evaluation starts its learners from other weights.
    seeds = [derive_seed(recipe.seed, f"experts/{number}") >> 8 for number in group]
    way = Candidate(recipe.lr, (recipe.lr,) * total, (recipe.momentum,) * total, recipe.weight_decay)
    lessons = Lessons(
        RealSubset.all(data.train, description),
        description,
        seeds,
        total,
        min(recipe.batch_size, len(data.train)),
        augment=named_strategy(recipe.augment, description),
        augment_mode=recipe.augment_mode,
    )
    strategy: type[Ensemble] = Separate if device.type == "cpu" else Stacked
    kept = [Snapshots(folder, number, known) for number in group]
    with Workers(threads) as workers:
        ensemble = strategy(
            known["learner"], description, seeds, [way], optimizer="sgd", device=device, workers=workers
        )

        def keep(at: int) -> None:
            for place, number in enumerate(group):
                row = ensemble.parameters[place]
                if not is_finite(row):
                    kept[place].remove()
                    raise UserError(
                        f"expert {number} diverged at a learning rate of {recipe.lr}; give experts a lower lr"
                    )
                state = ensemble.state(place) | {AUGMENTER: lessons.augmenters[place].get_state()}
                kept[place].add(at, ensemble.views(row), state)

        if last is None:
            for one in kept:
                one.remove()
            keep(0)
        else:
            states = [one.state() for one in kept]
            for place, (one, state) in enumerate(zip(kept, states, strict=True)):
                try:
                    ensemble.go_on(place, one.parameters(last), state)
                except (KeyError, RuntimeError) as error:
                    raise UserError(
                        f"'{one.place}' has other parameters than the learner has now; delete it to have the expert "
                        "trained anew"
                    ) from error
            lessons.skip(last * every, [state[AUGMENTER] for state in states])
        done = (last or 0) * every
        for epoch in range(last or 0, epochs):
            # Seeded anew after every snapshot, from which an interrupted training goes on.
            with initialisation(seeds[0], f"experts/dropout/{epoch}"):
                for chunk in workers.ahead(lessons.chunks([done + every])):
                    ensemble.train(chunk, done)
                    done += len(chunk[0])
                    tell(len(chunk[0]))
            keep(epoch + 1)
        accuracies: list[float | None] = [None] * len(group)
        if len(data.validation):
            accuracies = ensemble.accuracy(range(len(group)), data.validation).tolist()
        for place, number in enumerate(group):
            trajectory = kept[place].trajectory(list(ensemble.shapes), epochs + 1)
            write_expert(expert_path(folder, number), trajectory, known, number, accuracies[place])
            kept[place].remove()


@contextmanager
def _alone(folder: Path, numbers: Sequence[int]) -> Iterator[None]:
    """Wait until no other program trains these experts in this folder, and keep others waiting."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / f".lock-{numbers[0] if numbers else 0}", "ab")  # noqa: SIM115
    except OSError as error:
        raise PlaceError(place_sentence(folder, error)) from error
    with lock:
        # A file system without locks: programs may train the same experts, to the same files.
        with suppress(OSError):
            if fcntl is not None:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    note(f"another process trains experts in '{folder}'; waiting for it to end")
                    fcntl.flock(lock, fcntl.LOCK_EX)
        remove_leftovers(folder)
        yield
