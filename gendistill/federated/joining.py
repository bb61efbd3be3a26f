"""A site as a process: its own run's directory, rounds with the server, and patience while it is away."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from gendistill.data.fingerprint import contents
from gendistill.data.real import RealData
from gendistill.errors import GendistillError
from gendistill.federated.certificates import Identity
from gendistill.federated.messages import Refused
from gendistill.federated.over_grpc import Channel
from gendistill.federated.sanitise import Spent
from gendistill.federated.serving import opened
from gendistill.federated.sides import Divisible
from gendistill.federated.site import Site, Unreachable
from gendistill.federated.states import States
from gendistill.privacy.ledger import FILE_NAME
from gendistill.runs.context import RunContext
from gendistill.runs.device import choose_device
from gendistill.runs.directory import RunDirectory
from gendistill.runs.options import RunOptions
from gendistill.runs.progress import Progress
from gendistill.runs.signals import Interrupted, StopSignals
from gendistill.seeds import Streams

PATIENCE = 600.0
"""Seconds that a site waits for a server that is away."""
BETWEEN = 1.0
"""Seconds between two tries."""


def join(
    trainer: Divisible,
    data: RealData,
    options: RunOptions,
    config: Mapping[str, Any],
    *,
    identity: Identity,
    address: str,
    number: int = 0,
    patience: float = PATIENCE,
    transcript: Path | None = None,
) -> Site:
    """Make all rounds of one site, or go on with what the directory holds.

    Args:
        trainer: What is divided; the same as the server's.
        data: The private images. They, and the discriminator, are in this process and this directory alone.
        options: Of the run; steps and ``save_every`` are the server's.
        config: The complete configuration.
        identity: The site's certificate.
        address: Of the server.
        number: Of the site in a simulation, from which its seeds are derived.
        patience: Seconds to wait for a server that does not answer.
        transcript: File to which every message that leaves or arrives is appended as it travels within TLS, so that
            whoever is responsible can look; None: none.

    Returns:
        The site at its end.

    Raises:
        Refused: The server does not accept the site; the sentence says why.
        GendistillError: The server stays away, or the site's budget is spent.
        Interrupted: A signal came; the state is saved.
    """
    directory = opened(options, config)
    try:
        run = RunContext(options, directory, choose_device(options.device), Streams(options.seed))
        data = data.to(run.device)
        states = States(directory, contents(data))
        half = trainer.discriminator_half(run, data, number)
        terms = trainer.agreement(run, data)
        progress = Progress(options.steps, max(states.rounds, default=0), directory.log, options.progress, options.name)
        file: BinaryIO | None = open(transcript, "ab") if transcript is not None else None  # noqa: SIM115
        channel = Channel(identity, address, terms.largest)
        try:
            progress.say(f"note: {trainer.honest()}", always=True, once=True)
            sanitiser = trainer.sanitiser(directory.path / FILE_NAME, begun=bool(states.rounds))
            if sanitiser is not None:
                sanitiser.write()  # before the first state: from then on there is one
            site = Site(
                identity.run, terms, half, channel, states=states, sanitiser=sanitiser,
                say=lambda line: progress.say(line, above_bar=True),
                record=(lambda message: None) if file is None else (lambda message: _note(file, message)),
            )  # fmt: skip
            _rounds(site, directory, progress, options, patience)
            return site
        finally:
            channel.close()
            progress.close()
            if file is not None:
                file.close()
    finally:
        directory.unlock()


def _note(file: BinaryIO, message: bytes) -> None:
    file.write(message)
    file.flush()


def _rounds(site: Site, directory: RunDirectory, progress: Progress, options: RunOptions, patience: float) -> None:
    away: float | None = None
    began, first = time.monotonic(), site.round
    with StopSignals() as signals:
        while not site.done:
            if signals.received:
                site.save()
                line = (
                    f"interrupted after round {site.round} of {options.steps}; give the same command again to continue"
                )
                progress.say(line, on_screen=False)
                raise Interrupted(signals.received, f"{line} (saved in '{directory}')")
            try:
                before = site.round
                site.turn()
            except Unreachable as trouble:
                now = time.monotonic()
                if away is None:
                    away = now
                    progress.say(f"{trouble}; waiting for it, {patience:g} seconds at most", above_bar=True)
                if now - away > patience:
                    site.save()
                    raise GendistillError(
                        f"{trouble}, for {patience:g} seconds; round {site.round} is saved in '{directory}': see that "
                        "the server runs and give the same command again"
                    ) from trouble
                time.sleep(min(BETWEEN, patience))
                continue
            except (Refused, Spent):
                site.save()
                raise
            if away is not None:
                progress.say("the server answers again", above_bar=True)
                away = None
            if site.round > before:
                progress.advance()
                if site.round % options.log_every == 0 or site.done:
                    rate = (site.round - first) / max(time.monotonic() - began, 1e-9)
                    progress.report(site.round, site.half.metrics(), max(rate, 0.0))
