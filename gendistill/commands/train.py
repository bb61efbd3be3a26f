"""``gendistill train``: build the trainer of a config, load its data, run the loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gendistill.commands.output import result_only, to_json
from gendistill.config.command_line import assemble, take_apart
from gendistill.config.experiment import Experiment
from gendistill.config.help import show
from gendistill.errors import DivergenceError, UserError
from gendistill.sources import options
from gendistill.spelling import typed
from gendistill.words import counted
from gendistill.yaml_file import dump_yaml

TEXTS = ("toytext", "text")
"""Data sets of sentences, named here so that --help need not wait for torch."""
SENTENCES = 20
"""Distilled sentences that are printed at the end of a run."""
SUMMARY = "Train a teacher. A run that was interrupted is continued by the same command."


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill train``."""
    words = take_apart(argv)
    if words.positional:
        raise UserError(
            f"gendistill train takes no argument '{words.positional[0]}'; write --config FILE or --KEY VALUE"
        )
    if "--help" in words.flags:
        alone = words.trainer is not None and not (words.configs or words.overrides or words.scale)
        from_source = words.trainer if alone and options(str(words.trainer)) is not None else None
        chosen = from_source or (assemble(words) if words.configs or words.trainer else None)
        print(show("train", SUMMARY, chosen))
        return 0
    experiment = assemble(words)
    if "--print_config" in words.flags:
        print(dump_yaml(experiment.to_dict()), end="")
        return 0
    with result_only("--json" in words.flags):
        context = run_experiment(experiment)
        announce(context, experiment.to_dict()["data"])
    if "--json" in words.flags and context.processes.main:
        print(to_json(summary(context)))
    if context.useless is not None and context.processes.main:
        raise DivergenceError(f"the teacher is of no use: {context.useless} (it is written, and says so itself)")
    return 0


def run_experiment(
    experiment: Experiment,
    trainer: Any = None,
    data: Any = None,
    *,
    callbacks: Sequence[Any] = (),
    loggers: Sequence[Any] = (),
) -> Any:
    """Run an experiment to its end, or continue it.

    Args:
        experiment: What to run.
        trainer: The trainer, when the caller has built it to ask it something afterwards.
        data: The real data, when the caller has loaded it; None: it is loaded as the experiment says.
        callbacks: See :func:`gendistill.runs.loop.train`.
        loggers: See there.

    Returns:
        The :class:`gendistill.runs.context.RunContext` of the finished run.

    Raises:
        UserError: Options, data or an earlier run's directory do not fit.
    """
    from gendistill.runs.loop import train

    config = experiment.to_dict()
    trainer = trainer or experiment.build_trainer()
    if data is None:
        data = experiment.load_data if getattr(trainer, "reads_in_part", False) else experiment.load_data()
    return train(trainer, data, experiment.options, config=config, callbacks=callbacks, loggers=loggers)


def announce(context: Any, data: Mapping[str, Any]) -> None:
    """Say where the run's files are and how to look at them, with the options that give the same data."""
    if not context.processes.main:
        return
    directory = context.directory
    print(f"run      {directory}  ({counted(context.step, 'step')})")
    print(f"teacher  {directory.teacher}")
    if (promised := promise_of(context)) is not None:
        print(f"privacy  {promised}")
    print(f"judge    {typed('evaluate', str(directory), **data)}")
    print(f"curves   {typed('tensorboard', '--logdir', str(context.options.root))}")
    if data["name"] in TEXTS:
        from gendistill.teacher import load
        from gendistill.teacher.sentences import listing

        print(f"words    {typed('tokens', str(directory))}")
        print(listing(load(directory.teacher), count=SENTENCES), end="")


def promise_of(context: Any) -> str | None:
    """Return what the teacher of a run promises, None where its method promises nothing."""
    from gendistill.privacy.promise import KEY, sentence
    from gendistill.teacher.files import describe

    noted = describe(context.directory.teacher)["metadata"].get(KEY)
    return None if noted is None else sentence(noted)


def summary(context: Any) -> dict[str, Any]:
    """Return what ``--json`` prints of a finished run."""
    return {
        "run": str(context.directory),
        "teacher": str(context.directory.teacher),
        "steps": context.step,
        "metrics": dict(context.metrics),
        "warnings": list(context.warnings),
    }
