"""``gendistill import``: results of other people's code as teachers."""

from __future__ import annotations

from collections.abc import Sequence

from gendistill.commands.judge import add_data, load_data
from gendistill.commands.options import Options, add_json
from gendistill.commands.output import result_only, to_json

FORMS = ("auto", "dc", "mtt", "dd", "pt")
VALUES = ("auto", "normalised", "pixels", "whitened")


def parser() -> Options:
    """Return the command's options."""
    options = Options(
        prog="gendistill import",
        description="Write a teacher file from what the public code of DC, DSA and DM (res_*.pt), of MTT (images_*.pt "
        "and labels_*.pt) or of Dataset Distillation (results.pth) saved. Only tensors and numbers are read.",
    )
    options.add_argument("source", metavar="FILE", help="the file, or a folder that holds one result")
    add_data(options)
    options.add_argument("--output", required=True, metavar="FILE", help="the teacher file, such as t.safetensors")
    options.add_argument(
        "--format", choices=FORMS, default="auto", help="whose code wrote it; auto: by names and content"
    )
    options.add_argument("--values", choices=VALUES, default="auto", help="what the images' numbers are: normalised as "
                         "that code does it, pixels in [0, 1], or ZCA-whitened (MTT with --zca); auto: pixels for "
                         "images_zca_*.pt, what is noted beside an export, else normalised")  # fmt: skip
    options.add_argument("--experiment", type=int, default=0, metavar="N", help="which set of a dc file, from 0")
    options.add_argument("--learning-rate", type=float, metavar="LR", help="of the learner, where the file has none: "
                         "MTT only prints it; None: none")  # fmt: skip
    add_json(options)
    return options


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill import``."""
    given = parser().parse(argv)
    from gendistill.data.whitening import EPSILON
    from gendistill.teacher import save
    from gendistill.teacher.imports import import_teacher

    # Fitted only where values are whitened, and then to the real images as they are.
    epsilon, given.whitening = given.whitening, None
    with result_only(given.json):
        teacher = import_teacher(
            given.source,
            load_data(given),
            form=given.format,
            values=given.values,
            epsilon=EPSILON if epsilon is None else epsilon,
            experiment=given.experiment,
            learning_rate=given.learning_rate,
        )
        save(teacher, given.output)
    pixels = teacher.description.normalisation.invert(teacher.images)
    lowest, highest = float(pixels.min()), float(pixels.max())
    outside = float(((pixels < 0) | (pixels > 1)).double().mean())
    result = {
        "path": given.output,
        "format": teacher.metadata["source"]["format"],
        "dataset": teacher.description.name,
        "images": teacher.images_stored,
        "images_per_class": teacher.label_counts,
        "soft_labels": teacher.labels_are_soft,
        "learning_rates": 0 if teacher.learning_rates is None else len(teacher.learning_rates),
        "order": teacher.order,
        "whitened": teacher.description.normalisation.whitening is not None,
        "pixels": {"lowest": lowest, "highest": highest, "outside": outside},
    }
    if given.json:
        print(to_json(result))
        return 0
    print(
        f"wrote {teacher.images_stored:,} images of {result['dataset']} (format {result['format']}) to {given.output}"
    )
    print(
        f"pixels {lowest:.2f} to {highest:.2f}, {outside:.0%} outside [0, 1]; if the images look wrong, "
        "choose other --values"
    )
    return 0
