"""``gendistill judge-part FOLDER``: one evaluation that another machine asks for; no command for a person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gendistill.commands.kept import write_evaluation
from gendistill.commands.part import going_on_in, judged
from gendistill.errors import UserError
from gendistill.json_file import Is, Keys, mapping, maybe, read_json, text, whole

JOB = Keys(
    required={
        **{name: Is(text, "text") for name in ("path", "name", "device")},
        "learning": Is(maybe(mapping), "options"),
        "fidelity": Is(maybe(mapping), "options"),
        "data": Is(mapping, "options of data"),
        "reference": Is(maybe(text), "text"),
        "seed": Is(whole, "a seed"),
    },
    optional={"further": Is(mapping, "options")},
)


def main(argv: Sequence[str]) -> int:
    """Judge what ``job.json`` of a folder says, and write ``result.json`` there."""
    if len(argv) != 1:
        raise UserError("gendistill judge-part takes a folder with job.json")
    import gendistill.data
    from gendistill.data.fingerprint import contents
    from gendistill.teacher import open_teacher

    folder = Path(argv[0])
    job = read_json(folder / "job.json", JOB)
    data = gendistill.data.load(**job["data"])
    teacher = open_teacher(job["reference"] or folder / "teacher.safetensors", data, seed=job["seed"])
    file = folder / "result.json"
    with going_on_in(file):
        result = judged(job, teacher, data)
    write_evaluation(file, {"data": contents(data), "result": result})
    return 0
