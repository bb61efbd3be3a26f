"""How learners are trained and measured: a :class:`Protocol`, of which those of the literature are instances by name.

What the papers leave open, and what was chosen, is on the page docs/evaluation-learning.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from gendistill.data.augment import DSA
from gendistill.data.description import Description
from gendistill.errors import UserError, did_you_mean
from gendistill.evaluation.epochs import FRESH, TRAIN, Generated
from gendistill.evaluation.rates import Momentum, Rate
from gendistill.evaluation.settings import LEARNED
from gendistill.evaluation.update_loss import Precision
from gendistill.nets.learners import default_learner
from gendistill.untrusted import Spec

NOT_MIRRORED = ("digits", "mnist", "usps", "svhn", "stacked-digits", "stacked-mnist")
"""Data sets whose mirrored images are other signs or none: protocols leave out ``flip`` for them."""
PLACES = ("seeds", "split", "device", "batched", "compile", "progress")
"""What :func:`gendistill.evaluation.learning.learning_curve` takes beside a protocol: how many learners, and where."""


def convnet(description: Description, **options: Any) -> dict[str, Any]:
    """Return the papers' ConvNet of width 128: depth 3 at 28 and 32 pixels, less for images with fewer, else more.

    Args:
        description: The real data; sentences and points have their own default learner.
        **options: More arguments of :class:`gendistill.nets.learners.ConvNet`.
    """
    if description.kind != "pictures":
        return default_learner(description)
    depth = default_learner(description)["init_args"]["depth"]
    return {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 128, "depth": depth} | options}


def strategy(names: str, description: Description) -> str:
    """Return an augmentation strategy without ``flip`` where a mirrored image is no image of the data set."""
    if description.name not in NOT_MIRRORED:
        return names
    return "_".join(name for name in names.split("_") if name != "flip")


def four_pixels_or_45_degrees(description: Description) -> dict[str, float]:
    """Return how far DC's code shifts and turns images of digits."""
    return {"shift": 4 / description.image_shape[-1], "rotate": 45.0}


@dataclass(frozen=True)
class Protocol:
    """How learners are trained, and when and in what they are measured.

    A field of a protocol by name may be a function of the data's description; :meth:`of` puts in what it gives.
    Fields are changed with :func:`dataclasses.replace`.

    Attributes:
        learner: Spec of the learner; None: the one whose first weights the teacher names, if it does, else
            :func:`gendistill.nets.learners.default_learner`. Where it is the one that the teacher names, learners start
            as the teacher says (:mod:`gendistill.initial`).
        updates: Numbers of updates to measure at, 0 allowed; sorted, doubles left out. The largest ends the training
            unless ``epochs`` does.
        epochs: Length of the training in epochs of the teacher, see :func:`gendistill.evaluation.epochs.one_epoch`;
            None: ``updates`` says it. With it, accuracy is also measured at ends of epochs.
        measure_every: Epochs between two measurements; 0: only after the last. Without ``epochs`` it means nothing.
        generated: For a teacher that makes images without end: so many of them, drawn once, ``"train"`` (as many as
            there are real training images), or ``"fresh"`` (new ones in every batch).
        batch_size: Images an update; a curriculum has batches of its own.
        optimizer: ``sgd``, ``adam`` or ``adamw`` (whose weight decay is decoupled).
        lr: Learning rate, ``"grid"``, ``"teacher"``, ``"learned"``, a list of candidates, or None: the teacher's own
            rates where it learned some, else the grid; see :func:`gendistill.evaluation.rates.candidates`. Among
            several the one with the highest mean validation accuracy over the seeds is taken; the test split has no
            say.
        select: ``each``: the best rate is chosen for each number of updates by itself. ``last``: at the last number,
            for all. A schedule other than ``constant`` is laid out for the last number in both cases.
        measure: What the best rate is best in, on the validation split: ``accuracy``, or ``balanced``, the mean of the
            classes' accuracies, where classes are of unequal size. Both are reported in any case.
        momentum: SGD's momentum in [0, 1), or the lowest and highest of a cycle; see
            :func:`gendistill.evaluation.rates.momentum_schedule`.
        weight_decay: Not negative.
        schedule: ``constant``, ``cosine``, ``half-cosine``, ``step``, ``two-steps``, ``halving`` or ``one-cycle``; see
            :func:`gendistill.evaluation.rates.schedule_factor`.
        augment: Strategy of :func:`gendistill.data.augment.augment` for the teacher's images, or None.
        augment_mode: ``single``: one of the strategy's names a batch, as in DSA. ``each``: one an image. ``all``: every
            name, in order. ``idc``: flips, colours and cut-outs always, and one of the other names a batch.
        augment_strength: How far operations reach where not as far as DSA's, such as ``{"rotate": 45}``; see
            :class:`gendistill.data.operations.Strength`.
        cutmix: Probability with which a batch is mixed, 0..1; see :func:`gendistill.data.cutmix.cutmix`.
        labels: ``given``: cross-entropy with the teacher's labels, soft or hard; where it has a labeller with what that
            says of each augmented and mixed image, at its temperature. ``hard``: with their likeliest class.
            ``stored``: with the labels that it stores, without its labeller.
        normalisation: In which learners see the teacher's and the real images: the ``data``'s, the ``teacher``'s, or
            ``auto``: the teacher's where it is whitened and the data is not, else the data's.
        precision: In which updates are computed: ``float32``, or ``bfloat16``: convolutions and matrix products in
            bfloat16 with weights in float32. Accuracy is measured in float32.
    """

    learner: Spec | Callable[[Description], Spec] | None = None
    updates: Sequence[int] = (10, 30, 100, 300, 1000)
    epochs: int | None = None
    measure_every: int = 1
    generated: Generated = FRESH
    batch_size: int = 64
    optimizer: str = "sgd"
    lr: Rate | Sequence[Rate] | None = None
    select: str = "each"
    measure: str = "accuracy"
    momentum: Momentum = 0.9
    weight_decay: float = 5e-4
    schedule: str = "constant"
    augment: str | Callable[[Description], str] | None = None
    augment_mode: str = "single"
    augment_strength: Mapping[str, float] | Callable[[Description], Mapping[str, float]] | None = None
    cutmix: float = 0.0
    labels: str = "given"
    normalisation: str = "auto"
    precision: Precision = "float32"

    def of(self, description: Description) -> Protocol:
        """Return the protocol for a data set: nothing in it is left to the description any more."""
        return replace(self, **{key: value(description) for key, value in self.options().items() if callable(value)})

    def options(self) -> dict[str, Any]:
        """Return all fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


OPTIONS = (*(field.name for field in fields(Protocol)), *PLACES)
"""Every option of :func:`gendistill.evaluation.learning.learning_curve` by name."""

CONDENSATION = Protocol(
    learner=convnet,
    updates=(),
    epochs=300,
    measure_every=0,
    generated=TRAIN,
    batch_size=256,
    lr=0.01,
    select="last",
    schedule="step",
)
"""Zhao and Bilen's on colour images; with ``augment``, that of DSA and DM."""
DSA_CONDENSATION = replace(CONDENSATION, epochs=1000, augment=partial(strategy, DSA))
"""That of DSA and DM."""
IDC_CONDENSATION = replace(
    CONDENSATION,
    epochs=1000,
    batch_size=64,
    schedule="two-steps",
    augment=partial(strategy, "color_crop_flip_scale_rotate"),
    augment_mode="idc",
    cutmix=0.5,
)
"""That of IDC and DREAM."""
PROTOCOLS = {
    "thesis": replace(
        CONDENSATION,
        learner={"class_path": "gendistill.nets.resnet.ResNet", "init_args": {"width": 64}},
        updates=(10, 30, 100, 300, 1000, 3000, 10000),
        epochs=100,
        measure_every=1,
        schedule="one-cycle",
        momentum=(0.85, 0.95),
        augment=partial(strategy, "crop_flip"),
        augment_mode="all",
    ),
    "condensation": CONDENSATION,
    "condensation-dsa": DSA_CONDENSATION,
    "condensation-mnist": replace(
        CONDENSATION,
        epochs=1000,
        augment="crop_scale_rotate",
        augment_mode="each",
        augment_strength=four_pixels_or_45_degrees,
    ),
    "condensation-mtt": replace(DSA_CONDENSATION, lr=LEARNED),
    "condensation-datadam": replace(
        DSA_CONDENSATION, learner=partial(convnet, normalisation="batch"), epochs=1800, batch_size=64
    ),
    "condensation-idc": IDC_CONDENSATION,
    "condensation-ncfm": replace(
        IDC_CONDENSATION,
        epochs=2000,
        batch_size=128,
        optimizer="adamw",
        lr=0.001,
        weight_decay=0.01,
        schedule="halving",
    ),
    "rded": replace(
        CONDENSATION,
        learner=partial(convnet, normalisation="batch"),
        batch_size=50,
        optimizer="adamw",
        lr=0.001,
        weight_decay=0.01,
        schedule="half-cosine",
        augment=partial(strategy, "flip"),
        augment_mode="all",
        cutmix=1.0,
    ),
    "shi-chen": replace(CONDENSATION, epochs=20, schedule="cosine"),
}
"""The protocols of the literature."""

SUMMARIES = {
    "thesis": "Bradley 2020: the residual classifier of Table C.1, 100 epochs of batches of 256, SGD at one cycle "
    "0.0004 -> 0.01 -> 1e-6, shifts by an eighth and flips, accuracy after every epoch",
    "condensation": "Zhao and Bilen 2021: ConvNet of width 128, 300 epochs of batches of 256, SGD at 0.01 with "
    "momentum 0.9 and weight decay 5e-4, a tenth of the rate in the second half",
    "condensation-dsa": "the same for 1000 epochs with differentiable augmentation: DSA and DM",
    "condensation-mnist": "the same for 1000 epochs, each image shifted, scaled or turned: DC's code on MNIST",
    "condensation-mtt": "condensation-dsa at the rate that was learned with the images: MTT and what follows it",
    "condensation-datadam": "condensation-dsa with batch normalisation, 1800 epochs of batches of 64: DataDAM's code",
    "condensation-idc": "Kim et al. 2022: condensation for 1000 epochs of batches of 64, a fifth of the rate from two "
    "thirds and again from five sixths on, IDC's augmentation, half of the batches by CutMix; DREAM, too",
    "condensation-ncfm": "Wang et al. 2025: that for 2000 epochs of batches of 128 by AdamW at 0.001, half the rate "
    "from each fifth on, no soft labels",
    "rded": "Sun et al. 2024: ConvNet of width 128 with batch normalisation, 300 epochs of batches of 50, AdamW at "
    "0.001 along half a cosine, flips, every batch by CutMix and labelled by the teacher's labeller",
    "shi-chen": "Shi and Chen 2022: ConvNet of width 128, 20 epochs of batches of 256, SGD at 0.01 along a cosine to 0",
}
"""Every protocol with a sentence."""


def protocol(name: str, description: Description | None = None) -> Protocol:
    """Return a protocol of the literature.

    Args:
        name: One of :data:`PROTOCOLS`.
        description: The real data, for the depth of the ConvNet and whether mirrored images are sensible; None leaves
            that open.

    Raises:
        UserError: There is no such protocol.
    """
    if name not in PROTOCOLS:
        raise UserError(
            f"there is no protocol '{name}'; {did_you_mean(name, PROTOCOLS)}choose among: {', '.join(PROTOCOLS)}"
        )
    return PROTOCOLS[name] if description is None else PROTOCOLS[name].of(description)


def expand(options: Mapping[str, Any], description: Description) -> dict[str, Any]:
    """Replace ``protocol: name`` in options of ``learning_curve`` by that protocol's; the other options win.

    ``augment: dsa`` becomes what it means for the data, see :func:`named_strategy`.

    Raises:
        UserError: There is no such protocol.
    """
    named = options.get("protocol")
    own = {option: value for option, value in options.items() if option != "protocol"}
    whole = own if named is None else protocol(named, description).options() | own
    return whole | {"augment": named_strategy("dsa", description)} if whole.get("augment") == "dsa" else whole


def with_defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of ``learning_curve``, each field of a protocol that is not among them at its default."""
    return Protocol().options() | dict(options)


def named_strategy(augment: str | None, description: Description) -> str | None:
    """Return an augmentation in full: for ``dsa`` DSA's, without ``flip`` where a mirrored image is none.

    Raises:
        UserError: One is named for sentences or points; all are for pictures.
    """
    if augment not in (None, "", "none") and description.kind != "pictures":
        raise UserError(
            f"augment is '{augment}', which is for pictures; '{description.name}' holds {description.kind}, set it to "
            "none"
        )
    return strategy(DSA, description) if augment == "dsa" else augment
