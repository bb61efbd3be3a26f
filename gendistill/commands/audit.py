"""``gendistill audit``: what does a teacher tell of the images that it was made from?"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gendistill.commands.judge import REFERENCES, add_data, learner_spec, load_data, short_name
from gendistill.commands.options import Options, add_json, positive
from gendistill.commands.output import hand_over, result_only
from gendistill.errors import UserError


def parser() -> Options:
    """Return the command's options."""
    options = Options(
        prog="gendistill audit",
        description="Attack a teacher with the images that it was made from and others that it was not: can members be "
        "told? Of a private teacher its mechanism is run on canaries, too. An attack that fails proves nothing.",
    )
    add = options.add_argument
    add("teacher", metavar="TEACHER", help=REFERENCES)
    add_data(options)
    add("--count", type=positive, metavar="N", help="members, and others, that are asked about at most; None: 10,000")
    add("--learner", metavar="SPEC", help="what learners of the teacher are; None: the data set's own")
    add("--learners", type=positive, default=2, metavar="N", help="how many of them")
    add("--updates", type=positive, default=300, metavar="N", help="updates of each")
    add("--shadows", type=int, default=0, metavar="N", help="shadow teachers for LiRA, each made of a random half as "
        "the teacher was, which takes a run's directory or real images; 0: none")  # fmt: skip
    add("--discriminator", action="store_true", help="also ask the discriminator of a GAN's run directory")
    add("--seed", type=int, default=0, metavar="N", help="seed of the draws and of the learners")
    add("--device", metavar="NAME", help="where networks run; None: a GPU if there is one")
    add("--output", metavar="FILE", help="write the result to this JSON file")
    add("--page", metavar="FILE", help="write a page with the pictures to this HTML file; it shows training images")
    add_json(options)
    return options


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill audit``."""
    given = parser().parse(argv)
    if given.shadows and given.shadows < 4:
        raise UserError(f"--shadows is {given.shadows}; give 0, or at least 4")
    from gendistill.counter import Counter
    from gendistill.evaluation.audit import audit
    from gendistill.report.audit import write_page
    from gendistill.runs.device import choose_device
    from gendistill.teacher.identity import checksum
    from gendistill.teacher.reference import open_teacher

    with result_only(given.json):
        data = load_data(given, given.teacher)
        teacher = open_teacher(given.teacher, data, seed=given.seed)
        device = choose_device(given.device or "auto")
        result, pictures = audit(
            teacher,
            data,
            count=given.count,
            learner=learner_spec(given.learner),
            learners=given.learners,
            updates=given.updates,
            make=maker(given.teacher) if given.shadows else None,
            shadows=given.shadows,
            scorers=asked(given.teacher, data.description, device) if given.discriminator else None,
            seed=given.seed,
            device=device,
            progress=Counter("shadow teachers", "shadows"),
        )
        # A data card takes results of its own teacher alone.
        asked_about = {"path": given.teacher, "kind": teacher.kind, "checksum": checksum(teacher)} | teacher.budget()
        named = {"name": short_name(given.teacher), "dataset": data.description.name, "teacher": asked_about}
        result = named | result
        if given.page:
            write_page(result, pictures, given.page)
    return hand_over(result, lambda found: text(found, given.page), as_json=given.json, output=given.output)


def text(result: Mapping[str, Any], page: str | None = None) -> str:
    """Return the result as sentences and a table of the attacks."""
    from gendistill.report.audit import attack_cells, sentences
    from gendistill.report.terminal import aligned

    lines = [f"{result['name']}: {result['verdict']}", "", *sentences(result), "", *aligned(attack_cells(result))]
    return "\n".join([*lines, *([f"page     {page}"] if page else [])])


def _experiment(reference: str) -> Any:
    """Return the experiment of a run's directory.

    Raises:
        UserError: It is none.
    """
    from gendistill.config.experiment import check
    from gendistill.runs.directory import RunDirectory

    folder = Path(reference)
    config = RunDirectory(folder.parent, folder.name).read_config() if folder.is_dir() else None
    if config is None:
        raise UserError(
            f"'{reference}' is no run's directory with a config.yaml; shadows are made as a run was: give that of the "
            "teacher's run, or --shadows 0"
        )
    return check(config, str(folder / "config.yaml"))


def maker(reference: str) -> Any:
    """Return what makes a teacher of other data as the one named was made.

    Raises:
        UserError: It is not known how it was made.
    """
    from gendistill.runs.options import RunOptions
    from gendistill.teacher.reference import open_teacher

    if reference == "real" or reference.startswith("real:"):
        return lambda data, seed: open_teacher(reference, data, seed=seed)
    experiment = _experiment(reference)

    def make(data: Any, seed: int) -> Any:
        from gendistill.runs.loop import train
        from gendistill.teacher import load

        with tempfile.TemporaryDirectory() as root:
            quiet = {"root": root, "name": "shadow", "seed": seed, "progress": False, "sample_every": 0, "tune": "off"}
            context = train(experiment.build_trainer(), data, RunOptions(**(experiment.run | quiet)))
            return load(context.directory.teacher)

    return make


def asked(reference: str, description: Any, device: Any) -> Any:
    """Return the attacks that ask the discriminators of a GAN's run.

    Raises:
        UserError: There are none.
    """
    from gendistill.evaluation.discriminators import scorers
    from gendistill.runs.discriminators import discriminators

    judges = discriminators(reference, description, device)
    if not judges:
        raise UserError(
            f"'{reference}' is no directory of a GAN's run that has saved a discriminator; give that of the teacher's "
            "run, or leave --discriminator out"
        )
    return scorers(judges, description.of_generators)
