"""``gendistill import``: results of other people's code as teachers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gendistill.commands.judge import add_data, load_data
from gendistill.commands.options import Options, add_json
from gendistill.commands.output import result_only, to_json
from gendistill.visible import visible

if TYPE_CHECKING:
    from gendistill.teacher import StoredImages

FORMS = ("auto", "dc", "mtt", "datm", "idc", "dd", "pt")
VALUES = ("auto", "normalised", "pixels", "bytes", "whitened")
OF_THE_FILE = "epsilon of the file's ZCA whitening, where its values are whitened; None: 0.1"
LABELS = ("auto", "indices", "probabilities", "logits", "multi-hot", "targets")


def parser() -> Options:
    """Return the command's options."""
    options = Options(
        prog="gendistill import",
        description="Write a teacher file from what public code saved: DC, DSA, DM and DataDAM (res_*.pt), MTT, TESLA "
        "and DATM (images_*.pt, labels_*.pt, lr_*.pt), IDC, DREAM and NCFM (data.pt), Dataset Distillation "
        "(results.pth), or from an export of gendistill. Only tensors and numbers are read.",
    )
    options.add_argument("source", metavar="FILE", help="the file, or a folder that holds one result")
    add_data(options)
    options.reword("--whitening", OF_THE_FILE)
    options.add_argument("--output", required=True, metavar="FILE", help="the teacher file, such as t.safetensors")
    add_reading(options)
    options.add_argument(
        "--labeller",
        metavar="TEACHER",
        help="a teacher whose labeller, a network, labels these images after augmentation, too, with @stored behind it "
        "each once and for all; None: labels are those of the file",
    )
    add_json(options)
    return options


def add_reading(options: argparse._ActionsContainer, labels: Sequence[str] = LABELS) -> None:
    """Add the options that say what a file's numbers are.

    Args:
        options: Gets them.
        labels: What ``--labels`` may be.
    """
    options.add_argument(
        "--format", choices=FORMS, default="auto", help="whose code wrote it; auto: by names and content"
    )
    options.add_argument("--values", choices=VALUES, default="auto", help="what the images' numbers are: normalised as "
                         "that code does it, pixels in [0, 1], bytes in 0..255, or ZCA-whitened; auto: by "
                         "what an export notes, by the values and the files beside them, else as that code has "
                         "it")  # fmt: skip
    options.add_argument("--labels", choices=labels, default="auto", help="what the labels are: class indices, "
                         "probabilities, logits (softmax is taken), multi-hot (rows are divided by their sum), or "
                         "targets (as they are); auto: by their values, refused where those leave a "
                         "choice")  # fmt: skip
    options.add_argument("--experiment", type=int, metavar="N", help="which set of a dc file, from 0; None: the "
                         "first, of DataDAM the last")  # fmt: skip
    options.add_argument("--factor", type=int, metavar="N", help="each image is a sheet of N x N smaller ones, which "
                         "are shown enlarged (multi-formation: IDC, DREAM, IDM, NCFM); None: as the folder's name says "
                         "(factor2), else 1")  # fmt: skip
    options.add_argument("--learning-rate", type=float, metavar="LR", help="of the learner, where the file has none: "
                         "MTT only prints it; None: none")  # fmt: skip


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill import``."""
    given = parser().parse(argv)
    from gendistill.data.recorded import remember
    from gendistill.data.whitening import EPSILON
    from gendistill.teacher import save
    from gendistill.teacher.imports import describe_source, import_teacher
    from gendistill.teacher.reference import with_labeller

    # Fitted only where values are whitened, and then to the real images as they are.
    epsilon, given.whitening = None if given.whitening == "none" else given.whitening, None
    with result_only(given.json):
        data = load_data(given, given.source, without=("whitening",))
        teacher = import_teacher(
            given.source,
            data,
            form=given.format,
            values=given.values,
            labels=given.labels,
            epsilon=EPSILON if epsilon is None else epsilon,
            experiment=given.experiment,
            learning_rate=given.learning_rate,
            factor=given.factor,
        )
        if given.labeller is not None:
            teacher = with_labeller(teacher, given.labeller, data)
        if (noted := remember(data)) is not None:
            teacher.metadata.setdefault("data", noted)
        save(teacher, given.output)
    print(visible(describe_source(teacher)), file=sys.stderr)
    result = _result(teacher, given.output)
    if given.json:
        print(to_json(result))
        return 0
    dataset = visible(result["dataset"])
    shown = "" if result["decoded_images"] == result["images"] else f", which show {result['decoded_images']:,},"
    what = f"{teacher.images_stored:,} images{shown} of {dataset} (format {result['format']})"
    print(f"wrote {what} to {given.output}")
    if result["pixels"] is not None:
        print(_range(result))
    return 0


def _result(teacher: StoredImages, path: str) -> dict[str, Any]:
    source = teacher.metadata["source"]
    rates = teacher.learning_rates
    return {
        "path": path,
        "format": source["format"],
        "dataset": teacher.description.name,
        "images": teacher.images_stored,
        "decoded_images": teacher.decoded_images,
        "images_per_class": teacher.label_counts,
        "values": source["values"],
        "labels": source["labels"],
        "soft_labels": teacher.labels_are_soft,
        "learning_rates": 0 if rates is None else len(rates),
        "learning_rate": float(rates[0]) if rates is not None and len(rates) == 1 else None,
        "order": teacher.order,
        "whitened": teacher.description.normalisation.whitening is not None,
        "pixels": _pixels(teacher),
        "understood": source["words"],
    }


def _pixels(teacher: StoredImages) -> dict[str, float] | None:
    """Return the range of the pixels and the share that no 8-bit pixel could be; others have none."""
    if teacher.description.kind != "pictures":
        return None
    import torch

    from gendistill.teacher.image_forms import outside

    stored = teacher.values(torch.arange(teacher.images_stored))
    pixels = teacher.description.normalisation.invert(stored)
    return {"lowest": float(pixels.min()), "highest": float(pixels.max()), "outside": outside(pixels)}


def _range(result: dict[str, Any]) -> str:
    pixels = result["pixels"]
    # Rounding must not write -0.00.
    span = f"pixels {round(pixels['lowest'], 2) + 0.0:.2f} to {round(pixels['highest'], 2) + 0.0:.2f}"
    if not pixels["outside"]:
        return f"{span}, all in [0, 1] up to rounding"
    share = f"{span}, {max(pixels['outside'], 0.001):.1%} outside [0, 1]"
    if result["whitened"]:
        return f"{share} where the whitening is inverted, as is usual for images that were distilled whitened"
    return f"{share}, as distilled images are that nothing clips; if they look wrong, choose other --values"
