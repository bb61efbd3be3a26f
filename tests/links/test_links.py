"""What is counted of messages and exchanges, what must be sent, and what a link refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gendistill.links.cost import Machines, Sizes, corrected, cut, data_parallel, thesis
from gendistill.links.exchanges import OWN, Circle, everyone
from gendistill.links.ledger import Ledger, ring, together, total
from gendistill.links.link import InProcess, Spoiled
from gendistill.links.record import read_links, write_links

# DCGAN at 64 pixels: the sizes that the thesis calls "nearly 10.6MB", and batches of 64 a pair.
DCGAN = Sizes(discriminator=2_765_568, generator=3_576_704, image=3 * 64 * 64, batch=128)


@given(st.integers(0, 1000), st.integers(2, 9))
def test_a_ring_sends_all_but_one_piece_twice(elements: int, members: int) -> None:
    sent = [ring(elements, 4, members, place) for place in range(members)]
    assert sum(sent) == 2 * (members - 1) * 4 * elements
    assert max(sent) - min(sent) <= 8


def test_ledgers_of_several_processes_are_one() -> None:
    one, other = Ledger(), Ledger()
    one.add("pair 0", "generator", "fakes", 10)
    one.add("pair 0", "generator", "fakes", 5, 2)
    other.add("pair 0", "discriminator", "feedback", 7)
    rows = together([one.rows(), other.rows(), one.rows()])
    assert total(rows) == 37 and total(rows, "messages", kind="fakes") == 6
    assert total(rows, role="discriminator") == 7


def test_what_is_sent_of_small_gans_by_hand() -> None:
    sizes = Sizes(discriminator=10, generator=20, image=3, batch=8, updates=2, labelled=True, weights=25)
    fakes = 4 * 3 * 8
    assert cut(sizes, 1, 5) == {"fakes": 5 * 3 * fakes, "feedback": 5 * fakes, "classes": 5 * 3 * 8 * 8}
    assert cut(sizes, 1, 5, fresh_fakes=False)["fakes"] == 5 * 2 * fakes
    assert cut(sizes, 3, 5)["gradients"] == 5 * 2 * (2 * 2) * 40
    assert cut(sizes, 3, 5, served=True)["gradients"] == 5 * 2 * (2 * 3) * 40
    assert cut(sizes, 3, 5, generator_sync="all_reduce")["gradients"] == 5 * 4 * (2 * 40 + 80)
    assert cut(sizes, 3, 5, generator_sync="average_every_n", sync_every=2)["weights"] == 2 * 4 * 100
    assert data_parallel(sizes, 4, 5) == {"gradients": 5 * 6 * (2 * 40 + 80)}


def test_the_thesis_difference_is_that_of_its_equations_with_the_factor_two() -> None:
    machines = Machines(bandwidth=1e8, server_seconds=1e-10)
    found = thesis(DCGAN, 4, machines)
    without = found["data parallel, eq. 4.1"] - found["cut in two, eq. 4.2"]
    assert found["difference, eq. 4.3"] == pytest.approx(without, rel=1e-12)


def test_the_corrected_break_even_of_the_thesis_network() -> None:
    found = corrected(DCGAN, 4)
    mebibyte = 2**20
    assert found["data parallel"] / 4 / mebibyte == pytest.approx(48.4, abs=0.1)
    # A discriminator's 21.1 MiB with the server and 6 MiB between the blocks of a pair.
    assert found["cut in two"] / 2 / mebibyte == pytest.approx(21.1 + 6.0, abs=0.1)
    at = found["break-even"]
    even = corrected(Sizes(DCGAN.discriminator, DCGAN.generator, DCGAN.image, batch=round(2 * at)), 4)
    assert even["cut in two"] == pytest.approx(even["data parallel"], rel=1e-3)
    # F < w_D + 2 w_G, and with averaged generators F < w_D + w_G.
    image = 4 * DCGAN.image
    assert at * image == pytest.approx(4 * (DCGAN.discriminator + 2 * DCGAN.generator))
    synchronised = corrected(DCGAN, 4, generator_sync=True)["break-even"]
    assert synchronised * image == pytest.approx(4 * (DCGAN.discriminator + DCGAN.generator))


def test_a_link_keeps_the_order_counts_and_does_not_share_memory() -> None:
    OWN.begin()
    here, there = InProcess.both("pair 0", ("generator", "discriminator"), ("the one", "the other"))
    images = torch.zeros(2, 3)
    here.send(images, "fakes")
    images.fill_(1.0)
    here.send(images, "fakes")
    assert float(there.receive(images).sum()) == 0.0 and float(there.receive(images).sum()) == 6.0
    here.ahead()
    here.send(images, "fakes")
    assert total(OWN.ledger.rows()) == 48
    here.settle()
    assert total(OWN.ledger.rows(), link="pair 0", role="generator", kind="fakes") == 72


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_is_not_sent_and_the_block_is_named(value: float) -> None:
    here, _ = InProcess.both("pair 1", ("generator", "discriminator"), ("the generator block of pair 1", ""))
    with pytest.raises(Spoiled, match="the generator block of pair 1 sent NaN or infinity as fakes"):
        here.send(torch.tensor([1.0, value]), "fakes")


def test_one_process_is_everyone() -> None:
    assert everyone({"a": 1}, Circle(), "state") == [{"a": 1}]


def test_what_was_sent_stands_beside_what_was_judged(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_links(path, {"steps": 1, "rows": []})
    assert read_links(path) == {"steps": 1, "rows": []}
    path.write_text(json.dumps({"teacher": {"name": "a"}}))
    assert read_links(path) is None
    write_links(path, {"steps": 2, "rows": []})
    assert json.loads(path.read_text())["teacher"] == {"name": "a"} and read_links(path) == {"steps": 2, "rows": []}
    path.write_text("{")
    assert read_links(path) is None
