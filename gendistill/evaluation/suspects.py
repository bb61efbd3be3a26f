"""The usual suspects: in what a published set is read or judged otherwise than its authors did.

Each is one change of one thing, with the words for what would follow if it moved the number. They are values; who tries
them is :mod:`gendistill.evaluation.verify`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment

from gendistill.data.augment import DSA
from gendistill.data.description import Description, Normalisation
from gendistill.data.real import RealData
from gendistill.data.sources import SOURCES
from gendistill.data.whitening import EPSILON
from gendistill.evaluation.classifier import trained_classifier
from gendistill.evaluation.protocols import NOT_MIRRORED, SUMMARIES, convnet, expand, strategy
from gendistill.evaluation.rates import OF_REAL_IMAGES
from gendistill.evaluation.reading import Reading
from gendistill.evaluation.settings import LEARNED
from gendistill.nets.learners import default_learner
from gendistill.teacher import public_formats
from gendistill.teacher.base import Teacher
from gendistill.teacher.stored import StoredImages

LABELS = ("logits", "probabilities", "multi-hot", "targets")
VALUES = {
    "pixels": "pixels in [0, 1]",
    "normalised": "normalised by that code's mean and deviation",
    "bytes": "bytes in 0..255",
    "whitened": "ZCA-whitened with epsilon {epsilon:g}",
}
EPSILONS = (EPSILON, 1e-2, 1e-3, 1e-5)
"""Epsilons of a whitening; the first is MTT's."""
ELSEWHERE = {
    "0.5 and 0.5": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "ImageNet's numbers": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""Normalisations that stand in code whatever its data set."""
CLEARER = 0.2
"""Share of the images by which another order of the classes must fit better to be suspected."""
CONVNET = "gendistill.nets.learners.ConvNet"


@dataclass(frozen=True)
class Suspect:
    """One change.

    Attributes:
        kind: What sort of thing it changes: ``labels``, ``values``, ``images``, ``classes``, ``set``, ``rate``,
            ``augmentation``, ``learner``, ``batch`` or ``protocol``.
        words: What is done: "labels read as logits".
        conclusion: What follows if it moves the number: "the file's labels are logits".
        reading: Attributes of :class:`gendistill.evaluation.reading.Reading` that change.
        learning: Options of :func:`gendistill.evaluation.learning.learning_curve` that change.
    """

    kind: str
    words: str
    conclusion: str
    reading: Mapping[str, Any] = field(default_factory=dict)
    learning: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """A result as it is read and judged before anything is suspected.

    Attributes:
        teacher: The result.
        data: The real data.
        reading: How it was read.
        public: Whether public code saved it, so that it may be read otherwise.
        learning: All options that it is judged by, those of the protocol included.
        given: The options among them that were asked for beside the protocol.
        protocol: Name of the protocol, None for none.
        sets: How many sets the file holds.
    """

    teacher: Teacher
    data: RealData
    reading: Reading
    public: bool
    learning: Mapping[str, Any]
    given: Mapping[str, Any]
    protocol: str | None
    sets: int = 1

    @property
    def description(self) -> Description:
        """The real data's."""
        return self.data.description

    @property
    def pictures(self) -> StoredImages | None:
        """The teacher, if it is distilled pictures that public code saved."""
        whole = self.public and isinstance(self.teacher, StoredImages) and self.description.kind == "pictures"
        return self.teacher if whole and isinstance(self.teacher, StoredImages) else None


def quick_suspects(case: Case) -> Iterator[Suspect]:
    """Yield what most often is the reason: labels, values, classes, the set, the learned rate, augmentation.

    Args:
        case: What to suspect. Whether the classes stand in another order is asked of a classifier of the real images,
            which is trained once.
    """
    teacher = case.teacher
    if case.public and getattr(teacher, "labels_are_soft", False):
        for form in LABELS:
            yield Suspect("labels", f"labels read as {form}", f"the file's labels are {form}", {"labels": form})
    if teacher.labels_are_soft and case.learning.get("labels") != "hard":
        hard = {"labels": "hard"}
        yield Suspect("labels", "the likeliest class in place of soft labels", "the claim is of hard labels", {}, hard)
    if case.pictures is not None:
        for values, sort in VALUES.items():
            reading, words = {"values": values, "normalisation": None}, sort.format(epsilon=case.reading.epsilon)
            yield Suspect("values", f"images read as {words}", f"the file's images are {words}", reading)
        source = case.teacher.metadata.get("source")
        if case.pictures.decode is None and isinstance(source, dict) and source.get("format") == "idc":
            words = "each image taken for a sheet of 2 x 2"
            yield Suspect("values", words, "the file's images are sheets of several (multi-formation)", {"factor": 2})
        order = class_order(case.pictures, case.data)
        if order is not None:
            words = "classes in the order that a classifier of the real images sees"
            yield Suspect("classes", words, "the file's classes stand in another order", {"classes": order})
        yield from _sets(case)
    yield from _rates(case)
    yield from _augmentations(case)


def more_suspects(case: Case) -> Iterator[Suspect]:
    """Yield the rest: other normalisations and whitenings, images turned, learners, batches and whole protocols.

    Args:
        case: What to suspect.
    """
    if case.pictures is not None:
        yield from _normalisations(case)
        yield from _alterations(case)
    if case.teacher.description.normalisation.whitening is not None:
        unwhitened = {"normalisation": "data"}
        words = "learners see the images unwhitened"
        yield Suspect("values", words, "the claim is of images that are not whitened", {}, unwhitened)
    if case.learning.get("lr") != "grid":
        words = "the best rate of a grid, which the validation split chooses"
        yield Suspect("rate", words, "the claim is of another learning rate", {}, {"lr": "grid"})
    yield from _learners(case)
    size = 64 if case.learning.get("batch_size") != 64 else 256
    yield Suspect("batch", f"batches of {size}", f"the claim is of batches of {size}", {}, {"batch_size": size})
    yield from _protocols(case)


def class_order(teacher: StoredImages, data: RealData) -> tuple[int, ...] | None:
    """Return the class that each of a file's classes is, where the images show clearly that it is another.

    Images are given to a classifier of the real images. Its classes are assigned to the file's, one to one, so that
    most images fit (Kuhn 1955); None where that is not clearly better than the order as it is.

    Args:
        teacher: Distilled pictures.
        data: The real data.
    """
    classifier = trained_classifier(data)
    images, _ = teacher.everything()
    own = teacher.description.normalisation
    device = data.train.images.device
    with torch.no_grad():
        parts = [classifier.features(part.to(device), own) for part in images.split(classifier.batch_size)]
        seen = torch.cat([classifier.forward_head(part).argmax(1) for part in parts]).cpu()
    classes = data.description.num_classes
    table = torch.bincount(teacher.decoded_classes.cpu() * classes + seen, minlength=classes**2).view(classes, classes)
    _, assigned = linear_sum_assignment(table.numpy(), maximize=True)
    gained = int(table[torch.arange(classes), torch.from_numpy(assigned)].sum() - table.diagonal().sum())
    return tuple(int(one) for one in assigned) if gained > CLEARER * len(images) else None


def _sets(case: Case) -> Iterator[Suspect]:
    """Yield the last set of a file that holds several, and the first."""
    for place, word in ((case.sets - 1, "last"), (0, "first")):
        if case.sets > 1 and place != case.reading.experiment:
            words = f"the {word} of the file's {case.sets} sets"
            yield Suspect("set", words, f"the claim is of {words}", {"experiment": place})


def _rates(case: Case) -> Iterator[Suspect]:
    learned, given = case.teacher.learning_rates, case.learning.get("lr")
    if learned is None:
        return
    rate, which = float(learned[-1]), "learned rate" if len(learned) == 1 else "last learned rate"
    if given != LEARNED:
        words = f"trained at its {which} ({rate:.3g})"
        yield Suspect("rate", words, "the claim is of the learned rate", {}, {"lr": LEARNED})
    if given != OF_REAL_IMAGES:
        words = f"trained at {OF_REAL_IMAGES:g} in place of its learned rate"
        conclusion = f"the claim is of a rate of {OF_REAL_IMAGES:g}"
        yield Suspect("rate", words, conclusion, {}, {"lr": OF_REAL_IMAGES})
    if given != "teacher":
        words = f"its learned rate{'' if len(learned) == 1 else 's'} taken by plain SGD"
        yield Suspect("rate", words, "the claim is of the training that it was made for", {}, {"lr": "teacher"})


def _augmentations(case: Case) -> Iterator[Suspect]:
    if case.description.kind != "pictures":
        return
    given = case.learning.get("augment")
    if given not in (None, "", "none"):
        yield Suspect("augmentation", "no augmentation", "the claim is without augmentation", {}, {"augment": None})
    if case.learning.get("cutmix"):
        yield Suspect("augmentation", "no CutMix", "the claim is without CutMix", {}, {"cutmix": 0.0})
    dsa = strategy(DSA, case.description)
    if given != dsa:
        changed = {"augment": dsa, "augment_mode": "single", "augment_strength": None, "cutmix": 0.0}
        yield Suspect("augmentation", "DSA's augmentation", "the claim is with DSA's augmentation", {}, changed)


def _normalisations(case: Case) -> Iterator[Suspect]:
    """Yield other whitenings, what other codes normalise this data set by, and what stands in code everywhere."""
    channels, name = case.description.image_shape[0], case.description.name
    for epsilon in EPSILONS:
        words = f"images read as ZCA-whitened with epsilon {epsilon:g}"
        reading = {"values": "whitened", "epsilon": epsilon, "normalisation": None}
        yield Suspect("values", words, f"the file's images are whitened with epsilon {epsilon:g}", reading)
    known: dict[str, Normalisation | None] = {
        f"{form}'s numbers": public_formats.normalisation(form, name) for form in public_formats.PUBLIC
    }
    known["the numbers measured here"] = case.description.normalisation.plain()
    known["CIFAR-10's numbers"] = SOURCES["cifar10"].normalisation if channels == 3 else None
    for title, (mean, std) in ELSEWHERE.items():
        known[title] = Normalisation(mean[:channels], std[:channels])
    for title, normalisation in known.items():
        if normalisation is not None and len(normalisation.mean) == channels:
            words = f"images read as normalised by {title}"
            yield Suspect(
                "values", words, f"the file's images are normalised by {title}", {"normalisation": normalisation}
            )


def _alterations(case: Case) -> Iterator[Suspect]:
    channels, height, width = case.description.image_shape
    if channels == 3:
        words = "the channels of the images reversed"
        yield Suspect("images", words, "the file's channels are blue, green, red", {"altered": "channels reversed"})
    if height == width:
        words = "height and width of the images exchanged"
        yield Suspect("images", words, "the file's images are transposed", {"altered": "transposed"})
    yield Suspect("images", "the images negated", "the file's images are negatives", {"altered": "negative"})


def _learners(case: Case) -> Iterator[Suspect]:
    """Yield ConvNets of another normalisation, width or depth than the one that judges."""
    spec = case.learning.get("learner") or default_learner(case.description)
    if not isinstance(spec, Mapping) or spec.get("class_path") != CONVNET:
        papers = {"learner": convnet(case.description)}
        yield Suspect("learner", "the papers' ConvNet", "the claim is of the papers' ConvNet", {}, papers)
        return
    chosen: dict[str, Any] = {"width": 128, "depth": 3, "normalisation": "instance"} | dict(spec.get("init_args") or {})
    changes: list[tuple[str, Any]] = [
        ("normalisation", word) for word in ("batch", "instance", "none") if word != chosen["normalisation"]
    ]
    changes += [("depth", chosen["depth"] + more) for more in (1, -1) if chosen["depth"] + more > 0]
    changes += [("width", size) for size in (2 * chosen["width"], chosen["width"] // 2) if size]
    for option, value in changes:
        words = f"a ConvNet of {option} {value}" if option != "normalisation" else f"a ConvNet with {value} norm"
        if words.endswith("none norm"):
            words = "a ConvNet without normalisation"
        other = {"class_path": CONVNET, "init_args": dict(spec.get("init_args") or {}) | {option: value}}
        yield Suspect("learner", words, f"the claim is of {words}", {}, {"learner": other})


def _protocols(case: Case) -> Iterator[Suspect]:
    """Yield the other protocols of condensed sets, each as a whole but for what was asked for beside it."""
    for name in SUMMARIES:
        if not name.startswith("condensation") or name == case.protocol:
            continue
        options = expand({"protocol": name} | dict(case.given), case.description)
        if options.get("lr") == LEARNED and case.teacher.learning_rates is None:
            continue
        if case.description.kind != "pictures" and options.get("augment") is not None:
            continue
        yield Suspect("protocol", f"judged by {name}", f"the claim is by {name}", {}, options)
    if case.description.name not in NOT_MIRRORED and "flip" in str(case.learning.get("augment") or ""):
        without = "_".join(name for name in str(case.learning["augment"]).split("_") if name != "flip")
        yield Suspect("augmentation", "no flips", "the claim is without flips", {}, {"augment": without or None})


def apply(reading: Reading, suspect: Suspect) -> Reading:
    """Return a reading with a suspect's change."""
    return replace(reading, **suspect.reading)
