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
    from gendistill.evaluation.audit import audit
    from gendistill.report.audit import write_page
    from gendistill.runs.counter import Counter
    from gendistill.runs.device import choose_device
    from gendistill.teacher.reference import open_teacher

    with result_only(given.json):
        data = load_data(given)
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
            scorers=discriminator_scores(given.teacher, data, device) if given.discriminator else None,
            seed=given.seed,
            device=device,
            progress=Counter("shadow teachers", "shadows"),
        )
        result = {"name": short_name(given.teacher), "dataset": data.description.name} | result
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
            f"'{reference}' is no run's directory with a config.yaml; shadows and discriminators come from runs: give "
            "the directory that gendistill train made"
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


def discriminator_scores(reference: str, data: Any, device: Any) -> dict[str, Any]:
    """Return the scores of the discriminator of a GAN's run, and the norm of what it sends back.

    Raises:
        UserError: The run has no discriminator, or no saved state.
    """
    import torch

    from gendistill.runs.checkpoint import load_state
    from gendistill.runs.context import RunContext
    from gendistill.runs.directory import RunDirectory
    from gendistill.seeds import Streams

    experiment = _experiment(reference)
    folder, options, trainer = Path(reference), experiment.options, experiment.build_trainer()
    state = load_state(RunDirectory(folder.parent, folder.name), device)
    if state is None or not hasattr(trainer, "discriminate_exactly"):
        raise UserError(f"'{reference}' holds no discriminator; leave --discriminator out")
    with tempfile.TemporaryDirectory() as root:
        run = RunContext(options, RunDirectory(root, "audit"), device, Streams(options.seed, device))
        trainer.attach(run, trainer.known_of(data.to(device)))
    trainer.load_state_dict(state["trainer"])
    trainer.discriminator.eval()

    def each(split: Any, wanted: Any) -> Any:
        found = []
        for index in torch.arange(len(split)).split(256):
            images, labels = split.batch(index.to(split.labels.device), trainer.normalisation)
            found.append(wanted(images, labels).detach().flatten())
        return torch.cat(found).cpu()

    def judged(images: Any, labels: Any) -> Any:
        return trainer.discriminate_exactly(images, labels).flatten(1).mean(1)

    def sent_back(images: Any, labels: Any) -> Any:
        images = images.requires_grad_()
        loss = torch.nn.functional.softplus(-judged(images, labels)).sum()
        return -torch.autograd.grad(loss, images)[0].flatten(1).norm(dim=1)

    with_none = torch.no_grad()
    return {
        "discriminator": lambda split: each(split, with_none(judged)),
        "feedback": lambda split: each(split, sent_back),
    }
