"""Evaluation protocols of the literature by name: plain options of ``learning_curve``, each of which may be overridden.

What the papers leave open, and what was chosen, is on the page docs/evaluation-learning.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gendistill.data.augment import DSA
from gendistill.data.description import Description
from gendistill.errors import UserError, did_you_mean
from gendistill.evaluation.epochs import TRAIN
from gendistill.evaluation.settings import LEARNED
from gendistill.nets.learners import default_learner

NOT_MIRRORED = ("digits", "mnist", "usps", "svhn")
"""Data sets whose mirrored images are other signs or none: protocols leave out ``flip`` for them."""

SUMMARIES = {
    "thesis": "Bradley 2020: the residual classifier of Table C.1, 100 epochs of batches of 256, SGD at one cycle "
    "0.0004 -> 0.01 -> 1e-6, shifts by an eighth and flips, accuracy after every epoch",
    "condensation": "Zhao and Bilen 2021: ConvNet of width 128, 300 epochs of batches of 256, SGD at 0.01 with "
    "momentum 0.9 and weight decay 5e-4, a tenth of the rate in the second half",
    "condensation-dsa": "the same for 1000 epochs with differentiable augmentation: DSA and DM",
    "condensation-mnist": "the same for 1000 epochs, each image shifted, scaled or turned: DC's code on MNIST",
    "condensation-mtt": "condensation-dsa at the rate that was learned with the images: MTT and what follows it",
    "condensation-datadam": "condensation-dsa with batch normalisation, 1800 epochs of batches of 64: DataDAM's code",
    "shi-chen": "Shi and Chen 2022: ConvNet of width 128, 20 epochs of batches of 256, SGD at 0.01 along a cosine to 0",
}
"""Every protocol with a sentence."""


def protocol(name: str, description: Description) -> dict[str, Any]:
    """Return a protocol's options of :func:`gendistill.evaluation.learning.learning_curve`.

    Args:
        name: One of :data:`SUMMARIES`.
        description: The real data, for the depth of the ConvNet and whether mirrored images are sensible.

    Raises:
        UserError: There is no such protocol.
    """
    if name not in SUMMARIES:
        raise UserError(
            f"there is no protocol '{name}'; {did_you_mean(name, SUMMARIES)}choose among: {', '.join(SUMMARIES)}"
        )
    options: dict[str, Any] = {
        "learner": convnet(description),
        "batch_size": 256,
        "optimizer": "sgd",
        "lr": 0.01,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "select": "last",
        "labels": "given",
        "generated": TRAIN,
        "updates": (),
        "measure_every": 0,
    }
    if name == "thesis":
        return options | {
            "learner": {"class_path": "gendistill.nets.resnet.ResNet", "init_args": {"width": 64}},
            "epochs": 100,
            "measure_every": 1,
            "updates": (10, 30, 100, 300, 1000, 3000, 10000),
            "schedule": "one-cycle",
            "momentum": (0.85, 0.95),
            "augment": strategy("crop_flip", description),
            "augment_mode": "all",
        }
    if name == "shi-chen":
        return options | {"epochs": 20, "schedule": "cosine"}
    options |= {"epochs": 300, "schedule": "step"}
    if name in ("condensation-dsa", "condensation-mtt", "condensation-datadam"):
        options |= {"epochs": 1000, "augment": strategy(DSA, description), "augment_mode": "single"}
    if name == "condensation-mtt":
        options |= {"lr": LEARNED}
    if name == "condensation-datadam":
        options |= {"learner": convnet(description, normalisation="batch"), "epochs": 1800, "batch_size": 64}
    if name == "condensation-mnist":
        options |= {
            "epochs": 1000,
            "augment": "crop_scale_rotate",
            "augment_mode": "each",
            "augment_strength": {"shift": 4 / description.image_shape[-1], "rotate": 45.0},
        }
    return options


def expand(options: Mapping[str, Any], description: Description) -> dict[str, Any]:
    """Replace ``protocol: name`` in options of ``learning_curve`` by that protocol's; the other options win.

    Raises:
        UserError: There is no such protocol.
    """
    named = options.get("protocol")
    own = {option: value for option, value in options.items() if option != "protocol"}
    return own if named is None else protocol(named, description) | own


def convnet(description: Description, **options: Any) -> dict[str, Any]:
    """Return the papers' ConvNet of width 128: depth 3 at 28 and 32 pixels, less for images with fewer, else more.

    Args:
        description: The real data; sentences have their own default learner.
        **options: More arguments of :class:`gendistill.nets.learners.ConvNet`.
    """
    if description.embedding is not None:
        return default_learner(description)
    depth = default_learner(description)["init_args"]["depth"]
    return {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 128, "depth": depth} | options}


def strategy(names: str, description: Description) -> str:
    """Return an augmentation strategy without ``flip`` where a mirrored image is no image of the data set."""
    if description.name not in NOT_MIRRORED:
        return names
    return "_".join(name for name in names.split("_") if name != "flip")


def named_strategy(augment: str | None, description: Description) -> str | None:
    """Return an augmentation in full: for ``dsa`` DSA's, without ``flip`` where a mirrored image is none.

    Raises:
        UserError: One is named for sentences; all are for pictures.
    """
    if augment not in (None, "", "none") and description.embedding is not None:
        raise UserError(
            f"augment is '{augment}', which is for pictures; '{description.name}' holds sentences, set it to none"
        )
    return strategy(DSA, description) if augment == "dsa" else augment
