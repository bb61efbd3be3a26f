"""Many machines: real workers on loopback, one of them killed; what is refused, and what a unit is."""

from __future__ import annotations

import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gendistill.cli import main
from gendistill.commands.cluster import Cluster, Crew, _checked, is_loopback
from gendistill.commands.side_by_side import started, threads_each
from gendistill.commands.unit import PLACE, Unit, _of_dask, do, unlike, versions
from gendistill.errors import GendistillError, UserError
from tests.same_teacher import alike

pytest.importorskip("distributed")

ROOT = Path(__file__).parents[2]
SLOW = """
import os, time
from users_picker import Picker

class Slow(Picker):
    \"\"\"Waits after its first step until a file is there.

    Args:
        gate: The file.
    \"\"\"
    def __init__(self, gate: str = "", **kwargs):
        super().__init__(**kwargs)
        self.gate = gate
    def train_step(self, batch):
        if self.step >= 1 and self.gate and not os.path.exists(self.gate):
            open(self.gate + ".begun-" + str(os.getpid()), "w").close()
            while not os.path.exists(self.gate):
                time.sleep(0.05)
        return super().train_step(batch)
"""
REPLICATION = """
trainer: {class_path: users_slow.Slow, init_args: {batch_size: 8}}
data: {name: digits}
run: {steps: 3, log_every: 1, save_every: 1, sample_every: 0, device: cpu, progress: false}
evaluation:
  seeds: 2
  learning: {updates: [1], seeds: 1, lr: 0.1, batch_size: 16}
scales:
  smoke: {run: {steps: 4}}
"""

SEARCH = """
teacher: real:ipc=2
space:
  class_path: gendistill.nets.spaces.MLPSpace
  init_args: {depths: [1], widths: [4, 16], activations: [relu]}
count: 2
updates: 3
lr: 0.1
baselines: false
truth: none
device: cpu
"""


class Machines:
    """A scheduler on loopback and its workers, each a process as a person would start it."""

    def __init__(self, place: Path, *security: str) -> None:
        self.security = security
        self.place, self.workers = place, list[subprocess.Popen[bytes]]()
        self.file = place / "scheduler.json"
        path = os.pathsep.join([str(ROOT), str(place)])
        self.environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TMPDIR": str(place / "tmp")}
        (place / "tmp").mkdir()
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        deadline = time.monotonic() + 900
        while not self.file.is_file() and time.monotonic() < deadline:
            time.sleep(0.05)
        self.address = json.loads(self.file.read_text())["address"]

    def _start(self, kind: str, *words: str, path: str | None = None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                f"distributed.cli.dask_{kind}",
                "--scheduler-file",
                str(self.file),
                *self.security,
                *words,
            ],
            cwd=self.place,
            env=self.environment | ({} if path is None else {"PYTHONPATH": path}),
            stdout=subprocess.DEVNULL,
            stderr=(self.place / f"{kind}.log").open("ab"),
        )

    def worker(self, path: str | None = None) -> subprocess.Popen[bytes]:
        words = ("--no-nanny", "--nthreads", "1", "--host", "127.0.0.1", "--no-dashboard")
        self.workers.append(self._start("worker", *words, path=path))
        return self.workers[-1]

    def stop(self) -> None:
        for process in (*self.workers, self.scheduler):
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()


@pytest.fixture
def machines(place: Path) -> Iterator[Machines]:
    (place / "users_slow.py").write_text(SLOW)
    found = Machines(place)
    try:
        yield found
    finally:
        found.stop()


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def without_time(value: Any) -> Any:
    if isinstance(value, dict):
        left = ("seconds", "cpu_seconds", "making", "path", "command")
        return {key: without_time(one) for key, one in value.items() if key not in left}
    return [without_time(one) for one in value] if isinstance(value, list) else value


def test_it_goes_on_after_ctrl_c_and_does_the_unit_of_a_killed_worker_again(
    place: Path, machines: Machines, run_json
) -> None:
    configs = place / "configs"
    configs.mkdir()
    (configs / "slow.yaml").write_text(REPLICATION)
    gate = place / "gate"
    machines.worker(), machines.worker()
    words = ["replicate", "slow", "--scale", "smoke", "--configs", "configs", "--trainer.gate", str(gate), "--json"]
    command = [sys.executable, "-m", "gendistill.cli", *words, "--root", "away", "--cluster", machines.address]

    def begin(already: int) -> tuple[subprocess.Popen[bytes], list[int]]:
        """Start the command, and return it with the processes of the two runs once they are in the middle."""
        running = subprocess.Popen(
            command, cwd=place, env=machines.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + 900
        while len(begun := list(place.glob("gate.begun-*"))) < already + 2 and time.monotonic() < deadline:
            assert running.poll() is None, running.communicate()[1].decode()
            time.sleep(0.05)
        return running, [int(path.name.rpartition("-")[2]) for path in begun]

    running, first = begin(0)
    try:
        running.send_signal(signal.SIGINT)
        # The runs save and end when their step is made; here it waits for the gate.
        errors = running.communicate(timeout=900)[1].decode()
        assert running.returncode == 130 and "give the same command again to go on" in errors
        time.sleep(2)
        gate.touch()
        deadline = time.monotonic() + 900
        while any(map(alive, first)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(map(alive, first))
        gate.unlink()
        running, both = begin(2)
        # Both workers are in the middle of a run each. One of them dies without a word, and its run with it.
        killed = machines.workers[0]
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        gate.touch()
        out, error_bytes = running.communicate(timeout=900)
    finally:
        if running.poll() is None:
            running.kill()
    errors = error_bytes.decode()
    assert running.returncode == 0, errors
    assert len(both) == 4 and killed.returncode == -signal.SIGKILL
    away = json.loads(out)
    here = run_json(*words, "--root", "here")
    assert without_time(away) == without_time(here)
    assert [one["name"] for one in away["teachers"]] == ["slow"]
    assert len(away["replicated"][0]["accuracy"]["runs"]) == 2
    for seed in range(2):
        run = f"replication/smoke/digits/slow/seed-{seed}"
        files = [place / root / run / "teacher.safetensors" for root in ("away", "here")]
        assert alike(*files)
        assert not (place / "away" / run / ".lock").exists()
    assert len(list((place / "away/replication/smoke/digits/evaluations").glob("*.json"))) == 2
    # Nothing is left to do: a cluster is not even looked for.
    again = run_json(*words, "--root", "away", "--cluster", "tcp://127.0.0.1:9")
    assert again == away


def test_two_workers_of_which_one_is_of_another_version_compare_as_one_process(
    place: Path, machines: Machines, run_json, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = place / "old" / "gendistill"
    old.mkdir(parents=True)
    (old / "__init__.py").write_text(f'__version__ = "0.0.9"\n__path__.append({str(ROOT / "gendistill")!r})\n')
    machines.worker(path=os.pathsep.join([str(old.parent), str(ROOT)]))
    words = ["compare", "real:ipc=1", "many=real:ipc=2", "--updates", "1,2", "--seeds", "1", "--lr", "0.1"]
    words += ["--device", "cpu", "--no-fidelity", "--json"]
    here = run_json(*words)
    crew = Crew(Cluster(machines.address))
    with monkeypatch.context() as patch:
        patch.setattr("gendistill.commands.cluster.SECONDS_FOR_ONE_THAT_FITS", 0)
        with pytest.raises(UserError, match="no worker has the versions of this machine"):
            crew.slots()
    crew.close()
    # One that fits and comes later is waited for.
    monkeypatch.setattr("gendistill.commands.cluster.SECONDS_FOR_ONE_THAT_FITS", 900)
    crew = Crew(Cluster(machines.address))
    looks = crew._look_at_versions

    def look() -> None:
        looks()
        if len(machines.workers) == 1:
            machines.worker()

    monkeypatch.setattr(crew, "_look_at_versions", look)
    try:
        assert crew.slots() == 1 and len(crew._unfit) == 1
    finally:
        crew.close()
    assert without_time(run_json(*words, "--cluster", machines.address)) == without_time(here)
    (place / "nas.yaml").write_text(SEARCH)
    apart = [run_json("nas", "--config", "nas.yaml", "--output", "here", "--json")]
    apart.append(run_json("nas", "--config", "nas.yaml", "--output", "away", "--json", "--cluster", machines.address))
    assert len(apart[0]["architectures"]) == 2
    assert without_time(apart[0]["architectures"]) == without_time(apart[1]["architectures"])
    assert apart[0]["found"] == apart[1]["found"]
    # What a unit says is what the command says here, in one sentence; it is not tried again.
    assert main([*words[:1], *words[2:], "--split", "tset", "--cluster", machines.address]) == 2
    said = capsys.readouterr().err
    assert "is given nothing, for it has gendistill 0.0.9, here it is" in said
    assert "did you mean 'test'?" in said and "judging many, on tcp://127.0.0.1:" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cluster", "tcp://10.0.0.7:8786"], "which other machines can read; give tls:// with --cluster-ca"),
        (["--cluster", "head.example:8786"], "which other machines can read"),
        (["--cluster", "tls://head.example:8786"], "needs certificates; give --cluster-ca"),
        (["--cluster", "tls://head.example:8786", "--cluster-ca", "no.pem"], "--cluster-ca is 'no.pem', where there"),
        (["--cluster", "127.0.0.1"], "give the scheduler's address with its port"),
        (["--cluster", "ucx://127.0.0.1:1"], "give tls://host:port, tcp://127.0.0.1:port or local:N"),
        (["--cluster", "local:0"], "write local:N with N from 1"),
        (["--cluster-ca", "ca.pem"], "--cluster-ca is for a cluster; give --cluster ADDRESS, too"),
        (["--cluster", "tcp://127.0.0.1:1", "--cluster-key", "k.pem"], "are for tls://"),
    ],
)
def test_addresses_that_are_refused(words: list[str], said: str, place: Path, capsys) -> None:
    for command in (["compare", "real:ipc=1"], ["sweep", "c.yaml", "--over", "run.steps=1,2"], ["nas", "real:ipc=1"]):
        assert main([*command, *words]) == 2
        assert said in capsys.readouterr().err
    assert not (place / "checkpoints").exists()


def test_jobs_and_a_cluster_are_two_things(place: Path, capsys) -> None:
    words = ["sweep", "c.yaml", "--over", "run.steps=1,2", "--jobs", "2", "--cluster", "local:2"]
    assert main(words) == 2
    assert "give one of them" in capsys.readouterr().err


def test_which_hosts_are_this_machine() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.8.9.1", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "10.0.0.1", "localhost.evil.example", "::", "")))


def test_versions_that_differ_are_named_and_a_builds_mark_is_none() -> None:
    here = {"gendistill": "0.2.0", "torch": "2.14.1+cpu"}
    assert unlike(here, {"gendistill": "0.2.0", "torch": "2.14.1+cu128"}) == []
    assert unlike(here, {"gendistill": "0.1.0", "torch": "2.14.1"}) == ["gendistill 0.1.0, here it is 0.2.0"]
    assert unlike(here, {}) == [
        "gendistill of no known version, here it is 0.2.0",
        "torch of no known version, here it is 2.14.1+cpu",
    ]
    refused = do(Unit("x", ("--version",)), versions() | {"torch": "0.1"}, lambda: True, lambda step: None)
    assert "here it is 0.1" in refused["refused"]


def test_a_unit_that_nobody_waits_for_ends_and_is_gone_on_with(place: Path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(place))
    unit = Unit("x", ("compare", PLACE), {"a/b.txt": b"b"})
    assert do(unit, versions(), lambda: False, lambda step: None) == {"stopped": True}
    (folder,) = place.glob("gendistill-units-*")
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / unit.digest / "a/b.txt").read_bytes() == b"b"


def test_a_unit_that_fails_says_with_what(place: Path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(place))
    (place / "users_broken.py").write_text(
        "import torch\nclass Broken(torch.nn.Module):\n    def __init__(self, **given):\n"
        "        raise RuntimeError('the disc is\\x1b[31m full')\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{place}{os.pathsep}{ROOT}")
    learner = "--learner=users_broken.Broken"
    unit = Unit("x", ("evaluate", "real", "--dataset=digits", "--updates=1", "--no-fidelity", learner), {})
    result = do(unit, versions(), lambda: True, lambda step: None)
    assert result["error"].startswith("it ended with exit code 1: RuntimeError: the disc is"), result
    assert result["tail"].splitlines()[-1] == result["error"].partition(": ")[2]


def test_workers_of_this_machine_leave_ctrl_c_and_the_environment_to_the_command(monkeypatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = dict(os.environ)
    crew = Crew(Cluster("local:1"))
    try:
        assert crew.slots() == 1
        (handler,) = crew._client.run(signal.getsignal, signal.SIGINT).values()
        (told,) = crew._client.run(lambda: dict(os.environ)).values()
    finally:
        crew.close()
    assert handler == signal.SIG_IGN
    assert dict(os.environ) == before
    assert not [name for name in told if name.startswith("MALLOC_") and name not in before]
    assert told["OMP_NUM_THREADS"] == str(threads_each(1))


def test_a_unit_keeps_memory_where_only_dask_said_how_it_is_handed_out(monkeypatch) -> None:
    assert _of_dask() == []
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")  # as a nanny starts its worker
    assert _of_dask() == ["MALLOC_TRIM_THRESHOLD_"]
    with tempfile.TemporaryFile() as errors:
        environments = []
        monkeypatch.setattr(subprocess, "Popen", lambda words, *, env, **more: environments.append(env))
        started(["-V"], 1, errors, without=_of_dask())
    assert "MALLOC_TRIM_THRESHOLD_" not in environments[0] and environments[0]["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")  # a person did
    assert _of_dask() == []


def test_what_comes_back_is_what_was_asked_for() -> None:
    unit = Unit("a run", (), {}, ("run/*.pt", "result.json"))
    good = {"result.json": b"{}", "run/state.pt": b""}
    assert _checked(unit, {"files": good}) == good
    for bad in ({"run/../../x.pt": b""}, {"/tmp/x": b""}, {"result.json": "text"}, {"other": b""}, {7: b""}):
        with pytest.raises(GendistillError, match="was not asked for"):
            _checked(unit, {"files": bad})
    with pytest.raises(GendistillError, match="and not as files"):
        _checked(unit, {"files": [1]})


def test_no_scheduler_is_one_sentence(place: Path, monkeypatch) -> None:
    monkeypatch.setattr("gendistill.commands.cluster.PATIENCE", 1)
    crew = Crew(Cluster("tcp://127.0.0.1:9"))
    with pytest.raises(UserError, match="no scheduler answers at 'tcp://127.0.0.1:9'"):
        crew.run([Unit("x", ())], lambda unit, files: None)
    crew.close()


def certificates(folder: Path) -> dict[str, str]:
    """Make an authority and one certificate, as docs/cluster.md does with openssl."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def made(name: str, issuer: Any, signer: Any, key: Any) -> Any:
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer or subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
            .sign(signer, hashes.SHA256())
        )

    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = made("authority", None, authority_key, authority_key)
    own = made("cluster", authority.subject, authority_key, key)
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    contents = {
        "ca": authority.public_bytes(pem),
        "cert": own.public_bytes(pem),
        "key": key.private_bytes(pem, form, serialization.NoEncryption()),
    }
    for name, content in contents.items():
        (folder / f"{name}.pem").write_bytes(content)
    return {name: str(folder / f"{name}.pem") for name in contents}


def test_certificates_let_in_who_has_them_and_nobody_else(place: Path, monkeypatch) -> None:
    files = certificates(place)
    tls = ["--tls-ca-file", files["ca"], "--tls-cert", files["cert"], "--tls-key", files["key"]]
    machines = Machines(place, *tls)
    try:
        assert machines.address.startswith("tls://127.0.0.1:")
        machines.worker()
        crew, found = Crew(Cluster(machines.address, **files)), []
        unit = Unit("says its version", ("--version",))
        crew.run([unit, unit], lambda unit, files: found.append((unit.name, files)))
        crew.close()
        assert found == [("says its version", {})]
        monkeypatch.setattr("gendistill.commands.cluster.PATIENCE", 3)
        (place / "others").mkdir()
        stranger = Crew(Cluster(machines.address, **certificates(place / "others")))
        with pytest.raises(UserError, match="no scheduler answers"):
            stranger.run([unit], lambda unit, files: None)
        stranger.close()
    finally:
        machines.stop()
