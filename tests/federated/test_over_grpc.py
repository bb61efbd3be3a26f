"""A real server over loopback TLS, and those that it does not accept: each is told why, and is one line of its log."""

from __future__ import annotations

import datetime
import shutil
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("grpc")
pytest.importorskip("cryptography")

from halves import World

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.federated import certificates, core_log, extra, over_grpc
from gendistill.federated.certificates import AUTHORITY, _name, _pem, _private, make, read, run_of, sites_of
from gendistill.federated.messages import Head, Hello, Refused, encode
from gendistill.federated.over_grpc import Channel, Server, address_of
from gendistill.federated.site import Site, Unreachable


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls") / "certificates"
    make(folder, ["a", "b"], ["localhost", "127.0.0.1"])
    make(folder.parent / "others", ["a"], ["localhost"])
    return folder


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tries of one refusal are one, however slow the machine is."""
    monkeypatch.setattr(core_log, "SAME", 3600.0)


@pytest.fixture
def running(tiny_data: RealData, tmp_path: Path, folder: Path) -> Iterator[tuple[World, Server, Any]]:
    world = World(tiny_data, tmp_path)
    identity = read(folder / "server")
    world.hub.run = identity.run
    server = Server(world.hub, identity, "127.0.0.1:0", world.log.append)

    def channel(of: Path) -> Channel:
        return Channel(read(of), f"localhost:{server.port}", world.terms.largest)

    yield world, server, channel
    server.stop(0)


def site_of(world: World, name: str, way: Channel, run: bytes) -> Site:
    site = world.new_site(name, way)
    site.run = run
    return site


def signed(
    folder: Path, into: Path, *, run: bytes | None = None, expired: bool = False, authority: bool = False
) -> Path:
    """Make a certificate for site a, of an authority that both sides are given where ``authority``."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    into.mkdir()
    now = datetime.datetime.now(datetime.UTC)
    root, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    name = _name("an institution")
    days = 5 if not expired else -1
    own = certificates._sign(name, root.public_key(), name, root, 9, authority=True)

    def leaf(common: str, public: Any, of_run: bytes, until: int, hosts: list[Any]) -> Any:
        names = [x509.UniformResourceIdentifier(f"{certificates.RUN}{of_run.hex()}"), *hosts]
        return (
            x509.CertificateBuilder().subject_name(_name(common)).issuer_name(name).public_key(public)
            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=3))
            .not_valid_after(now + datetime.timedelta(days=until))
            .add_extension(x509.SubjectAlternativeName(names), critical=False).sign(root, hashes.SHA256())
        )  # fmt: skip

    of_run = run or read(folder / "server").run
    for one, until, hosts in (("a", days, []), ("server", 5, [x509.DNSName("localhost")])):
        (into / one).mkdir()
        key = ec.generate_private_key(ec.SECP256R1())
        known = of_run if one == "a" else read(folder / "server").run
        (into / one / "certificate.crt").write_bytes(_pem(leaf(one, key.public_key(), known, until, hosts)))
        (into / one / "key.pem").write_bytes(_private(key))
        (into / one / AUTHORITY).write_bytes(_pem(own))
    return into


def test_rounds_over_tls_are_those_in_one_process(
    running: Any, tiny_data: RealData, tmp_path: Path, folder: Path
) -> None:
    world, _, channel = running
    together = World(tiny_data, tmp_path / "other")
    apart = [site_of(world, name, channel(folder / name), world.hub.run) for name in world.names]
    threads = [threading.Thread(target=lambda site=site: [site.turn() for _ in range(6)]) for site in apart]
    for thread in threads:
        thread.start()
    for site in together.sites.values():
        for _ in range(6):
            site.turn()
    for thread in threads:
        thread.join()
    assert world.hub.finished
    for name in world.names:
        ours, theirs = (one.half(name).gan.generator.state_dict() for one in (world, together))
        assert all(ours[key].equal(theirs[key]) for key in ours)
        assert world.hub.seats[name].traffic.to_dict() == together.hub.seats[name].traffic.to_dict()


def refusal(world: World, of: Channel, run: bytes, seconds: float = 600.0) -> tuple[str, list[str]]:
    """Return what a site is told, and what the server has logged of it within so many seconds."""
    before = len(world.log)
    with pytest.raises(Refused) as told:
        of.send(encode(Head(run), Hello(world.terms, (0,)), world.terms))
    of.close()
    return str(told.value), logged_since(world, before, seconds)


def logged_since(world: World, before: int, seconds: float = 600.0) -> list[str]:
    """Return what the server has logged since; it may do so after the site is told."""
    until = time.monotonic() + seconds
    while len(world.log) == before and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.1)
    return world.log[before:]


def test_a_certificate_of_another_authority(tiny_data: RealData, tmp_path: Path, folder: Path) -> None:
    world, known = World(tiny_data, tmp_path / "w"), read(folder / "server")
    # Here and not in a fixture: pytest puts its own file in the place of stderr between the two.
    server = Server(world.hub, known, "127.0.0.1:0", world.log.append)
    try:
        other = read(folder.parent / "others" / "a")
        mixed = tmp_path / "mixed"  # trusts the server, is not trusted by it
        shutil.copytree(other.folder, mixed)
        shutil.copy(folder / AUTHORITY, mixed / AUTHORITY)
        with pytest.raises(UserError, match="signed by another authority"):
            read(mixed)
        one = certificates.Identity("a", other.run, other.certificate, other.key, known.authority, mixed)
        told, logged = refusal(world, _channel_of(one, f"localhost:{server.port}", world), known.run)
        assert "refuses the certificate in" in told
        assert logged == ["refused a connection: its certificate is not signed by this run's authority"]
        told, _ = refusal(world, _channel_of(other, f"localhost:{server.port}", world), known.run, seconds=0.0)
        assert "certificate of the server" in told and "is refused here" in told
    finally:
        server.stop(0)


def _channel_of(identity: certificates.Identity, address: str, world: World) -> Channel:
    return Channel(identity, address, world.terms.largest)


def test_an_expired_certificate_and_one_of_another_run(tiny_data: RealData, tmp_path: Path, folder: Path) -> None:
    world = World(tiny_data, tmp_path / "w")
    sides = signed(folder, tmp_path / "old", expired=True)
    with pytest.raises(UserError, match="expired on"):
        read(sides / "a")
    known = read(sides / "server")
    world.hub.run = known.run
    server = Server(world.hub, known, "127.0.0.1:0", world.log.append)
    try:
        raw = {name: (sides / "a" / name).read_bytes() for name in ("certificate.crt", "key.pem", AUTHORITY)}
        identity = certificates.Identity(
            "a", known.run, raw["certificate.crt"], raw["key.pem"], raw[AUTHORITY], sides / "a"
        )
        told, logged = refusal(world, _channel_of(identity, f"localhost:{server.port}", world), known.run)
        assert "expired by the server's clock" in told
        assert logged == ["refused a connection: its certificate has expired"]
    finally:
        server.stop(0)
    sides = signed(folder, tmp_path / "other", run=bytes(16))
    world.log.clear()
    known = read(sides / "server")
    server = Server(world.hub, known, "127.0.0.1:0", world.log.append)
    try:
        way = _channel_of(read(sides / "a"), f"localhost:{server.port}", world)
        told, logged = refusal(world, way, known.run)
        assert "its certificate belongs to another run" in told
        assert logged == [f"refused a message of site 'a': its certificate belongs to another run ({bytes(16).hex()})"]
    finally:
        server.stop(0)


def test_messages_that_are_refused_do_not_stop_a_site_beside(running: Any, folder: Path) -> None:
    world, server, channel = running
    way = Channel(read(folder / "a"), f"localhost:{server.port}", 10**8)  # which minds no size
    other = site_of(world, "b", channel(folder / "b"), world.hub.run)
    other.turn()
    for data, said in (
        (b"\0" * 60, "no message of this program"),
        (bytes(world.terms.largest + 1), "larger than max"),
        (encode(Head(bytes(16)), Hello(world.terms, (0,)), world.terms), "another run"),
    ):
        before = len(world.log)
        with pytest.raises(Refused, match=said):
            way.send(data)
        assert logged_since(world, before)[0].startswith("refused a message of site 'a': ")
        assert len(world.log) == before + 1
        other.turn()
    assert world.hub.seats["a"].traffic.refused == 3 and other.round == 4
    with socket.create_connection(("127.0.0.1", server.port)) as bare:  # who speaks no TLS, and then is silent
        bare.sendall(b"GET / HTTP/1.1\r\n\r\n")
        other.turn()
    assert other.round == 5


def test_calls_that_are_begun_and_then_silent_hold_up_nobody_else(running: Any, folder: Path) -> None:
    world, _, channel = running
    released, silent = threading.Event(), channel(folder / "a")

    def nothing() -> Iterator[bytes]:
        released.wait(600)
        yield from ()

    calls = [silent._call.future(nothing(), timeout=600) for _ in range(8)]
    other = site_of(world, "b", channel(folder / "b"), world.hub.run)
    for _ in range(3):
        other.turn()
    assert other.round == 3
    end = time.monotonic() + 600
    while not any("calls that are not answered yet" in line for line in world.log):
        assert time.monotonic() < end, world.log
        time.sleep(0.02)
    released.set()
    for call in calls:
        with pytest.raises(Exception, match="not answered yet|broke off"):
            call.result()


def test_a_server_that_is_away_is_told_from_one_that_refuses(running: Any, folder: Path, tiny_data: RealData) -> None:
    world, server, channel = running
    way = channel(folder / "a")
    site = site_of(world, "a", way, world.hub.run)
    site.turn()
    server.stop(0)
    with pytest.raises(Unreachable, match="does not answer"):
        site.turn()
    with socket.socket() as bare:
        bare.bind(("127.0.0.1", 0))
        bare.listen()
        threading.Thread(target=lambda: bare.accept()[0].sendall(b"HTTP/1.1 400 no\r\n\r\n"), daemon=True).start()
        wrong = Channel(read(folder / "a"), f"localhost:{bare.getsockname()[1]}", 100)
        assert "speaks no TLS" in str(wrong.refusal())
        wrong.close()
    way.close()


def test_a_server_that_vanishes_and_closes_nothing_is_noticed(
    running: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, server, _ = running
    monkeypatch.setattr(over_grpc, "ALIVE", 0.2)
    monkeypatch.setattr(over_grpc, "SIGN_OF_LIFE", 0.5)
    called, answered, cut = threading.Event(), threading.Event(), threading.Event()

    def handle(site: str, data: bytes) -> bytes:
        called.set()
        assert answered.wait(600)
        return b""

    monkeypatch.setattr(world.hub, "handle", handle)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ends: list[socket.socket] = []

        def relay(one: socket.socket, other: socket.socket) -> None:
            with suppress(OSError):  # either end may reset the connection when the test is over
                while (data := one.recv(2**16)) and not cut.is_set():
                    other.sendall(data)

        def accept() -> None:  # once; whoever comes later stays in the queue, and is answered by nobody
            ends.extend((listening.accept()[0], socket.create_connection(("127.0.0.1", server.port))))
            for one, other in (ends, ends[::-1]):
                threading.Thread(target=relay, args=(one, other), daemon=True).start()
            assert called.wait(600)
            cut.set()

        threading.Thread(target=accept, daemon=True).start()
        way = _channel_of(read(folder / "a"), f"localhost:{listening.getsockname()[1]}", world)
        monkeypatch.setattr(way, "refusal", lambda: None)
        began = time.monotonic()
        with pytest.raises(Unreachable, match="unavailable"):  # and not at the end of WAIT, which is another word
            way.send(b"a message")
        assert time.monotonic() - began < 45  # gRPC's own minute was not waited for
        answered.set()
        way.close()
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("times", [1, 2])
def test_a_server_that_ends_within_a_handshake_has_refused_nothing(folder: Path, times: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server" / "certificate.crt", folder / "server" / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def answer() -> None:
            for _ in range(times):
                context.wrap_socket(listening.accept()[0], server_side=True).close()
            listening.shutdown(socket.SHUT_RDWR)

        thread = threading.Thread(target=answer)
        thread.start()
        way = Channel(read(folder / "a"), f"localhost:{port}", 100)
        told = way.refusal()
        way.close()
        thread.join()
    assert told is None if times == 1 else "refuses the certificate in" in str(told)


def test_certificates_are_made_once_and_read_with_care(folder: Path, tmp_path: Path) -> None:
    assert sites_of(folder / "server") == ["a", "b"]
    assert {path.name for path in folder.iterdir()} == {"a", "b", "server", AUTHORITY}
    assert (folder / "a" / "key.pem").stat().st_mode & 0o077 == 0
    one, two = read(folder / "a"), read(folder / "server")
    assert one.run == two.run and (one.name, two.name) == ("a", "server")
    assert read(folder.parent / "others" / "a").run != one.run
    for arguments, said in (
        ((folder, ["a"], ["localhost"]), "is there already"),
        ((tmp_path / "n", [], ["localhost"]), "a name of its own"),
        ((tmp_path / "n", ["a", "a"], ["localhost"]), "a name of its own"),
        ((tmp_path / "n", ["../x"], ["localhost"]), "no name of a site"),
        ((tmp_path / "n", ["server"], ["localhost"]), "no name of a site"),
    ):
        with pytest.raises(UserError, match=said):
            make(*arguments)
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path)
    shutil.copytree(folder / "a", tmp_path / "a")
    shutil.copy(folder / "b" / "key.pem", tmp_path / "a" / "key.pem")
    with pytest.raises(UserError, match="does not belong"):
        read(tmp_path / "a")
    (tmp_path / "a" / "certificate.crt").write_text("nonsense")
    with pytest.raises(UserError, match="damaged"):
        read(tmp_path / "a")


@pytest.mark.parametrize("text", ["", "localhost", ":1", "a:b", "a:70000"])
def test_an_address_that_is_none(text: str) -> None:
    with pytest.raises(UserError, match="HOST:PORT"):
        address_of(text)


def test_a_run_is_read_from_a_certificate_alone(folder: Path) -> None:
    from cryptography import x509

    assert run_of(x509.load_pem_x509_certificate((folder / AUTHORITY).read_bytes())) is None


def test_without_the_extra_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    vars(extra).pop("grpc", None)
    monkeypatch.setitem(sys.modules, "grpc", None)  # as where it is not installed
    with pytest.raises(UserError, match=r"grpc is not installed, .* pip install 'gendistill\[federated\]'"):
        extra.require()
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        getattr(extra, "other")  # noqa: B009
    monkeypatch.undo()
    extra.require()
