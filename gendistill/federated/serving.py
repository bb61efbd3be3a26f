"""The server as a process: a run's directory with one folder a site, and a hub that sites reach."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from gendistill.data.fingerprint import PARTS, contents
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.federated import HONEST
from gendistill.federated.certificates import Identity
from gendistill.federated.over_grpc import Server
from gendistill.federated.server import Hub, Seat
from gendistill.federated.sides import Divisible, GeneratorHalf
from gendistill.federated.states import States
from gendistill.files import atomic_write
from gendistill.plain import plain
from gendistill.runs.configuration import require_same
from gendistill.runs.context import RunContext
from gendistill.runs.device import choose_device
from gendistill.runs.directory import RunDirectory
from gendistill.runs.options import RunOptions
from gendistill.runs.progress import Progress
from gendistill.runs.signals import Interrupted, StopSignals
from gendistill.seeds import Streams
from gendistill.teacher import save

LINGER = 1.0
"""Seconds in which a site whose last answer was lost may still ask."""


def opened(options: RunOptions, config: Mapping[str, Any]) -> RunDirectory:
    """Claim a run's directory, and see that what it holds is the same run.

    Raises:
        UserError: Another process has claimed it, or it holds another run.
    """
    directory = RunDirectory(options.root, options.name)
    directory.make()
    directory.lock()
    try:
        if options.fresh:
            raise UserError("run.fresh is for runs of one process; choose another run.name, or take the folder away")
        if directory.config.exists():
            require_same(directory, plain(dict(config)))
        directory.write_config(plain(dict(config)))
    except BaseException:
        directory.unlock()
        raise
    return directory


def serve(
    trainer: Divisible,
    data: RealData,
    options: RunOptions,
    config: Mapping[str, Any],
    *,
    identity: Identity,
    address: str,
    sites: Sequence[str],
) -> RunDirectory:
    """Serve sites until all of them have made their rounds, or go on with what the directory holds.

    Args:
        trainer: What is divided.
        data: The server's own data, not private to any site.
        options: Of the run; its steps are rounds of each site.
        config: The complete configuration.
        identity: The server's certificate.
        address: Where to listen.
        sites: Who may join.

    Returns:
        The run's directory: ``teacher.safetensors`` of all generators, ``sites/NAME/teacher.safetensors`` of each,
        ``traffic.json``.

    Raises:
        UserError: Something does not fit.
        Interrupted: A signal came; all is saved.
    """
    directory = opened(options, config)
    try:
        run = RunContext(options, directory, choose_device(options.device), Streams(options.seed))
        progress = Progress(options.steps * len(sites), 0, directory.log, False, options.name)
        try:
            return _serve(trainer, data.to(run.device), run, progress, identity, address, sites)
        finally:
            progress.close()
    finally:
        directory.unlock()


def _serve(
    trainer: Divisible,
    data: RealData,
    run: RunContext,
    progress: Progress,
    identity: Identity,
    address: str,
    sites: Sequence[str],
) -> RunDirectory:
    def say(line: str) -> None:
        progress.say(line, on_screen=False, always=True)

    say(f"note: {HONEST}")
    known = contents(data)
    trainer.train_teacher(run, data)
    halves = trainer.generator_halves(run, data, len(sites))
    kept = {site: RunDirectory(run.directory.path / "sites", site) for site in sites}
    seats = {site: Seat(half, States(kept[site], known)) for site, half in zip(sites, halves, strict=True)}
    hub = Hub(identity.run, trainer.agreement(run, data), seats, say)
    if not hub.finished:
        server = Server(hub, identity, address, say)
        try:
            with StopSignals() as signals:
                say(f"listening at port {server.port} for {', '.join(sites)}")
                while not hub.wait(0.2) and not signals.received:
                    pass
                if not signals.received:
                    time.sleep(LINGER)
        finally:
            server.stop()
            hub.save()
            _write_traffic(run.directory, hub)
        if signals.received and not hub.finished:
            at = ", ".join(f"{site} at round {seat.round}" for site, seat in hub.seats.items())
            line = f"interrupted with {at} of {run.options.steps}; give the same command again to continue"
            say(line)
            raise Interrupted(signals.received, f"{line} (saved in '{run.directory}')")
    for site, half in zip(sites, halves, strict=True):
        _save_teacher(half, kept[site], known)
    mixed = trainer.mixed(list(halves))
    mixed.metadata.setdefault("data", {part: known[part] for part in PARTS})
    save(mixed, run.directory.teacher)
    for site, seat in hub.seats.items():
        if seat.failed:
            say(f"site '{site}' ended at round {seat.round}: {seat.failed}")
    say(f"all {len(sites)} sites have ended; {run.directory.teacher} has the teacher")
    return run.directory


def _save_teacher(half: GeneratorHalf, directory: RunDirectory, known: Mapping[str, Any]) -> None:
    teacher = half.teacher()
    teacher.metadata.setdefault("data", {part: known[part] for part in PARTS})
    save(teacher, directory.teacher)


def _write_traffic(directory: RunDirectory, hub: Hub) -> None:
    text = json.dumps({site: seat.traffic.to_dict() for site, seat in hub.seats.items()}, indent=2) + "\n"
    atomic_write(directory.path / "traffic.json", lambda file: file.write(text.encode()))
