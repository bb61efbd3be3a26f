"""Parts of a long evaluation that are finished, and learners in training: an interrupted evaluation goes on from them.

A part is named by all that it depends on: the teacher, the real data, every option and the versions of the software. So
a part that is found is the part that is wanted, to the bit, and one of anything else is not found.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gendistill import __version__
from gendistill.data.fingerprint import fingerprint, in_words, tensors_fingerprint, text_fingerprint
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.cache import is_kept, read_tensors, write_tensors
from gendistill.evaluation.curve import Curve
from gendistill.evaluation.lessons import Lessons
from gendistill.files import atomic_write, remove_leftovers
from gendistill.json_file import Each, Is, Keys, list_of, mapping, parse_json, read_kept, sealed, size, text, whole
from gendistill.notes import note
from gendistill.plain import plain
from gendistill.teacher.base import Teacher

EVERY = 10.0
"""Seconds of training between two looks of the disk at least."""
STOPS = 40
"""Places of a training at which its learners may be kept, beside those where they are measured."""
KEY = "gendistill_learners"
ANEW = "it is made anew"
PART = Keys(required={"what": Is(mapping, "what it depends on"), "result": Is(mapping, "a result")})
NOTED = Keys(
    required={
        "what": Is(text, "text"),
        "done": Is(whole, "a number of updates"),
        "seconds": Is(size, "a number of seconds"),
        "reported": Each(Is(list_of(whole), "a list of candidates")),
    }
)
DAMAGED = (LookupError, ValueError, TypeError, RuntimeError)
"""What tensors may raise that are not those of these learners."""

_folder: ContextVar[Path | None] = ContextVar("folder of parts", default=None)


@contextmanager
def kept_in(folder: Path | None) -> Iterator[None]:
    """Keep parts in a folder while inside, and take those that are there; None keeps nothing."""
    before = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(before)


def kept_where() -> Path | None:
    """Return the folder of :func:`kept_in`; None: nothing is kept."""
    return _folder.get()


def once(kind: str, what: Callable[[], Mapping[str, Any]], make: Callable[[Place | None], dict[str, Any]]) -> Any:
    """Return a result that is kept, or make and keep it; where nothing is kept, make it.

    Args:
        kind: What the file is called.
        what: Returns all that the result depends on, in plain values.
        make: Makes it from plain values; given where a training may keep its learners.
    """
    folder = _folder.get()
    if folder is None:
        return make(None)
    known = {"gendistill": __version__, "torch": str(torch.__version__), **plain(what())}
    path = folder / f"{kind}-{text_fingerprint(json.dumps(known, sort_keys=True))}.json"
    remove_leftovers(folder)
    found = read_kept(path, PART, ANEW)
    if found is not None and found["what"] == known:
        return found["result"]
    learners = path.with_suffix(".learners.safetensors")
    result = plain(make(Place(learners, known)), strict=True)
    written = json.dumps(sealed({"what": known, "result": result}), allow_nan=False, ensure_ascii=False)
    atomic_write(path, lambda file: file.write(written.encode()))
    learners.unlink(missing_ok=True)
    return result


def of(teacher: Teacher, data: RealData) -> dict[str, Any]:
    """Return what a teacher and the real data are, in a few digits."""
    description = teacher.description
    tensors, header = teacher.tensors(), teacher.header()
    if teacher.labeller is not None:
        tensors, header = (
            tensors | teacher.labeller.tensors(),
            header | {"labeller": teacher.labeller.header(description)},
        )
    shown = [description.name, description.class_names, description.image_shape, in_words(description.normalisation)]
    noted = plain({"header": header, "metadata": teacher.metadata, "description": shown})
    made = {"kind": teacher.kind, "tensors": tensors_fingerprint(tensors), "device": teacher.device.type}
    return {"teacher": made | {"noted": text_fingerprint(json.dumps(noted, sort_keys=True))}, "data": fingerprint(data)}


class Place:
    """The file of learners in training.

    Args:
        path: The file.
        known: What they depend on.
    """

    def __init__(self, path: Path, known: Mapping[str, Any]) -> None:
        self.path, self.known = path, text_fingerprint(json.dumps(known, sort_keys=True))
        self._started = self._last = time.monotonic()
        self.seconds = 0.0
        """What earlier parts of the training took."""

    def stops(self, counts: Sequence[int]) -> list[int]:
        """Return numbers of updates at which :meth:`keep` is to be called, those of ``counts`` among them."""
        total = counts[-1]
        return sorted({*counts, *(total * stop // STOPS for stop in range(1, STOPS))} - {0})

    def keep(self, done: int, curve: Curve, lessons: Lessons) -> None:
        """Write all that the rest of a training depends on, unless that was done a moment ago."""
        if time.monotonic() - self._last < EVERY:
            return
        ensemble = curve.ensemble
        tensors = {f"augmenter.{place}": one.get_state() for place, one in enumerate(lessons.augmenters)}
        for member, row in enumerate(ensemble.parameters):
            tensors |= {f"{member}.parameter.{name}": value for name, value in ensemble.views(row).items()}
            tensors |= {f"{member}.state.{name}": value for name, value in ensemble.state(member).items()}
        for point, measured in enumerate(curve.reported):
            tensors |= {f"reported.{point}.{candidate}": value for candidate, value in measured.items()}
        noted = {
            "what": self.known,
            "done": done,
            "seconds": self.seconds + time.monotonic() - self._started,
            "validation": curve.validation,
            "best": curve.best,
            "reported": [list(measured) for measured in curve.reported],
        }
        # Views share their storage, which safetensors takes for a mistake.
        write_tensors(self.path, {name: value.clone() for name, value in tensors.items()}, {KEY: json.dumps(noted)})
        self._last = time.monotonic()

    def go_on(self, curve: Curve, lessons: Lessons) -> int:
        """Put back what was kept, and return the updates done; 0 where nothing was, or it is damaged."""
        if not is_kept(self.path):
            return 0
        try:
            tensors, metadata = read_tensors(self.path, finite=False)
            noted = parse_json(metadata.get(KEY, ""), f"what '{self.path}' says", NOTED)
            if noted["what"] != self.known:
                return 0
            reported = [
                {candidate: tensors[f"reported.{point}.{candidate}"] for candidate in candidates}
                for point, candidates in enumerate(noted["reported"])
            ]
            members = [
                [_below(tensors, f"{member}.{part}.") for part in ("parameter", "state")]
                for member in range(len(curve.ensemble.parameters))
            ]
            augmenters = [tensors[f"augmenter.{place}"] for place in range(len(lessons.augmenters))]
            done = int(noted["done"])
            for member, (parameters, state) in enumerate(members):
                curve.ensemble.go_on(member, parameters, state)
        except (UserError, *DAMAGED) as error:
            note(f"{str(error).partition(';')[0] or repr(error)}; these learners are trained anew")
            return 0
        self.seconds = float(noted["seconds"])
        curve.validation, curve.best, curve.reported = noted["validation"], noted["best"], reported
        lessons.skip(done, augmenters)
        return done


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
