"""``gendistill latent-search``: search a trained generator's latent space for images that teach, and judge them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendistill import shipped
from gendistill.commands.judge import SMOKE, add_judging, judge
from gendistill.commands.options import Options
from gendistill.commands.output import result_only, to_json, write_json
from gendistill.commands.report import grid_of
from gendistill.commands.train import announce
from gendistill.config.command_line import Words, assemble, take_apart
from gendistill.config.help import show
from gendistill.errors import UserError
from gendistill.files import atomic_write
from gendistill.words import listed
from gendistill.yaml_file import dump_yaml

if TYPE_CHECKING:
    from gendistill.config.experiment import Experiment
    from gendistill.data.real import RealData
    from gendistill.teacher import Teacher

TRAINER = "trainers.latent_search.LatentSearchTrainer"
SUMMARY = (
    "Move latents of a trained generator until its images teach what real ones teach, then judge the images\n"
    "before and after. GENERATOR is a teacher file, the directory of the run that made it, or a generator's .pth\n"
    "checkpoint of torch-mimicry (short for --trainer.generator).\n\n"
    "Without a config, --scale smoke is a search of 10 steps.\n\n"
    "judging:\n"
    "  --no-evaluate               leave it out\n"
    "  --updates N,N               learner updates to test after (default: 10,30,100,300; at --scale smoke 5,10)\n"
    "  --seeds N                   number of learners, one seed each (default: 5; at --scale smoke 2)"
)
FULL = {"updates": "10,30,100,300"}
OWN = ("--updates", "--seeds")
SMOKE_SCALE, SMOKE_STEPS = "smoke", 10
"""The scale that is there without a config, too, and a search's steps at it."""


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill latent-search``."""
    words = take_apart(argv, flags=("--no-evaluate",), own=OWN)
    if len(words.positional) > 1:
        raise UserError(f"gendistill latent-search takes one generator, not also '{words.positional[1]}'")
    if words.positional:
        words.overrides.insert(0, ("--trainer.generator", words.positional[0]))
        if any(option.endswith("generator") for option in words.typed):
            raise UserError(f"the generator is given twice, as '{words.positional[0]}' and as an option; give it once")
    if "--help" in words.flags and not (words.configs or words.trainer or words.overrides):
        print(show("latent-search", SUMMARY, TRAINER, positional="GENERATOR "))
        return 0
    if not words.configs:
        words.overrides.insert(0, ("--run.name", "latent-search"))
    smoke = words.scale == SMOKE_SCALE
    if smoke and not words.configs:  # which would say what is small
        words.scale = None
        words.overrides.insert(0, ("--run.steps", str(SMOKE_STEPS)))
    experiment = assemble(words, default_trainer=TRAINER)
    if "--help" in words.flags:
        print(show("latent-search", SUMMARY, experiment, positional="GENERATOR "))
        return 0
    if "generator" not in experiment.init_args:
        raise UserError(
            "latent-search needs a generator: give a teacher file, the directory of the run that made it, or a "
            "torch-mimicry checkpoint (.pth)"
        )
    if shipped.name_of(str(experiment.init_args["generator"])) in shipped.sets():
        raise UserError(
            f"'{experiment.init_args['generator']}' is a set of images, which has no latent space; generators that "
            f"come with the project are {listed(shipped.generators())}"
        )
    if "--print_config" in words.flags:
        print(dump_yaml(experiment.to_dict()), end="")
        return 0
    judging = _judging(experiment, words, smoke=smoke)
    as_json = "--json" in words.flags
    with result_only(as_json):
        data = _data_of_generator(experiment, words)
        results, context = search(experiment, None if "--no-evaluate" in words.flags else judging, data)
    if not context.processes.main:
        return 0
    if as_json:
        print(to_json(results))
        return 0
    if results["teachers"]:
        from gendistill.report.terminal import text_table

        print(text_table(results))
    print(f"grid     {results['grid']}  (before | after)")
    print(f"norms    {results['norms']}")
    if results["film"]:
        print(f"film     {results['film']}")
    announce(context, experiment.to_dict()["data"])
    return 0


def _data_of_generator(experiment: Experiment, words: Words) -> RealData:
    """Load the data: that which the generator was made from, where a person names a generator and no data.

    A config names data for the generator that it names. What is typed wins in any case.
    """
    from gendistill.data.recorded import load_recorded
    from gendistill.teacher.reference import recorded_data

    chosen = bool(words.positional) or "generator" in experiment.typed
    recorded = recorded_data(str(experiment.init_args["generator"])) if chosen or not words.configs else None
    if recorded is None:
        return experiment.load_data()
    data = load_recorded(recorded, {name: experiment.data.get(name) for name in experiment.data_typed})
    experiment.data = {name: value for name, value in data.options.items() if name != "seed"}
    return data


def search(experiment: Experiment, judging: argparse.Namespace | None, data: RealData) -> tuple[dict[str, Any], Any]:
    """Run the search, write pictures of it and, if wanted, judge before and after.

    Args:
        experiment: The search's config.
        judging: Options of :func:`gendistill.commands.judge.add_judging`, for ``results.json``; None: do not judge.
        data: The real data.

    Returns:
        ``{"teachers": [before, after], "grid": path, "film": path, "norms": path, "run": path, "curves": norms of the
        latents}`` and the finished run. The pictures are ``before_after.png``, ``film.gif`` (None without a film) and
        ``norms.png`` in the run's ``samples``. The teacher before the search is kept beside the other as
        ``start.safetensors``.
    """
    from gendistill.data.recorded import remember
    from gendistill.report.film import gif, path_plot
    from gendistill.runs.loop import train
    from gendistill.teacher import load, save

    config = experiment.to_dict()
    # Any, since only trainers/ knows a search; it has start_teacher() and film beside what every trainer has.
    trainer: Any = experiment.build_trainer()
    context = train(trainer, data, experiment.options, config=config)
    results: dict[str, Any] = {"teachers": [], "run": str(context.directory)}
    if not context.processes.main:
        return results, context
    before, after = trainer.start_teacher().to("cpu"), load(context.directory.teacher)
    pictures = {
        "grid": ("before_after.png", side_by_side(before, after, ("before: step 0", f"after: step {context.step:,}"))),
        "norms": ("norms.png", path_plot(after.metadata["path"])),
    }
    if trainer.film.images:
        names = data.description.class_names
        pictures["film"] = ("film.gif", gif(trainer.film.images, len(names), steps=trainer.film.steps, names=names))
    results["film"] = None
    for kind, (name, picture) in pictures.items():
        target = context.directory.samples / name
        _write(target, picture)
        results[kind] = str(target)
    results["curves"] = norm_curve(after)
    start = context.directory.path / "start.safetensors"
    if (noted := remember(data)) is not None:
        before.metadata.setdefault("data", noted)
    save(before, start)
    if judging is not None:
        results["teachers"] = [
            judge(before, data, judging, str(start), "before"),
            judge(after, data, judging, str(context.directory), "after"),
        ]
        write_json(results, context.directory.results)
    return results, context


def _write(target: Path, content: bytes) -> None:
    atomic_write(target, lambda file: file.write(content) and None)


def norm_curve(teacher: Teacher) -> dict[str, Any]:
    """Return the norms of the latents over the steps as a curve for the report; none where the teacher kept none."""
    path = teacher.metadata.get("path")
    if not path:
        return {}
    curve = {
        "x": path["step"],
        "y": path["norm_mean"],
        "lower": path["norm_min"],
        "upper": path["norm_max"],
        "reference": path["radius"],
        "x_label": "step of the search",
        "y_label": "norm of the latents",
        "caption": "Mean norm, with a band from the smallest to the largest. Dashed: the sphere's radius, the square "
        "root of the latent size.",
    }
    return {"latent norm": curve}


def side_by_side(before: Teacher, after: Teacher, titles: tuple[str, str] = ("before", "after")) -> bytes:
    """Return a PNG with the images before on the left and after on the right, the same latents in the same places.

    Args:
        before: A teacher.
        after: The same latents later.
        titles: What stands above each.
    """
    import io

    from PIL import Image

    from gendistill.grids import drawn

    pictures = [drawn(grid_of(one), title) for one, title in zip((before, after), titles, strict=True)]
    gap = 24
    size = (pictures[0].width + gap + pictures[1].width, max(one.height for one in pictures))
    canvas = Image.new("RGB", size, "white")
    canvas.paste(pictures[0], (0, 0))
    canvas.paste(pictures[1], (pictures[0].width + gap, 0))
    buffer = io.BytesIO()
    canvas.save(buffer, format="PNG")
    return buffer.getvalue()


def _judging(experiment: Experiment, words: Words, *, smoke: bool) -> argparse.Namespace:
    """Return how both teachers are judged: as the command line says, else in proportion to the scale."""
    options = Options(prog="gendistill latent-search")
    add_judging(options)
    run = experiment.options
    given = (SMOKE if smoke else FULL) | {name.removeprefix("--"): value for name, value in words.own}
    named = [f"--{name}={value}" for name, value in given.items()]
    return options.parse([*named, "--device", run.device, "--seed", str(run.seed)])
