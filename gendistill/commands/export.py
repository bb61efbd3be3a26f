"""``gendistill export``: a teacher's images in a form that other programs read."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from gendistill import shipped
from gendistill.commands.judge import REFERENCES, add_data_files, data_given, load_data
from gendistill.commands.options import Options, add_json, positive
from gendistill.commands.output import read_results, result_only, to_json
from gendistill.commands.published import UNAUDITED, audited, published
from gendistill.spelling import typed
from gendistill.words import counted

FORMATS = ("png", "pt", "parquet", "safetensors", "hub", "dc", "mtt", "datm", "dd", "idc")


def parser() -> Options:
    """Return the command's options."""
    options = Options(
        prog="gendistill export",
        description="Write a teacher's images to a new folder: png (a folder a class), pt (images.pt and labels.pt), "
        "parquet, safetensors, hub (what Hugging Face datasets loads, with the teacher and checksums), or as public "
        "code of DC, DSA and DM (dc), MTT (mtt), DATM (datm), Dataset "
        "Distillation (dd) or IDC (idc, as stored) does, with a data card. Where stored images are decoded, all but "
        "safetensors and idc hold the decoded ones.",
    )
    options.add_argument("teacher", metavar="TEACHER", help=REFERENCES)
    options.add_argument("--format", choices=FORMATS, default="png", help="what to write")
    options.add_argument("--output", required=True, metavar="DIR", help="the folder; it must be new or empty")
    options.add_argument("--count", type=positive, metavar="N", help="images to draw, balanced over the classes; None: "
                         "all stored ones, in stored order")  # fmt: skip
    options.add_argument("--bits", type=int, choices=(8, 32), default=32, help="of each value in safetensors and hub: "
                         "8 keep a byte of it, a quarter of the file")  # fmt: skip
    options.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the draw")
    options.add_argument("--results", metavar="FILE", help="what gendistill evaluate or compare wrote of this teacher: "
                         "its accuracies and budgets are put into the data card; None: of a set that comes with the "
                         "project what lies beside it")  # fmt: skip
    options.add_argument("--audit", metavar="FILE", help="what gendistill audit wrote of this teacher, for the data "
                         "card")  # fmt: skip
    options.add_argument("--license", metavar="NAME", help="licence of the real data, for the data card, such as "
                         "cc-by-4.0; None: what is known of the data set")  # fmt: skip
    options.add_argument("--dataset", metavar="NAME", help="real data set, needed for 'real...' and image folders")
    add_data_files(options)
    add_json(options)
    return options


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill export``."""
    given = parser().parse(argv)
    from gendistill.seeds import stream
    from gendistill.teacher.export import export
    from gendistill.teacher.reference import open_teacher

    with result_only(given.json):
        data = load_data(given, given.teacher) if data_given(given) else None
        teacher = open_teacher(given.teacher, data, seed=given.seed)
        facts: dict[str, str] = {}
        came = shipped.name_of(given.teacher)  # what it is called in its results
        results = given.results or (came and shipped.results(came))
        if results:
            facts |= published(read_results(results), str(results), came or given.teacher, teacher)
            if given.count is not None:
                drawn = counted(given.count, "image")
                facts["these numbers are of"] = f"the teacher that these {drawn} were drawn from"
            if given.bits != 32:
                facts["these values are"] = "rounded to 8 bits, after those were measured"
        if given.audit:
            facts |= audited(given.audit, given.teacher, teacher)
        elif given.format == "hub":
            facts["audit"] = UNAUDITED
        result = export(
            teacher,
            given.output,
            given.format,
            count=given.count,
            generator=stream(given.seed, "export", teacher.device),
            licence=given.license,
            facts=facts,
            bits=given.bits,
        )
    if given.json:
        print(to_json(result))
        return 0
    print(f"wrote {result['images']:,} images as {result['format']} to {result['path']}")
    if "max_quantisation_error" in result:
        print(_changed(result, given))
    for sentence in result["lost"]:
        print(f"lost: {sentence}")
    for name, value in result.get("sha256", {}).items():
        print(f"sha256 {value}  {name}")
    return 0


def _changed(result: Mapping[str, Any], given: argparse.Namespace) -> str:
    """Say what 8 bits changed; outside [0, 1] that is clipping, and another form keeps what pictures cannot."""
    change = f"{result['max_quantisation_error']:.4f}"
    if not result["clipped"]:
        return f"8 bits a channel changed a pixel in [0, 1] by at most {change}"
    words = [given.teacher, "--format", "pt", "--output", f"{given.output.rstrip('/')}-pt", "--seed", str(given.seed)]
    words += [] if given.count is None else ["--count", str(given.count)]
    return (
        f"{max(result['clipped'], 0.001):.1%} of the values lie outside [0, 1], where pictures end: clipping changed "
        f"one by {change}; tensors keep them:\n         {typed('export', *words, **data_given(given))}"
    )
