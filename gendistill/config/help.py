"""``--help`` of a command that runs a trainer: every option with its meaning, type and present value."""

from __future__ import annotations

import argparse
import re
import textwrap

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from gendistill import sources
from gendistill.config.experiment import Experiment
from gendistill.config.recorded import tags
from gendistill.declared import accepted_arguments, declared_types, is_block
from gendistill.plain import plain

GENERAL = (
    ("--config FILE", "config in YAML; may be given several times, each laid over the one before"),
    ("--scale NAME", "lay the config's scale of that name over it, such as smoke, reduced or paper"),
    ("--trainer CLASS", "dotted path of the trainer; with --help, shows the options of that class"),
    ("--dataset NAME", "data set, or a folder of images (short for --data.name; default: digits)"),
    ("--data-root DIR", "where the data sets' files are (short for --data.root)"),
    ("--data.image_size N", "height and width in pixels that a folder's images are brought to (default: as they are)"),
    ("--data.channels N", "1 or 3: convert a folder's images to grey or colour (default: as they are)"),
    ("--data.background COLOUR", "what transparent pixels of a folder's images let through (default: white)"),
    ("--data.whitening EPS", "ZCA-whiten the images, with this epsilon, such as 0.1 (default: mean and deviation)"),
    ("--data.length N", "words of a text's sentence (default: what most have)"),
    ("--data.vocabulary N", "most frequent words of a text that are kept (default: 5000)"),
    ("--data.embedding WHAT", "numbers of a word's vector, learned, or a file in GloVe's form (default: 100)"),
    ("--data.text-column NAME", "column of a table that holds its texts, or its number from 1 (default: found out)"),
    ("--data.label-column NAME", "column of a table that holds the classes, or its number from 1 (default: found out)"),
    ("--max-expansion-mb N", "what a file that you trust may expand to in memory (default: 64 times its size + 256)"),
    ("--print_config", "print the complete config as YAML and leave"),
    ("--json", "print one JSON object on stdout, all else on stderr"),
)


ROLE = re.compile(r":[a-z]+:`[~.!]*([^`]+)`")
NO_DEFAULT = re.compile(r"( \(type:[^()]*?),\s+default:\s+null(?=\))")
NONE = re.compile(r"\bNone(?::|\s+for)\s")


class _Wide(DefaultHelpFormatter):
    """Wide enough for a sentence beside the option."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=112)


def show(command: str, summary: str, experiment: Experiment | str | None, positional: str = "") -> str:
    """Write the help text.

    Args:
        command: Name of the subcommand.
        summary: What it does, in a sentence.
        experiment: What the command line chose so far; a dotted path: that trainer of the project, read from its
            source, which takes no time; ``None`` when it names no trainer.
        positional: Words after the command's name that belong to no option.
    """
    usage = f"usage: gendistill {command} {positional}[--config FILE] [--scale NAME] [--KEY VALUE ...]"
    lines = [usage, "", summary, "", "options:"]
    lines += [f"  {option:<28}{meaning}" for option, meaning in GENERAL]
    lines += ["", _describe(experiment)]
    if isinstance(experiment, Experiment) and (logged := tags(experiment.trainer_class, experiment.init_args)):
        lines += ["Curves that it logs, in TensorBoard as train/<name>:", *_wrapped(logged), ""]
    if experiment is None:
        lines += ["The trainer's own options: gendistill train --config FILE --help, or --trainer CLASS --help."]
    lines += ["--trainer.KEY and --run.KEY may be written as --KEY where only one of them has it."]
    return "\n".join(lines)


def _wrapped(names: list[str]) -> list[str]:
    return textwrap.wrap(", ".join(names), 110, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)


def _describe(experiment: Experiment | str | None) -> str:
    from gendistill.runs.options import RunOptions

    parser = ArgumentParser(exit_on_error=False, usage=argparse.SUPPRESS, add_help=False)
    parser.formatter_class = _Wide
    parser.add_class_arguments(RunOptions, "run")
    if isinstance(experiment, str):
        _add_from_source(parser, experiment)
    elif experiment is not None:
        parser.add_class_arguments(experiment.trainer_class, "trainer")
        given = {f"run.{key}": value for key, value in experiment.run.items()}
        types = declared_types(experiment.trainer_class)
        shown = {action.dest.split(".")[1] for action in parser._actions if action.dest.startswith("trainer.")}
        for name, parameter in accepted_arguments(experiment.trainer_class).items():
            if name not in shown:  # of a base, which the parser has not followed
                simple = {"type": types[name]} if types.get(name) in (int, float, str) else {}
                parser.add_argument(f"--trainer.{name}", default=parameter.default, help="Of its base.", **simple)
        for key, value in experiment.init_args.items():
            block = is_block(types.get(key)) and isinstance(value, dict)
            given |= (
                {f"trainer.{key}.{entry}": plain(one) for entry, one in value.items()}
                if block
                else {f"trainer.{key}": plain(value)}
            )
        known = {action.dest for action in parser._actions}
        parser.set_defaults({key: value for key, value in given.items() if key in known})
    for action in parser._actions:
        if action.metavar == "CONFIG" or action.dest in ("run", "trainer"):
            action.help = argparse.SUPPRESS
        elif isinstance(action.help, str):
            action.help = words_alone(action.help)
    return NO_DEFAULT.sub(lambda found: found[1], words_alone(parser.format_help())).strip() + "\n"


def _add_from_source(parser: ArgumentParser, path: str) -> None:
    """Add the options of a trainer of the project without importing it."""
    group = parser.add_argument_group(sources.summary(path).rstrip("."))
    for option in sources.options(path) or ():
        kind = f"type: {option.kind}" if option.kind else ""
        default = "required" if option.default is None else f"default: {option.default}"
        said = ", ".join(word for word in (kind, default) if word and word != "default: None")
        text = f"{words_alone(option.meaning)} ({said})".strip().replace("%", "%%")
        name = option.name.rpartition(".")[2].upper()
        group.add_argument(f"--trainer.{option.name}", metavar=name, help=text, default=argparse.SUPPRESS)


def words_alone(text: str) -> str:
    """Return a docstring's text without the marks of reStructuredText, and without defaults that say nothing."""
    text = ROLE.sub(lambda found: found[1].rpartition(".")[2], text).replace("``", "")
    return NONE.sub(
        lambda found: "Without it: " if found[0][0] == "N" and _starts(text, found) else "without it: ", text
    )


def _starts(text: str, found: re.Match[str]) -> bool:
    """Tell whether a sentence starts with what was found."""
    return text[: found.start()].rstrip()[-1:] in ("", ".", "?")
