"""``gendistill torchrun``: start several processes that train one model, and end in a sentence where one of them does.

It is torchrun itself. Started by its own name it adds forty lines to what the processes say when one of them ends.
"""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from gendistill.errors import GendistillError, UserError

TOGETHER = ("train", "latent-search")
"""The commands that several processes share."""
EACH = "--nproc-per-node"
HELP = """usage: gendistill torchrun [OPTIONS OF TORCHRUN] train|latent-search [OPTIONS]

Start processes that make one model together, on one machine or on several. It is torchrun, with the same options
(torchrun --help), but when a process dies, hangs or fails one sentence says which, in which step, what is kept and how
to go on. docs/command-line.md, "Several processes", has more.

options, among others:
  --standalone            one machine alone (default where no rendezvous is named)
  --nproc-per-node N      processes on this machine (default: one for each GPU, 1 on a CPU)
  --nnodes N              machines (default: 1)

and of train:
  --link-timeout SECONDS  how long a process waits for another one before the run ends (default: 600), --run.timeout"""


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill torchrun``."""
    place = next((at for at, word in enumerate(argv) if word in TOGETHER), len(argv))
    own, words = list(argv[:place]), list(argv[place:])
    if {"-h", "--help"} & set(own):
        print(HELP)
        return 0
    if not words:
        raise UserError(
            "gendistill torchrun starts a command that several processes share; write train or latent-search after its "
            "own options"
        )
    return launch(own, words)


def launch(own: Sequence[str], words: Sequence[str]) -> int:
    """Start the processes and wait for all of them.

    Args:
        own: Options of torchrun.
        words: The command for each process.

    Returns:
        The exit code of the first process that failed and could say why; 0 if none failed.

    Raises:
        GendistillError: One was killed before the others could tell, or machines did not find each other.
        UserError: The launcher does not take its options.
    """
    root = str(Path(__file__).resolve().parents[2])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    # One thread each unless it is said otherwise, as torchrun would choose with a warning.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    import torch
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous.api import RendezvousError

    # Each of its modules has set a level of its own.
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("torch.distributed.elastic")]:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    named = any(word.startswith(("--rdzv", "--master", "--standalone", "--nnodes")) for word in map(_dashed, own))
    counted = any(word.startswith(EACH) for word in map(_dashed, own))
    each = [] if counted else [f"{EACH}={'gpu' if torch.cuda.is_available() else 1}"]
    given, own = own, [*([] if named else ["--standalone"]), *each, *own]
    try:
        arguments = run.parse_args([*own, "-m", "gendistill.cli", *words])
    except SystemExit as leaving:
        return int(leaving.code or 0)
    try:
        run.run(arguments)
    except ChildFailedError as error:
        rank, first = error.get_first_failure()
        codes = [one.exitcode for one in (first, *error.failures.values()) if one.exitcode > 0]
        if codes:
            return codes[0]
        # Nobody was left who could have said it.
        raise GendistillError(
            f"process {rank} was ended by signal {-first.exitcode} before the first step; give the same command again: "
            f"{shlex.join(['gendistill', 'torchrun', *given, *words])}"
        ) from None
    except SignalException as stop:
        return 128 + int(stop.sigval)
    except RendezvousError as error:
        raise GendistillError(
            f"the machines did not find each other ({_words(error)}); what names the place where they meet and the "
            "number of machines (--nnodes) must be the same everywhere"
        ) from error
    except (AssertionError, ValueError) as error:  # of the launcher: what a process raises stays in it
        raise UserError(
            f"torchrun takes no {shlex.join(given)}{_words(error, ': ')}; give whole numbers from 1 for "
            "--nproc-per-node and --nnodes (torchrun --help)"
        ) from error
    return 0


def _words(error: BaseException, before: str = "") -> str:
    words = " ".join((str(error) or str(error.__cause__ or "")).split())[:200]
    return words and before + words


def _dashed(word: str) -> str:
    return "--" + word.lstrip("-").replace("_", "-") if word.startswith("-") else word
