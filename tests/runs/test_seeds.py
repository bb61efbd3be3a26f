from __future__ import annotations

import torch
from torch import nn

from gendistill.runs.seeds import Streams, derive_seed, initialisation, stream


def test_streams_are_independent_and_repeatable() -> None:
    seeds = {derive_seed(seed, name) for seed in range(20) for name in ("noise", "data", "labels")}
    assert len(seeds) == 60 and all(0 <= seed < 2**63 for seed in seeds)
    one, other = Streams(3), Streams(3)
    torch.randn(10, generator=one["data"])
    assert torch.equal(torch.randn(4, generator=one["noise"]), torch.randn(4, generator=other["noise"]))


def test_weights_depend_on_seed_and_name_alone() -> None:
    before = torch.random.get_rng_state()
    made = []
    for seed, name in ((0, "a"), (0, "a"), (0, "b"), (1, "a")):
        with initialisation(seed, name):
            made.append(nn.Linear(3, 3).weight)
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2]) and not torch.equal(made[0], made[3])
    assert torch.equal(torch.random.get_rng_state(), before)


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
