"""``gendistill tensorboard``: TensorBoard on the runs."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from gendistill.commands.options import Options
from gendistill.errors import UserError


def parser() -> Options:
    """Return the command's options."""
    options = Options(prog="gendistill tensorboard", description="Open TensorBoard on the runs, until Ctrl-C.")
    options.add_argument(
        "--logdir", default="checkpoints", metavar="DIR", help="directory that holds the runs, or one run"
    )
    options.add_argument("--port", type=int, default=6006, metavar="N", help="port to serve on, 1 to 65535")
    options.add_argument("--host", default="localhost", metavar="NAME", help="address to serve on; 0.0.0.0 for all")
    return options


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill tensorboard``."""
    given = parser().parse(argv)
    if not 1 <= given.port <= 65535:
        raise UserError(f"--port is {given.port}, choose one from 1 to 65535")
    if not Path(given.logdir).is_dir():
        raise UserError(f"there is no directory '{given.logdir}'; give --logdir DIR with the runs in it")
    require_free(given.host, given.port)
    # Late: beside TensorFlow an early import can end the interpreter.
    from tensorboard import program

    from gendistill.runs.overview import write_overview

    try:
        write_overview(Path(given.logdir))
    except OSError as error:
        reason = error.strerror or str(error)
        print(f"note: HPARAMS shows every option and number ({given.logdir}: {reason})", file=sys.stderr)
    board = program.TensorBoard()
    board.configure(argv=["tensorboard", "--logdir", given.logdir, "--port", str(given.port), "--host", given.host])
    print(f"TensorBoard on {given.logdir}: {board.launch()}  (Ctrl-C ends it)", flush=True)
    threading.Event().wait()
    return 0


def require_free(host: str, port: int) -> None:
    """Make sure that a port can be served on.

    Raises:
        UserError: It is in use (a free one is named), or the address is not this machine's.
    """
    try:
        _try(host, port)
    except OSError as error:
        try:
            free = _try(host, 0)
        except OSError:
            raise UserError(f"cannot serve on '{host}': {error.strerror}; give an address of this machine") from error
        raise UserError(
            f"port {port} cannot be used ({_reason(error)}); choose another, such as --port {free}"
        ) from error


def _try(host: str, port: int) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As TensorBoard does it: a port whose last connection is just closing counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return int(probe.getsockname()[1])


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
