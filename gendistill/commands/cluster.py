"""Many machines: units of work on a Dask cluster, whose results are put in place exactly once, here."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import ipaddress
import logging
import os
import pkgutil
import secrets
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from tqdm import tqdm

from gendistill import budget
from gendistill.commands.side_by_side import threads_each
from gendistill.commands.unit import Unit, on_worker, unlike, versions
from gendistill.errors import GendistillError, UserError
from gendistill.notes import note
from gendistill.visible import visible
from gendistill.words import counted

OPTIONS = ("--cluster", "--cluster-ca", "--cluster-cert", "--cluster-key", "--cluster-data-root")
FILES = {"--cluster-ca": "ca", "--cluster-cert": "cert", "--cluster-key": "key"}
HELP = """\
  --cluster ADDRESS   do the work on the workers of a Dask cluster, such as tls://host:8786, or local:N for N workers on
                      this machine (pip install 'gendistill[cluster]'; docs/cluster.md)
  --cluster-ca FILE, --cluster-cert FILE, --cluster-key FILE
                      certificates for tls:// (default: those of Dask's configuration)
  --cluster-data-root DIR
                      where workers have the data's files (default: what the run says)"""
LOCAL = "local:"
PATIENCE = 20
"""Seconds for a scheduler to answer."""
SECONDS_FOR_ONE_THAT_FITS = 20
"""Of waiting where all workers that have come are of other versions."""
SECONDS_BETWEEN_LOOKS, SECONDS_BETWEEN_LINES = 0.2, 15.0
SHOWN = 4
"""Units at work that a line names."""
HOW = (
    "give tls:// with --cluster-ca, --cluster-cert and --cluster-key (docs/cluster.md has the lines), for what is sent "
    "can run as you there"
)

Done = Callable[[Unit, dict[str, bytes]], None]
"""Puts in place what came back of a unit."""


@dataclass(frozen=True)
class Cluster:
    """Which cluster.

    Attributes:
        address: ``tls://host:port``, ``tcp://`` on this machine alone, or ``local:N``.
        ca: File with the certificate of the authority; None: that of Dask's configuration. Likewise the others.
        cert: File with this user's certificate.
        key: File with its key.
        data_root: Where workers have the files of data sets; None: where the run says.
    """

    address: str
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    data_root: str | None = None

    def __post_init__(self) -> None:
        if self.address.startswith(LOCAL):
            self.workers()
        elif self.protocol == "tcp" and not is_loopback(self.host):
            raise UserError(f"--cluster is '{visible(self.address, 80)}', which other machines can read; {HOW}")
        if self.protocol == "tcp" and (self.ca or self.cert or self.key):
            raise UserError(f"--cluster-ca and its like are for tls://, '{visible(self.address, 80)}' is not")
        for option, name in FILES.items():
            path = getattr(self, name)
            if path is not None and not Path(path).is_file():
                raise UserError(f"{option} is '{path}', where there is no file; docs/cluster.md says how to make it")
        if self.protocol == "tls" and not (self.named("ca-file", self.ca) and self.named("client.cert", self.cert)):
            raise UserError(
                f"'{visible(self.address, 80)}' needs certificates; give --cluster-ca, --cluster-cert and "
                "--cluster-key, or name them in Dask's configuration (docs/cluster.md)"
            )

    def named(self, what: str, given: str | None) -> str | None:
        """Return the file that is given, else that of Dask's configuration, else None."""
        if given is not None:
            return given
        found: str | None = dask_module("dask.config").get(f"distributed.comm.tls.{what}", None)
        return found

    @property
    def protocol(self) -> str:
        """``local``, ``tcp`` or ``tls``."""
        if self.address.startswith(LOCAL):
            return "local"
        name, between, _ = self.address.partition("://")
        if not between:
            return "tcp"
        if name not in ("tcp", "tls"):
            raise UserError(
                f"--cluster is '{visible(self.address, 80)}'; give tls://host:port, tcp://127.0.0.1:port or {LOCAL}N"
            )
        return name

    @property
    def host(self) -> str:
        """The scheduler's host."""
        host, colon, port = self.address.rpartition("://")[2].rpartition(":")
        if not colon or not host or not port.isdecimal():
            raise UserError(
                f"--cluster is '{visible(self.address, 80)}'; give the scheduler's address with its port, such as "
                f"tls://host:8786, or {LOCAL}N for N workers on this machine"
            )
        return host.strip("[]")

    def workers(self) -> int:
        """Return the number of workers of ``local:N``."""
        number = self.address.removeprefix(LOCAL)
        if not number.isdecimal() or not 1 <= int(number) <= 1024:
            raise UserError(f"--cluster is '{visible(self.address, 80)}'; write {LOCAL}N with N from 1, as in {LOCAL}2")
        return int(number)


def dask_module(name: str) -> Any:
    """Import a module of Dask.

    Raises:
        UserError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError("--cluster needs Dask distributed; pip install 'gendistill[cluster]'") from error


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, whatever a name server says."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a cluster."""
    group = parser.add_argument_group("cluster: many machines (docs/cluster.md)")
    group.add_argument("--cluster", metavar="ADDRESS", help="do the work on the workers of a Dask cluster, such as "
                       "tls://host:8786, or local:N for N workers on this machine; None: in this process")  # fmt: skip
    group.add_argument("--cluster-ca", metavar="FILE", help="certificate of the authority, for tls://; None: that of "
                       "Dask's configuration")  # fmt: skip
    group.add_argument("--cluster-cert", metavar="FILE", help="your certificate; None: likewise")
    group.add_argument("--cluster-key", metavar="FILE", help="your key; None: likewise")
    group.add_argument("--cluster-data-root", metavar="DIR", help="where workers have the data's files; None: where "
                       "the command says")  # fmt: skip


def cluster_of(own: Mapping[str, str | None], jobs: int | None = None) -> Cluster | None:
    """Return the cluster that a command's own options name.

    Args:
        own: Options as written and their values.
        jobs: What ``--jobs`` says; None: it was not given.

    Raises:
        UserError: They do not fit together, or both are given.
    """
    given = {option: own[option] for option in OPTIONS if own.get(option) is not None}
    address = given.pop("--cluster", None)
    if address is None:
        if given:
            raise UserError(f"{next(iter(given))} is for a cluster; give --cluster ADDRESS, too, or leave it out")
        return None
    if jobs is not None:
        raise UserError(
            "--jobs is for runs side by side on this machine and --cluster for workers elsewhere; give one of them (a "
            f"cluster has as many runs at once as its workers have threads; {LOCAL}N makes N workers here)"
        )
    named = {option.removeprefix("--cluster-").replace("-", "_"): value for option, value in given.items()}
    return Cluster(address, **named)


def cluster_of_namespace(given: argparse.Namespace) -> Cluster | None:
    """Return the cluster that the options of :func:`add_cluster` name."""
    return cluster_of({option: getattr(given, option[2:].replace("-", "_")) for option in OPTIONS})


class Crew:
    """The workers of a cluster, met when there is something to do.

    Args:
        cluster: Which.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._closing = contextlib.ExitStack()
        self._client: Any = None
        self._unfit: dict[str, str] = {}
        self._topic = f"gendistill-{secrets.token_hex(8)}"
        self._steps: dict[str, int] = {}

    def slots(self) -> int:
        """Return how many units are done at once, at least 1."""
        self._meet()
        return max(1, sum(int(self._workers()[one]["nthreads"]) for one in self._fit()))

    def run(self, units: Sequence[Unit], done: Done) -> None:
        """Do all units, each once, and put what comes back in place as it comes.

        Args:
            units: What to do; of two that are the same one is done.
            done: Called in this thread with a unit and the files that came back.

        Raises:
            UserError: A unit is refused by its own command: its sentence. The others are given up.
            GendistillError: A unit failed, or every worker that began it died.
            KeyboardInterrupt: A signal came; units at work are told to save and stop.
        """
        if not units:
            return
        self._meet()
        self._steps.clear()
        waiting: dict[Any, Unit] = {}
        try:
            for unit in {unit.digest: unit for unit in units}.values():
                waiting[self._submitted(unit)] = unit
            with self._shown(len(waiting), waiting) as show:
                while waiting:
                    for future in [one for one in waiting if one.done()]:
                        unit = waiting.pop(future)
                        if (again := self._finished(future, unit, done)) is not None:
                            waiting[again] = unit
                        future.release()
                    show()
                    time.sleep(SECONDS_BETWEEN_LOOKS if waiting else 0)
        finally:
            if waiting:
                with contextlib.suppress(Exception):
                    self._client.cancel(list(waiting), force=True)

    def close(self) -> None:
        """Leave the cluster; one of this machine ends."""
        self._client = None
        self._closing.close()

    def _submitted(self, unit: Unit) -> Any:
        key = f"{unit.name.replace(' ', '-')}-{unit.digest}-{secrets.token_hex(4)}"
        only = {"workers": self._fit(), "allow_other_workers": False} if self._unfit else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the size of what is sent, which is a teacher's
            return self._client.submit(
                on_worker,
                unit,
                versions(),
                key,
                self._topic,
                os.environ.get(budget.VARIABLE),
                key=key,
                pure=False,
                **only,
            )

    def _finished(self, future: Any, unit: Unit, done: Done) -> Any:
        """Take a unit's end; return another future where it is to be done elsewhere."""
        if future.status != "finished":
            raise self._lost(future, unit)
        result = future.result()
        where = visible(str(result.get("worker", "a worker")), 80)
        if "refused" in result:
            self._refuse(where, str(result["refused"]))
            return self._submitted(unit)
        if result.get("stopped"):
            return self._submitted(unit)
        if "error" in result:
            for line in str(result.get("tail") or "").splitlines():
                print(visible(line, 400), file=sys.stderr)
            sentence = f"{unit.name}, on {where}: {visible(str(result['error']), 2000)}"
            raise UserError(sentence) if result.get("code") == UserError.exit_code else GendistillError(sentence)
        done(unit, _checked(unit, result))
        return None

    def _lost(self, future: Any, unit: Unit) -> GendistillError:
        if future.status in ("cancelled", "lost"):
            return GendistillError(
                f"the scheduler at '{visible(self.cluster.address, 80)}' was lost; what came back is kept: start it "
                "again and give the same command"
            )
        error = future.exception() if future.status == "error" else None
        if type(error).__name__ == "KilledWorker":
            return GendistillError(
                f"{unit.name} was begun on several workers and each of them died; see that they have the memory for "
                "it, and give the same command again"
            )
        if isinstance(error, ImportError):
            return UserError(f"a worker cannot import what it needs ({error}); install this gendistill there, too")
        return GendistillError(f"{unit.name} failed on the cluster: {error or future.status}")

    def _meet(self) -> None:
        """Connect, wait for a worker, and leave out those of other versions."""
        if self._client is not None:
            return
        dask, distributed = dask_module("dask"), dask_module("distributed")
        # What happens to workers and connections is said here, in sentences.
        for name in ("distributed", "distributed.client", "distributed.nanny", "distributed.core"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._closing.enter_context(dask.config.set({"distributed.comm.timeouts.connect": f"{PATIENCE}s"}))
        address, security = self.cluster.address, self._security(distributed)
        if self.cluster.protocol == "local":
            # Dask writes what its workers' environment is to be into this process's own, for good.
            self._closing.callback(_put_back, dict(os.environ))
            self._closing.enter_context(dask.config.set({"distributed.nanny.pre-spawn-environ": {}}))
            threads = os.environ.get("OMP_NUM_THREADS", str(threads_each(self.cluster.workers())))
            address = self._closing.enter_context(
                distributed.LocalCluster(
                    n_workers=self.cluster.workers(), threads_per_worker=1, processes=True, host="127.0.0.1",
                    dashboard_address=None, memory_limit=0, security=security, protocol="tls://", silence_logs=50,
                    preload=[on_worker.__module__], env={"OMP_NUM_THREADS": threads},
                )
            )  # fmt: skip
        try:
            client = distributed.Client(
                address, security=security, timeout=PATIENCE, set_as_default=False, name="gendistill"
            )
        except (OSError, ValueError, TypeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"no scheduler answers at '{visible(self.cluster.address, 80)}' ({visible(reason, 200)}); start one "
                "with dask scheduler and give the address that it prints, and its certificates"
            ) from error
        self._client = self._closing.enter_context(client)
        client.subscribe_topic(self._topic, self._told)
        if not self._workers():
            note(
                f"no worker is at '{visible(self.cluster.address, 80)}' yet; start some with dask worker "
                f"{visible(self.cluster.address, 80)}"
            )
        while not self._workers():
            time.sleep(SECONDS_BETWEEN_LOOKS)
        # Workers that were started together come one after the other, and the first may be the one of another version.
        deadline = time.monotonic() + SECONDS_FOR_ONE_THAT_FITS
        self._look_at_versions()
        while self._unfit.keys() >= self._workers().keys() and time.monotonic() < deadline:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            if not self._unfit.keys() >= self._workers().keys():
                self._look_at_versions()
        self._fit()

    def _security(self, distributed: Any) -> Any:
        protocol, given = self.cluster.protocol, self.cluster
        if protocol == "tcp":
            return None
        if protocol == "local":
            try:
                # Other users of this machine shall not reach it either.
                return distributed.Security.temporary()
            except ImportError as error:
                raise UserError(f"--cluster {LOCAL}N needs cryptography; pip install 'gendistill[cluster]'") from error
        named = {"tls_ca_file": given.ca, "tls_client_cert": given.cert, "tls_client_key": given.key}
        # What is not given is that of Dask's configuration.
        return distributed.Security(
            require_encryption=True, **{name: value for name, value in named.items() if value is not None}
        )

    def _workers(self) -> dict[str, Any]:
        found: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        return found

    def _fit(self) -> list[str]:
        found = [one for one in self._workers() if one not in self._unfit]
        if not found:
            said = "; ".join(f"{where} has {what}" for where, what in self._unfit.items())
            raise UserError(f"no worker has the versions of this machine ({said}); install the same on all of them")
        return found

    def _refuse(self, where: str, what: str) -> None:
        if where not in self._unfit:
            note(f"the worker {where} is given nothing, for it has {what}")
        self._unfit[where] = what

    def _look_at_versions(self) -> None:
        here = versions()
        # Asked by functions that every Python has: an older gendistill has none of this module's.
        own = self._client.run(pkgutil.resolve_name, "gendistill:__version__", on_error="return")
        torch = self._client.run(importlib.metadata.version, "torch", on_error="return")
        for where in own:
            there = {
                name: value
                for name, value in (("gendistill", own[where]), ("torch", torch.get(where)))
                if isinstance(value, str)
            }
            if found := unlike(here, there):
                self._refuse(where, "; ".join(found))
            elif there["torch"] != here["torch"]:
                note(
                    f"the worker {where} has torch {there['torch']}, here it is {here['torch']}: last digits may differ"
                )

    def _told(self, event: Any) -> None:
        with contextlib.suppress(TypeError, KeyError, ValueError):
            said = event[1]
            self._steps[str(said["unit"])] = int(said["step"])

    @contextlib.contextmanager
    def _shown(self, total: int, waiting: Mapping[Any, Unit]) -> Iterator[Callable[[], None]]:
        """Give a function that shows how far the units are: a bar on a terminal, a line now and then elsewhere."""
        last = time.monotonic()
        bar = tqdm(total=total, desc="      cluster", unit="unit") if sys.stderr.isatty() else None

        def at_work() -> str:
            named = [(unit, self._steps.get(str(future.key))) for future, unit in list(waiting.items())]
            busy = [f"{unit.name} {step}/{unit.steps}" for unit, step in named if step is not None]
            return "   ".join(busy[:SHOWN]) + (f"   and {len(busy) - SHOWN} more" if len(busy) > SHOWN else "")

        def show() -> None:
            nonlocal last
            if bar is not None:
                bar.update(total - len(waiting) - bar.n)
                bar.set_postfix_str(at_work(), refresh=False)
            elif time.monotonic() - last >= SECONDS_BETWEEN_LINES or not waiting:
                last = time.monotonic()
                print(f"      {total - len(waiting)}/{counted(total, 'unit')}   {at_work()}".rstrip(), flush=True)

        try:
            yield show
        finally:
            if bar is not None:
                bar.close()


@contextlib.contextmanager
def crew(cluster: Cluster | None) -> Iterator[Crew | None]:
    """Lend the workers of a cluster; None for none."""
    if cluster is None:
        yield None
        return
    found = Crew(cluster)
    try:
        yield found
    finally:
        found.close()


def _checked(unit: Unit, result: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the files that came back: under names that were asked for, of bytes, and no larger than may be."""
    files = result.get("files")
    if not isinstance(files, dict):
        raise GendistillError(f"{unit.name} came back as {type(files).__name__} and not as files; look at the worker")
    for name, content in files.items():
        asked = isinstance(name, str) and ".." not in name.split("/") and not name.startswith("/")
        if not asked or not any(fnmatch(name, pattern) for pattern in unit.returned) or not isinstance(content, bytes):
            raise GendistillError(f"{unit.name} came back with '{visible(str(name), 80)}', which was not asked for")
    budget.check_memory(sum(map(len, files.values())), f"what came back of {unit.name}", "give the client more memory")
    return files


def _put_back(environment: Mapping[str, str]) -> None:
    """Let this process's environment be again what it was."""
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)
