"""``gendistill privacy``: PrivacyGAN across sites, each with a process and a certificate of its own."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gendistill.commands.options import Options, positive
from gendistill.config.command_line import Words, assemble, take_apart
from gendistill.config.experiment import Experiment
from gendistill.errors import UserError, did_you_mean
from gendistill.federated import HONEST

HELP = f"""usage: gendistill privacy certificates DIR --sites NAMES [--host NAME ...] [--days N]
       gendistill privacy serve --config FILE --certificates DIR/server [--address HOST:PORT]
       gendistill privacy join  --config FILE --certificates DIR/SITE --server HOST:PORT

Train generators at a server on private images that stay at their sites (PrivacyGAN, Wu 2022). The same command goes on
where it was interrupted.

{HONEST}

certificates: test certificates of a new run; each side gets its own folder and nothing else
  --sites NAMES        north,south,west
  --host NAME          name or address by which sites reach the server; may be repeated (default: localhost, 127.0.0.1)
  --days N             for which they are valid (default: 30)

serve and join take every option of gendistill train, and
  --certificates DIR   folder of this side
  --share WHO          simulation: use only a part of the data set: server, or the number of a site, 0, 1, ...
serve
  --address HOST:PORT  where to listen (default: 0.0.0.0:8443; port 0: any)
  --sites NAMES        who may join (default: those of the certificates)
join
  --server HOST:PORT   where the server is
  --patience SECONDS   how long to wait for a server that is away (default: 600)
  --transcript FILE    append every message that leaves or arrives, as it travels within TLS"""

PARTS = ("certificates", "serve", "join")
TRAINER = "trainers.privacy_gan.PrivacyGANTrainer"


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill privacy``."""
    words = list(argv)
    if not words or "--help" in words or "-h" in words:
        print(HELP)
        return 0 if words else 2
    part = words.pop(0)
    if part not in PARTS:
        hint = did_you_mean(part, PARTS)
        raise UserError(f"'{part}' is no part of gendistill privacy; {hint}choose one of {', '.join(PARTS)}")
    if part == "certificates":
        return _certificates(words)
    return _serve(words) if part == "serve" else _join(words)


def _certificates(words: Sequence[str]) -> int:
    parser = Options(prog="gendistill privacy certificates")
    parser.add_argument("folder", metavar="DIR")
    parser.add_argument("--sites", required=True)
    parser.add_argument("--host", action="append")
    parser.add_argument("--days", type=positive, default=30)
    given = parser.parse(words)
    from gendistill.federated.certificates import make

    sites = [site for site in given.sites.split(",") if site]
    make(Path(given.folder), sites, given.host or ["localhost", "127.0.0.1"], given.days)
    print(f"certificates of a run in {given.folder}, valid for {given.days} days")
    for side in ("server", *sites):
        print(f"  {given.folder}/{side:<12} give it to {'the server' if side == 'server' else f'site {side}'} alone")
    return 0


def _serve(argv: Sequence[str]) -> int:
    words, own = _own(argv, ("--certificates", "--share", "--address", "--sites"))
    experiment, trainer = _experiment(words, "serve")
    from gendistill.federated.certificates import read, sites_of
    from gendistill.federated.serving import serve

    folder = Path(_needed(own, "--certificates", "the server's folder, such as certificates/server"))
    identity = read(folder)
    sites = [site for site in own["--sites"].split(",") if site] if "--sites" in own else sites_of(folder)
    trainer.clients = len(sites)
    trainer.shares = _shares(trainer, len(sites))
    data = experiment.load_data()
    if (share := own.get("--share")) is not None:
        if share != "server":
            raise UserError(f"--share is '{share}'; gendistill privacy serve takes: server")
        data = trainer.shares.of_server(data, experiment.options.seed)
    directory = serve(
        trainer, data, experiment.options, experiment.to_dict(), identity=identity,
        address=own.get("--address", "0.0.0.0:8443"), sites=sites,
    )  # fmt: skip
    print(f"teacher  {directory.teacher}")
    print(f"sites    {directory.path}/sites/NAME/teacher.safetensors")
    print(f"traffic  {directory.path}/traffic.json")
    return 0


def _join(argv: Sequence[str]) -> int:
    words, own = _own(argv, ("--certificates", "--share", "--server", "--patience", "--transcript"))
    experiment, trainer = _experiment(words, "join")
    from gendistill.federated.certificates import read
    from gendistill.federated.joining import PATIENCE, join

    identity = read(Path(_needed(own, "--certificates", "this site's folder, such as certificates/north")))
    server = _needed(own, "--server", "the server's address, such as server.example.org:8443")
    patience = _number(own, "--patience", PATIENCE)
    share = own.get("--share")
    if share is None:
        _own_seed(experiment)
    data, number = experiment.load_data(), 0
    if share is not None:
        number = int(share) if share.isdigit() else -1
        if not 0 <= number < trainer.clients:
            raise UserError(f"--share is '{share}'; give the number of a site, 0 to {trainer.clients - 1}")
        data = _shares(trainer, trainer.clients).of_site(data, number, experiment.options.seed)
    site = join(
        trainer, data, experiment.options, experiment.to_dict(), identity=identity, address=server, number=number,
        patience=patience, transcript=Path(own["--transcript"]) if "--transcript" in own else None,
    )  # fmt: skip
    travelled = site.traffic.to_dict()
    print(f"site {identity.name}: {site.round} rounds, {travelled['bytes'] / 2**20:.1f} MiB travelled in this part")
    if site.sanitiser is not None:
        spent = site.sanitiser
        print(
            f"feedback clipped to {spent.clip:g}, noise {spent.sigma:g}: {spent.releases} releases, epsilon "
            f"{spent.epsilon:.4g} at delta {spent.delta:g} (zCDP, replaced record, no amplification)"
        )
    if (spending := getattr(site.half, "spending", None)) is not None:
        print(f"discriminator by DP-SGD: {spending()}")
    return 0


def _own(argv: Sequence[str], names: Sequence[str]) -> tuple[Words, dict[str, str]]:
    """Take this command's own options out of the words."""
    words = take_apart(argv, own=names)
    own = dict(words.own)
    if words.positional:
        raise UserError(f"'{words.positional[0]}' belongs to no option; write --config FILE or --KEY VALUE")
    return words, own


def _experiment(words: Words, part: str) -> tuple[Experiment, Any]:
    from gendistill.federated import extra
    from gendistill.federated.sides import Divisible

    extra.require()
    experiment = assemble(words, TRAINER)
    trainer = experiment.build_trainer()
    if not isinstance(trainer, Divisible):
        raise UserError(
            f"{experiment.class_path} cannot be divided among a server and sites; choose {TRAINER}, or leave it out"
        )
    return experiment, trainer


def _own_seed(experiment: Experiment) -> None:
    """Draw a site's seed, which nobody else knows, or take the one that it drew before."""
    if "seed" in experiment.run:
        return
    from gendistill.runs.directory import RunDirectory

    options = experiment.options
    known = RunDirectory(options.root, options.name).read_config() or {}
    seed = known.get("run", {}).get("seed") if isinstance(known.get("run"), dict) else None
    experiment.run["seed"] = seed if isinstance(seed, int) else secrets.randbits(48)


def _shares(trainer: Any, sites: int) -> Any:
    from dataclasses import replace

    return replace(trainer.shares, sites=sites)


def _needed(own: dict[str, str], option: str, what: str) -> str:
    if option not in own:
        raise UserError(f"give {option}: {what}")
    return own[option]


def _number(own: dict[str, str], option: str, default: float, read: Callable[[str], float] = float) -> float:
    try:
        found = read(own[option]) if option in own else default
    except ValueError:
        found = -1.0
    if not 0 <= found < 10**6:
        raise UserError(f"{option} is '{own[option]}'; give seconds, 0 or more")
    return found
