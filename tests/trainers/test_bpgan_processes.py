"""A GAN cut in two across 2, 4 and 5 processes: it equals the GAN in one piece, and sends what the formula says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gendistill.links.ledger import total

HERE = Path(__file__).resolve().parent
KINDS = ("fakes", "feedback", "classes", "gradients", "statistics", "weights")
PATHS = os.pathsep.join(map(str, (HERE.parents[1], HERE)))
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": PATHS, "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One process for all cases, off which those of each are forked."""
    words = [sys.executable, str(HERE / "cut_runs.py"), str(tmp_path_factory.mktemp("cut"))]
    done = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr[-3000:]
    known: dict[str, Any] = json.loads(done.stdout)
    return known


@pytest.mark.parametrize("case", ["2 spectral", "2 penalty", "4 spectral", "5 penalty"])
def test_cut_in_two_it_is_the_gan_in_one_piece(case: str, found: dict[str, Any]) -> None:
    """In float64, over 20 steps with two processes; with more ones the batch is shared out among the pairs."""
    assert found[case]["farthest"] < 1e-10


def test_every_byte_is_one_of_the_formula(found: dict[str, Any]) -> None:
    for case, known in found.items():
        links = known["links"]
        counted = {kind: total(links["rows"], kind=kind) for kind in KINDS}
        assert {kind: size for kind, size in counted.items() if size} == links["expected"], case
    # Two processes send images and what comes back, four also gradients.
    assert set(found["2 64 pixels"]["links"]["expected"]) == {"fakes", "feedback", "classes"}
    # Two steps of two batches of 8 images of 3x64x64 in float64, and once back; as pipelined a batch less.
    image = 8 * 3 * 64 * 64
    assert found["2 64 pixels"]["links"]["expected"]["fakes"] == 2 * 2 * 8 * image
    assert found["2 64 pixels, pipelined"]["links"]["expected"]["fakes"] == 2 * 8 * image
    assert found["2 64 pixels"]["links"]["expected"]["feedback"] == 2 * 8 * image
    assert "weights" in found["4 32 pixels, pipelined"]["links"]["expected"]
    assert set(found["4 data parallel"]["links"]["expected"]) == {"gradients", "statistics"}


def test_the_ledger_says_who_sends_what(found: dict[str, Any]) -> None:
    rows = found["5 penalty"]["links"]["rows"]
    assert {row["role"] for row in rows if row["kind"] == "fakes"} == {"generator"}
    assert {row["role"] for row in rows if row["kind"] == "feedback"} == {"discriminator"}
    one, other = (total(rows, link="server 1", role=role) for role in ("server", "discriminator"))
    assert one == other > 0
    assert total(rows, "messages", link="pair 1", kind="feedback") == 5


def test_only_discriminators_read_the_data(found: dict[str, Any]) -> None:
    for world, reading in ((2, [0]), (4, [0, 2]), (5, [0, 2])):
        said = next(known["said"] for case, known in found.items() if case.startswith(f"{world} "))
        for rank in range(world):
            cases = {line for line in said[rank].splitlines() if line.startswith("reads")}
            parallel = {f"reads {rank}"} if world == 4 else set()  # of the data-parallel run
            assert cases == ({f"reads {rank}"} if rank in reading else parallel)
