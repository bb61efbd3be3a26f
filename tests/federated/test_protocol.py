"""A server and its sites: what is refused changes nothing, what is lost is made again to the bit, nobody waits."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from halves import RUN, World

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.federated.messages import Ask, Feedback, Head, Hello, Refused, Stale, Welcome, decode, encode
from gendistill.federated.site import Unreachable


def state(half: Any) -> Any:
    return copy.deepcopy(half.state_dict())


def same(ours: Any, other: Any) -> bool:
    if isinstance(ours, torch.Tensor):
        return bool(torch.equal(ours, other))
    if isinstance(ours, dict):
        return ours.keys() == other.keys() and all(same(ours[key], other[key]) for key in ours)
    if isinstance(ours, (list, tuple)):
        return len(ours) == len(other) and all(map(same, ours, other))
    return bool(ours == other)


def finish(world: World) -> None:
    while not all(site.done for site in world.sites.values()):
        for site in world.sites.values():
            site.turn()
    assert world.hub.finished


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Callable[[RealData, str], dict[str, Any]]:
    """What an undisturbed run ends with, by the kind of its teacher."""
    known: dict[str, Any] = {}

    def of(data: RealData, kind: str) -> dict[str, Any]:
        if kind not in known:
            world = World(data, tmp_path_factory.mktemp(kind), teacher=kind)
            finish(world)
            known[kind] = {name: (state(world.half(name)), state(world.sites[name].half)) for name in world.names}
        return known[kind]

    return of


def assert_ended_as(world: World, expected: dict[str, Any]) -> None:
    for name, (generator, discriminator) in expected.items():
        assert same(state(world.half(name)), generator)
        assert same(state(world.sites[name].half), discriminator)


class Cut:
    """A transport that loses a message, or its answer, once."""

    def __init__(self, inner: Any, at: int, *, before: bool) -> None:
        self.inner, self.at, self.before, self.count, self._site = inner, at, before, 0, inner._site

    def send(self, data: bytes) -> bytes:
        self.count += 1
        if self.count == self.at and self.before:
            raise Unreachable("lost on the way")
        answer: bytes = self.inner.send(data)
        if self.count == self.at:
            raise Unreachable("lost on the way back")
        return answer


@pytest.mark.parametrize("before", [True, False], ids=["message", "answer"])
def test_a_message_or_an_answer_that_is_lost_costs_nothing(
    tiny_data: RealData, tmp_path: Path, ends: Any, before: bool
) -> None:
    for at in (1, 2, 3):
        world = World(tiny_data, tmp_path / str(at))
        world.sites["a"].transport = Cut(world.sites["a"].transport, at, before=before)
        lost = 0
        while not world.sites["a"].done:
            try:
                world.sites["a"].turn()
            except Unreachable:
                lost += 1
        finish(world)
        assert lost == 1
        assert_ended_as(world, ends(tiny_data, "frozen"))


@pytest.mark.parametrize("kind", ["frozen", "live"])
def test_a_server_that_is_killed_goes_on_to_the_bit(tiny_data: RealData, tmp_path: Path, ends: Any, kind: str) -> None:
    world = World(tiny_data, tmp_path, teacher=kind)
    for _ in range(3):
        world.sites["a"].turn()
    world.sites["b"].turn()
    world.start_server()  # nothing was saved since round 2 of a and round 0 of b
    for site in world.sites.values():
        with pytest.raises(Unreachable, match="started anew"):
            site.turn()
    finish(world)
    assert_ended_as(world, ends(tiny_data, kind))
    assert any("go back from round" in line or "joined at round 2" in line for line in world.log)


def test_a_site_that_is_killed_goes_on_to_the_bit(tiny_data: RealData, tmp_path: Path, ends: Any) -> None:
    world = World(tiny_data, tmp_path)
    for _ in range(3):
        world.sites["a"].turn()
    world.sites["a"] = world.new_site("a")
    assert world.sites["a"].round == 2
    finish(world)
    assert_ended_as(world, ends(tiny_data, "frozen"))
    assert "site 'a' joined; both go back from round 3 to the saved round 2" in world.log


def test_a_site_that_lost_its_folder_goes_on_with_what_it_has(tiny_data: RealData, tmp_path: Path) -> None:
    world = World(tiny_data, tmp_path)
    for _ in range(5):
        world.sites["a"].turn()
    for name in ("state.pt", "state.previous.pt"):
        (tmp_path / "sites" / "a" / name).unlink()
    world.sites["a"] = world.new_site("a")
    world.sites["a"].turn()
    assert world.hub.seats["a"].round == 6
    assert any("without a state of round 5" in line for line in world.log)


def test_a_slow_site_and_one_that_never_comes_hold_nobody_up(tiny_data: RealData, tmp_path: Path, ends: Any) -> None:
    world = World(tiny_data, tmp_path)
    while not world.sites["b"].done:
        world.sites["b"].turn()
    assert not world.hub.finished and world.hub.seats["a"].round == 0
    expected = ends(tiny_data, "frozen")["b"]
    assert same(state(world.half("b")), expected[0]) and same(state(world.sites["b"].half), expected[1])
    finish(world)
    assert_ended_as(world, ends(tiny_data, "frozen"))


ATTACKS = ("replay", "early", "NaN", "dtype", "oversized", "malformed", "other run", "other session", "not asked")


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_is_refused_changes_nothing_and_the_others_go_on(
    tiny_data: RealData, tmp_path: Path, ends: Any, attack: str
) -> None:
    world = World(tiny_data, tmp_path)
    a = world.sites["a"]
    a.turn()
    session, terms = a._session, world.terms
    values = torch.zeros(terms.feedback_shape)
    heads = {
        "replay": Head(RUN, session, 0),
        "early": Head(RUN, session, 2),
        "other run": Head(bytes(16), session, 1),
        "other session": Head(RUN, session ^ 1, 1),
    }
    head = heads.get(attack, Head(RUN, session, 1))
    data = encode(head, Feedback(values * torch.nan if attack == "NaN" else values), terms)
    data = {"dtype": data + data[48:], "oversized": data + bytes(10**6), "malformed": b"\0" * 50}.get(attack, data)
    data = data if attack != "not asked" else encode(head, Welcome(), terms)
    before, lines = state(world.half("a")), len(world.log)
    with pytest.raises(Refused):
        world.hub.handle("a", data)
    assert len(world.log) == lines + 1 and world.log[-1].startswith("refused a message of site 'a': ")
    assert same(state(world.half("a")), before) and world.hub.seats["a"].round == 1
    assert world.hub.seats["a"].traffic.refused == 1
    finish(world)
    assert_ended_as(world, ends(tiny_data, "frozen"))


def test_a_site_that_is_not_of_the_run_or_has_other_settings_is_refused(tiny_data: RealData, tmp_path: Path) -> None:
    world = World(tiny_data, tmp_path)
    hello = encode(Head(RUN), Hello(world.terms, (0,)), world.terms)
    with pytest.raises(Refused, match="no site 'stranger'"):
        world.hub.handle("stranger", hello)
    other = replace(world.terms, batch=5)
    with pytest.raises(Refused, match="batch is"):
        world.hub.handle("a", encode(Head(RUN), Hello(other, (0,)), other))
    with pytest.raises(Stale):
        world.hub.handle("a", encode(Head(RUN, 5, 0), Ask(), world.terms))


def test_two_processes_of_one_site_do_not_mix(tiny_data: RealData, tmp_path: Path) -> None:
    world = World(tiny_data, tmp_path)
    world.sites["a"].turn()
    head, _ = decode(
        world.hub.handle("a", encode(Head(RUN), Hello(world.terms, (1,)), world.terms)), RUN, world.terms, (Welcome,)
    )
    assert head.round == 1
    with pytest.raises(Refused, match="another process has joined"):
        world.sites["a"].turn()


def test_a_generator_that_diverges_ends_alone(tiny_data: RealData, tmp_path: Path) -> None:
    world = World(tiny_data, tmp_path)
    world.sites["a"].turn()
    with torch.no_grad():
        next(world.half("a").gan.generator.parameters()).fill_(torch.nan)
    world.hub.seats["a"].reply = world.hub.seats["a"].reply or b""
    with pytest.raises(Refused, match="NaN or infinite"):
        world.sites["a"].turn()
    while not world.sites["b"].done:
        world.sites["b"].turn()
    assert world.hub.finished and world.hub.seats["a"].failed and world.hub.seats["b"].round == 6


def test_refusals_without_end_are_logged_up_to_a_number(tiny_data: RealData, tmp_path: Path) -> None:
    world = World(tiny_data, tmp_path)
    for _ in range(50):
        with pytest.raises(Refused):
            world.hub.handle("a", b"")
    refusals = [line for line in world.log if line.startswith("refused")]
    assert len(refusals) == 20 and "not logged" in refusals[-1] and world.hub.seats["a"].traffic.refused == 50


def test_a_server_cannot_name_a_round_that_there_is_not(tiny_data: RealData, tmp_path: Path) -> None:
    world = World(tiny_data, tmp_path)
    world.hub.seats["a"].round = 7
    world.hub.seats["a"].states.kept.clear()
    with pytest.raises(Refused, match="from round 7, but there are 6"):
        world.sites["a"].turn()


def test_the_ledger_of_traffic_is_the_sum_of_the_sizes(tiny_data: RealData, tmp_path: Path) -> None:
    world = World(tiny_data, tmp_path)
    finish(world)
    ledger, terms = world.hub.seats["a"].traffic.to_dict(), world.terms
    assert ledger == world.sites["a"].traffic.to_dict()
    assert ledger["kinds"]["feedback"] == {"messages": 6, "bytes": 6 * terms.feedback_size}
    assert ledger["kinds"]["fakes"] == {"messages": 6, "bytes": 6 * terms.fakes_size}
    assert terms.feedback_size == 38 + 4 * 4 * 64 and terms.fakes_size == 38 + 8 * (4 * 64 + 2)


def test_a_half_is_not_continued_with_other_data(tiny_data: RealData, tmp_path: Path) -> None:
    from gendistill.data.fingerprint import contents
    from gendistill.federated.states import States
    from gendistill.runs.directory import RunDirectory

    States(RunDirectory(tmp_path, "a"), contents(tiny_data)).save(0, {})
    other = World(tiny_data, tmp_path / "w").trainer.shares.of_site(tiny_data, 0, 1)
    with pytest.raises(UserError, match="choose another run.name"):
        States(RunDirectory(tmp_path, "a"), contents(other))
