"""Which extractor a user's choice names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gendistill import objects
from gendistill.class_names import suggestion
from gendistill.data.real import RealData
from gendistill.errors import UserError, did_you_mean
from gendistill.evaluation.classifier import trained_classifier
from gendistill.evaluation.dinov2 import DINOv2Extractor
from gendistill.evaluation.extractors import Extractor
from gendistill.finite import check_finite

BUILT_IN = ("classifier", "inception", "dinov2")
OF_PICTURES = ("inception", "dinov2")


def choose_extractor(
    choice: str | Mapping[str, Any] | Extractor,
    data: RealData,
    *,
    weights: str | Path | None = None,
    allow_unverified_weights: bool = False,
) -> Extractor:
    """Return the extractor that a user's choice names, on the device of the data, in evaluation mode.

    Args:
        choice: ``classifier`` (trained on the real training set, cached), ``inception`` (pytorch-fid's network),
            ``dinov2``, a dotted path or ``{"class_path", "init_args"}`` of a subclass of :class:`Extractor`, or an
            extractor.
        data: The real data.
        weights: Weights file, for ``inception`` and ``dinov2`` only.
        allow_unverified_weights: Take Inception weights whose hash is not the published one; the score is then not FID.

    Raises:
        UserError: The choice names nothing that can be used.
    """
    extractor: Extractor
    if isinstance(choice, Extractor):
        extractor = choice
    elif choice == "classifier":
        extractor = trained_classifier(data)
    elif choice in OF_PICTURES and data.description.kind != "pictures":
        raise UserError(
            f"'{data.description.name}' holds {data.description.kind}, which {choice} cannot see; use classifier"
        )
    elif choice == "inception":
        from gendistill.evaluation.inception import InceptionExtractor  # torchvision takes a second to import

        extractor = InceptionExtractor(weights, allow_unverified_weights=allow_unverified_weights)
    elif choice == "dinov2":
        extractor = DINOv2Extractor(weights)
    else:
        if isinstance(choice, str) and "." not in (choice := objects.full_path(choice, Extractor)):
            hint = did_you_mean(choice, BUILT_IN) or suggestion(choice, Extractor)
            raise UserError(
                f"there is no extractor '{choice}'; {hint}choose one of: {', '.join(BUILT_IN)}, or the dotted path of "
                "a subclass of gendistill.evaluation.extractors.Extractor"
            )
        description = data.description
        extractor = objects.build(
            choice,
            Extractor,  # type: ignore[type-abstract]
            num_classes=description.num_classes,
            image_shape=description.image_shape,
        )
    for name, value in extractor.state_dict().items():
        check_finite(f"{extractor.name}: {name}", value, "give the extractor other weights")
    return extractor.to(data.train.images.device).eval()
