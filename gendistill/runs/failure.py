"""What is said when a run fails in the middle: which process, in which step, what is kept and how to go on."""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from pathlib import Path

import torch

from gendistill.errors import GendistillError
from gendistill.files import atomic_write
from gendistill.links.link import Spoiled
from gendistill.runs.checkpoint import noted_step
from gendistill.runs.context import RunContext
from gendistill.runs.partners import command_of_launcher, is_loss, is_timeout
from gendistill.runs.processes import StoppedByAnother
from gendistill.runs.signals import Interrupted, Told
from gendistill.spelling import same_again

OUT_OF_MEMORY = ("can't allocate memory", "CUDA out of memory", "out of memory")


class ProcessFailure(GendistillError):
    """A process of a run failed, or lost another one; the last saved state is kept."""


def failure(error: BaseException, run: RunContext) -> BaseException:
    """Return what is to be raised instead of an error that ends a run.

    One process alone keeps the traceback of a bug. Of several ones every one says one sentence, for each of them would
    print its own traceback between those of the others; the traceback is then in a file of the run.

    Args:
        error: What was raised.
        run: The run, at its last completed step.
    """
    several = run.processes.world > 1
    where = f"in step {run.step + 1} of {run.options.steps}"
    if isinstance(error, GendistillError):
        if several:
            run.processes.partners.leave_word()
        if isinstance(error, Spoiled):
            return ProcessFailure(f"{error} {where}; {kept(run)}: try a lower learning rate under another run.name")
        return error
    if isinstance(error, KeyboardInterrupt) and not several:
        number = error.signal_number if isinstance(error, Told) else signal.SIGINT
        line = f"interrupted before step {run.step + 1} of {run.options.steps}"
        return Interrupted(number, f"{line}; give {again(run)} again to go on from what '{run.directory}' holds")
    if several and is_loss(error):
        return _lost(error, run, where)
    if no_memory(error):
        if several:
            run.processes.partners.leave_word()
        advice = "a smaller batch, a smaller network or another run.device need less"
        return ProcessFailure(f"{_who(run)}memory ran out {where}; {kept(run)}; {advice}")
    if not several or not isinstance(error, Exception | SystemExit):
        return error
    run.processes.partners.leave_word()
    rank = run.processes.rank
    name = run.processes.partners.name(rank)
    if isinstance(error, SystemExit):
        return ProcessFailure(f"{name} left {where} (sys.exit, code {error.code}); {_again(run)}")
    said = " ".join(f"{type(error).__name__}: {error}".split())
    file = _keep_traceback(error, run)
    shown = f"; the traceback is in '{file}'" if file else ""
    return ProcessFailure(f"{name} failed {where} with {said}{shown}; {_again(run)}")


def no_memory(error: BaseException) -> bool:
    """Return whether there was not enough memory, of a GPU or of the machine."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)


def kept(run: RunContext) -> str:
    """Return what of a run is kept, in words."""
    saved = last_saved(run)
    if saved is None:
        return "no state was saved before it"
    return f"the last good state is kept in '{run.directory}' (step {saved})"


def last_saved(run: RunContext) -> int | None:
    """Return the step of the last saved state: of several processes one saves, and may do so as this one fails."""
    noted = noted_step(run.directory.state) if run.processes.world > 1 else 0
    return max(run.saved or 0, noted) or None


def again(run: RunContext) -> str:
    """Return what is to be given to go on."""
    if run.processes.world > 1:  # which a launcher started, and so a command
        return "the same command without run.fresh" if run.options.fresh else "the same command"
    return same_again(run.directory, fresh=run.options.fresh)


def exactly(run: RunContext) -> str:
    """Return the words that start several processes again, after a colon; nothing for one, or where not known."""
    words = command_of_launcher() if run.processes.world > 1 and not run.options.fresh else None
    return f": {words}" if words else ""


def _again(run: RunContext) -> str:
    what = "to start anew" if last_saved(run) is None else "to continue"
    return f"{kept(run)}; give {again(run)} again {what}{exactly(run)}"


def _lost(error: BaseException, run: RunContext, where: str) -> GendistillError:
    # The launcher ends those that are left, too; they have a sentence to say first.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    partners = run.processes.partners
    if is_timeout(error):
        partners.say_late()
    spoke, silent = partners.gone()
    rank = run.processes.rank
    if spoke:
        return StoppedByAnother(rank, spoke[0], name=partners.name(spoke[0]))
    others = " and ".join(map(partners.name, silent)) if silent else "another process"
    if partners.is_late() or is_timeout(error):
        for other in silent:
            partners.end(other)
        waited = f"{run.options.timeout:g} seconds"
        return ProcessFailure(f"{others} hangs {where}: the others waited {waited} for it (run.timeout); {_again(run)}")
    return ProcessFailure(f"{others} has ended without a word {where}, killed or out of memory; {_again(run)}")


def _who(run: RunContext) -> str:
    return f"{run.processes.partners.name(run.processes.rank)}: " if run.processes.world > 1 else ""


def _keep_traceback(error: BaseException, run: RunContext) -> Path | None:
    path = run.directory.path / f"failure-{run.processes.rank}.txt"
    text = "".join(traceback.format_exception(error))
    try:
        atomic_write(path, lambda file: file.write(text.encode()))
    except GendistillError:
        sys.stderr.write(text)
        return None
    return path
