"""The program ``gendistill``: one subcommand a tool.

Subcommands are imported only when they are called, so that ``gendistill --help`` does not wait for torch.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from gendistill import budget, notes
from gendistill.allocation import keep_freed_memory
from gendistill.errors import GendistillError, UserError, did_you_mean
from gendistill.own_trainers import use_own
from gendistill.plain import readable
from gendistill.runs.signals import Interrupted, Told, leave, obeyed, raise_swallowed, unanswered
from gendistill.spelling import of_command, of_config, written
from gendistill.visible import guarded, sentence, visible

DISTRIBUTED = ("train", "latent-search")
"""The commands that several processes under torchrun share; every other one is done by the first process alone."""

OF_CONFIGS = ("train", "latent-search", "replicate", "sweep", "privacy")
"""The commands whose options are keys of a config: ``--data.image_size``, not ``--image-size``."""

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The disk is full, the user's share of it is, the file is larger than allowed."""

COMMANDS = {
    "quickstart": ("gendistill.commands.quickstart", "run the main job on the embedded digits, end to end"),
    "train": ("gendistill.commands.train", "train a teacher from a config"),
    "latent-search": ("gendistill.commands.latent_search", "search a generator's latent space for images that teach"),
    "evaluate": ("gendistill.commands.evaluate", "judge one teacher: how well it teaches, how real it looks"),
    "compare": ("gendistill.commands.compare", "judge several teachers and rank them in one table"),
    "replicate": ("gendistill.commands.replicate", "run an experiment of the literature, reported beside measured"),
    "sweep": ("gendistill.commands.sweep", "train and judge a config for several values of one option, and plot them"),
    "nas": ("gendistill.commands.nas", "rank architectures by a few steps on a teacher, and find the best"),
    "poison": ("gendistill.commands.poison", "measure a poisoned teacher, and try to find it out"),
    "adapt": ("gendistill.commands.adapt", "measure images that adapt networks trained on another data set"),
    "condensation": ("gendistill.commands.condensation", "measure condensed batches beside their controls"),
    "practise": ("gendistill.commands.practise", "let a generator make what a learner finds hard, while it trains"),
    "privacy": ("gendistill.commands.privacy", "train on private images that stay at their sites (PrivacyGAN)"),
    "export": ("gendistill.commands.export", "write a teacher as PNG folder, .pt pair, Parquet or safetensors"),
    "tokens": ("gendistill.commands.tokens", "print the words nearest to a distilled text's sentences"),
    "import": ("gendistill.commands.import_teacher", "read results of the public code of DC, DSA, DM, MTT and DD"),
    "verify": ("gendistill.commands.verify", "does a published set give the published number, and if not, why?"),
    "diagnose": ("gendistill.commands.diagnose", "has a generator collapsed, and how? class by class, with pictures"),
    "audit": ("gendistill.commands.audit", "what does a teacher tell of the images that it was made from?"),
    "report": ("gendistill.commands.report", "write a self-contained HTML report of results"),
    "doctor": ("gendistill.commands.doctor", "what is installed and found here, what is missing and how to get it"),
    "configs": ("gendistill.commands.configs", "list the configs that come with the project, or copy one"),
    "trainers": ("gendistill.commands.trainers", "list the trainers, one line each, with their pages"),
    "completion": ("gendistill.commands.completion", "print a script that completes commands and options in a shell"),
    "torchrun": ("gendistill.commands.torchrun", "start several processes that train one model together"),
    "tensorboard": ("gendistill.commands.tensorboard", "open TensorBoard on the runs"),
}

UNITS = {"judge-part": "gendistill.commands.judge_part", "nas-part": "gendistill.commands.nas_part"}
"""Commands that this program gives itself on other machines."""


def usage() -> str:
    """Return the overview that ``gendistill --help`` prints."""
    lines = [
        "usage: gendistill COMMAND [OPTIONS]",
        "",
        "Make and judge teachers: small synthetic data sets and generators.",
        "",
    ]
    lines += [f"  {name:<15}{summary}" for name, (_, summary) in COMMANDS.items()]
    lines += [
        "",
        f"Every command takes {budget.OPTION} N: the megabytes of memory to which a file that you trust may expand",
        f"(usually {budget.MULTIPLE} times its size and {budget.words(budget.CONSTANT)}).",
    ]
    lines += ["", "gendistill COMMAND --help shows a command's options; gendistill -V shows the version."]
    return "\n".join(lines)


@guarded()
def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Args:
        argv: The words after the program's name; ``None`` takes them from the process.

    Returns:
        Exit code: 0 done, 2 the user's mistake, 1 the program's failure, 130 interrupted, 143 terminated, 129 hung up.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    # One of several processes that has no step to end dies of a signal as any program does: while it waits for the
    # others no handler would be called.
    if _among_several(arguments):
        # Of a store that is gone with its launcher torch says forty lines; read when torch is imported.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        return _main(arguments)
    with obeyed():
        return _main(arguments)


def program(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one subcommand and end the process; see :func:`main`."""
    leave(main(argv))


def _main(arguments: list[str]) -> int:
    try:
        _refuse_unreadable(arguments)
        with budget.taken_from(arguments):
            done = _dispatch(arguments)
        sys.stdout.flush()  # here, where a full disk or a reader that has gone is still told apart from success
        return done
    except Interrupted as error:
        return _say(error, error.exit_code)
    except GendistillError as error:
        return _told_to_stop() or _say(error, error.exit_code)
    except SystemExit as leaving:  # argparse leaves this way after --help
        return leaving.code if isinstance(leaving.code, int) else 0
    except KeyboardInterrupt as stop:
        return _interrupted(stop.signal_number if isinstance(stop, Told) else signal.SIGINT)
    except BrokenPipeError:  # the reader of our output has gone, as in `gendistill ... | head`
        _silence()
        return 1
    except BaseException as error:
        if isinstance(code := getattr(error, "exit_code", None), int):
            return _say(error, code)
        if isinstance(error, OSError) and error.errno in DISK:
            _silence()
            where = f"'{error.filename}'" if error.filename else "the output"
            reason = (error.strerror or str(error)).lower()
            return _say(OSError(f"{where} could not be written ({reason}); free some space or choose another place"), 1)
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            return _say(UserError(f"'{visible(str(error.filename), 80)}' is too long for the name of a file"), 2)
        if (asked := budget.out_of_memory(error)) is not None:
            return _say(UserError(asked), UserError.exit_code)
        if (code := _told_to_stop()) is not None:
            return code
        traceback.print_exc()
        return 1


def _told_to_stop() -> int | None:
    """Return the exit code of a signal of which a package that was being imported has made another error."""
    number = unanswered()
    return None if number is None else _interrupted(number)


def _interrupted(number: int) -> int:
    if os.environ.get("RANK", "0") == "0":
        _tell("interrupted; give the same command again")
    return 128 + number


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if arguments else 2
    name = arguments[0]
    if name in ("--version", "-V", "version"):
        from gendistill import __version__

        print(f"gendistill {__version__}")
        return 0
    if name not in COMMANDS and name not in UNITS:
        what = "option" if name.startswith("-") else "command"
        hint = did_you_mean(name, COMMANDS)
        raise UserError(f"gendistill has no {what} '{name}'; {hint}it has the commands: {', '.join(COMMANDS)}")
    if name not in DISTRIBUTED and not _alone():
        return 0
    keep_freed_memory()
    notes.begin()
    use_own()
    command = importlib.import_module(UNITS[name] if name in UNITS else COMMANDS[name][0])
    raise_swallowed()
    with written(of_config if name in OF_CONFIGS else of_command):
        return int(command.main(arguments[1:]))


def _refuse_unreadable(arguments: list[str]) -> None:
    """Refuse names that no config, result or report could hold, before anything is made of them."""
    for word in arguments:
        if readable(word) != word:
            raise UserError(f"'{readable(word)}' is not UTF-8; rename the file or folder")


def _among_several(arguments: list[str]) -> bool:
    """Tell whether this process makes one model together with others."""
    return bool(arguments) and arguments[0] in DISTRIBUTED and os.environ.get("WORLD_SIZE", "1") != "1"


def _alone() -> bool:
    """Tell whether this process is the only one or the first, which then forgets the others."""
    ranks = [os.environ.pop(name, "0") for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")]
    return ranks[0] == "0"


def _silence() -> None:
    """Let nothing more be written to stdout, not even when the interpreter ends."""
    with contextlib.suppress(OSError, ValueError):  # stdout may be no file, as in a test
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(error: BaseException, code: int) -> int:
    """Print an error as one line, whatever line breaks were in it."""
    said = sentence(readable(str(error)))
    _tell(f"error: {said if code > 128 else _once(said)}")  # where a signal came the first process alone tells
    return code


def _tell(line: str) -> None:
    start = "\n" if getattr(sys.stderr, "within_line", False) else ""
    with contextlib.suppress(OSError):  # the terminal was closed
        sys.stderr.write(f"{start}{line}\n")  # in one piece: other processes may write there, too
        sys.stderr.flush()


def _once(said: str) -> str:
    """Return what one of several processes says, of which each has the same sentence to say."""
    rank = os.environ.get("RANK", "0")
    if os.environ.get("WORLD_SIZE", "1") == "1" or said.startswith(f"process {rank} stops"):
        return said
    from gendistill.runs.partners import Partners

    if not Partners.from_environment().first_to_say(said):
        return f"process {rank} stops for the same reason as another"
    return said if "process " in said or rank == "0" else f"process {rank}: {said}"


if __name__ == "__main__":
    program()
