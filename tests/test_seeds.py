from __future__ import annotations

import torch
from torch import nn

from gendistill.seeds import Streams, derive_seed, initialisation, stream


def test_streams_are_independent_of_each_other_and_of_the_order_of_use() -> None:
    one, other = Streams(3), Streams(3)
    torch.rand(100, generator=other["elsewhere"])
    first = torch.rand(5, generator=one["noise"])
    assert torch.equal(first, torch.rand(5, generator=other["noise"]))
    assert not torch.equal(first, torch.rand(5, generator=Streams(3)["data"]))
    assert not torch.equal(first, torch.rand(5, generator=Streams(4)["noise"]))


def test_a_saved_stream_continues_where_it_was() -> None:
    streams = Streams(0)
    torch.rand(7, generator=streams["noise"])
    saved = streams.state_dict()
    expected = torch.rand(5, generator=streams["noise"])
    again = Streams(0)
    torch.rand(50, generator=again["noise"])
    again.load_state_dict(saved)
    assert torch.equal(torch.rand(5, generator=again["noise"]), expected)


def test_initialisation_repeats_and_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    with initialisation(1, "net"):
        first = nn.Linear(4, 4)
    with initialisation(1, "net"):
        second = nn.Linear(4, 4)
    with initialisation(1, "other"):
        third = nn.Linear(4, 4)
    assert torch.equal(first.weight, second.weight) and not torch.equal(first.weight, third.weight)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_seeds_are_pinned() -> None:
    # A change here would change every published number.
    assert derive_seed(0, "noise") == 5127903134280592399
    assert 0 <= derive_seed(2**40, "x") < 2**63
    torch.testing.assert_close(
        torch.rand(2, generator=stream(0, "pin")), torch.tensor([0.1662772297859192, 0.9911230206489563])
    )


def test_states_go_back_into_generators_that_were_handed_out() -> None:
    streams = Streams(0)
    handed_out, later = streams["data"], streams["later"]
    torch.randn(5, generator=handed_out)
    state = {"data": streams.state_dict()["data"]}
    expected = torch.randn(3, generator=handed_out)
    torch.randn(7, generator=later)
    streams.load_state_dict(state)
    assert streams["data"] is handed_out
    assert torch.equal(torch.randn(3, generator=handed_out), expected)
    # Not in the state: it starts anew.
    assert torch.equal(torch.randn(3, generator=later), torch.randn(3, generator=stream(0, "later")))


def test_restarted_streams_differ_from_the_first_ones() -> None:
    streams, again = Streams(0), Streams(0)
    streams.restart(["noise"], "100")
    again.restart(["noise"], "100")
    drawn = torch.randn(4, generator=streams["noise"])
    assert torch.equal(drawn, torch.randn(4, generator=again["noise"]))
    assert not torch.equal(drawn, torch.randn(4, generator=stream(0, "noise")))
