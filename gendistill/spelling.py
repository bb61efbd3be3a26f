"""How an option of the data is written where a person is, so that advice can be typed as it stands.

One sentence is read in three places: a script, which gives an argument; a command with an option of its own,
``--image-size``; and a run of a config, whose option is ``--data.image_size``. Who calls the library for a person says
which of them it is; a sentence asks here. Every command reads all of these spellings (:func:`in_one_spelling`), and a
command that is printed is written by :func:`typed`.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from gendistill.errors import UserError

Form = Callable[[str], str]

WORDS = {"root": "--data-root", "name": "--dataset"}
"""Options of commands that are not called after their argument."""
LABELS = ",labels="
"""What stands between a teacher and the one whose labeller it gets."""
STORED = "@stored"
"""What stands behind the latter where each image gets a label of it once."""


def in_python(name: str) -> str:
    """Write an option as an argument of a function; the data set itself is what most functions call ``data``."""
    return "data" if name == "name" else name


def of_command(name: str) -> str:
    """Write an option as that of a command with options of its own: ``--image-size``."""
    return WORDS.get(name, f"--{name.replace('_', '-')}")


def of_config(name: str) -> str:
    """Write an option as that of a config's data: ``--data.image_size``."""
    return f"--data.{name}"


def in_one_spelling(word: str) -> str:
    """Return an option of whatever spelling as commands list it: ``--data.image_size`` is ``--image-size``.

    Args:
        word: An option without its value.
    """
    body = word.removeprefix("--").replace("-", "_")
    name = "name" if body in ("data", "dataset") else body.removeprefix("data.")
    return of_command(name) if body.startswith("data.") or body == "data" else f"--{body.replace('_', '-')}"


def require_one_spelling(options: Iterable[str], same: Callable[[str], str] = in_one_spelling) -> None:
    """Refuse two spellings of one option beside each other, of which nobody can say which is meant.

    Args:
        options: Options as they were typed, without values.
        same: Returns the same for spellings of one option.

    Raises:
        UserError: Two of them are one option.
    """
    known: dict[str, str] = {}
    for word in options:
        first = known.setdefault(same(word), word)
        if first != word:
            raise UserError(f"{first} and {word} are two spellings of one option; give it once")


def typed(command: str, *words: str, **data: Any) -> str:
    """Return a command of this program as it can be pasted into a shell.

    Args:
        command: The subcommand.
        *words: Its words, not quoted yet; paths do not look like options.
        **data: Options of the data, None where one is not given.
    """
    return shlex.join(["gendistill", command, *words, *data_words(data)])


def data_words(options: Mapping[str, Any]) -> list[str]:
    """Return options of the data as words of any command, not quoted; one that begins with a dash stays a value."""
    known = {name: str(value) for name, value in options.items() if value is not None and name != "seed"}
    pairs = [
        [f"{of_command(name)}={value}"] if value.startswith("-") else [of_command(name), value]
        for name, value in known.items()
    ]
    return [word for pair in pairs for word in pair]


_form: ContextVar[Form] = ContextVar("form", default=in_python)
_network: ContextVar[str | None] = ContextVar("network", default=None)


def option(name: str) -> str:
    """Return how an option of :func:`gendistill.data.load` is written here."""
    return _form.get()(name)


def judging_option(name: str) -> str:
    """Return how an option of judging is written here: ``--learner``, or ``learner`` in a script."""
    return name if _form.get() is in_python else of_command(name)


def source_option() -> str:
    """Return how the data set is named here that networks are trained on before the one they are adapted to."""
    return "--source" if _form.get() is of_command else "source"


def same_again(directory: object, *, fresh: bool = False) -> str:
    """Return what is given again to go on with a run, as a person gives it here: a command, or a call in a script.

    Args:
        directory: The run's.
        fresh: Whether it was told to discard what the directory held, which is left out then.
    """
    if _form.get() is in_python:
        return f"the same call with directory='{directory}'" + (" and without fresh" if fresh else "")
    return "the same command without run.fresh" if fresh else "the same command"


def same_judging() -> str:
    """Return what is given again to go on with an evaluation: a command, or a call in a script."""
    return "make the same call" if _form.get() is in_python else "give the same command"


@contextmanager
def written(form: Form) -> Iterator[None]:
    """Write options in this form while inside."""
    before = _form.set(form)
    try:
        yield
    finally:
        _form.reset(before)


def argument(name: str) -> str:
    """Return how an argument of the network that is built is written here: as an option where a config describes it."""
    network = _network.get()
    return name if network is None or _form.get() is in_python else f"--trainer.{network}.init_args.{name}"


@contextmanager
def network_of_trainer(name: str) -> Iterator[None]:
    """Write a network's arguments as those of this option of the trainer, such as ``generator``, while inside."""
    before = _network.set(name)
    try:
        yield
    finally:
        _network.reset(before)


@contextmanager
def written_of_source() -> Iterator[None]:
    """Write options as those of the data set that networks are trained on before the one they are adapted to."""
    form = _form.get()
    with written(_source_root if form is of_command else _in_source):
        yield


def _in_source(name: str) -> str:
    return f"{name} in trainer.source"


def _source_root(name: str) -> str:
    return "--source-root" if name == "root" else f"{name} in trainer.source when the teacher is made"
