"""Runs handed over between torch-mimicry and this project, and what cannot be continued."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from mimicry_runs import Recorded, advance, attached, noise, run_options, same, small, theirs

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.mimicry import installed, latest_pair
from gendistill.runs.loop import train

pytestmark = pytest.mark.skipif(not installed(), reason="torch-mimicry is not installed")


@pytest.fixture(scope="module")
def data() -> RealData:
    return noise()


def test_a_run_continues_one_of_torch_mimicry(data: RealData, tmp_path: Path) -> None:
    twin = attached(small(), data, tmp_path)
    loader = Recorded([twin.next_batch() for _ in range(8)])
    other = theirs(twin, loader, tmp_path / "log", steps=4, save_steps=2)
    torch.manual_seed(3)
    other.train()
    for file in latest_pair(tmp_path / "log").values():
        assert file.name.endswith("_4_steps.pth")
        file.unlink()
    trainer = attached(small(continue_from=str(tmp_path / "log")), data, tmp_path)
    assert trainer.step == 2
    later = iter(loader.batches[4:])
    trainer.next_batch = lambda: next(later)  # type: ignore[method-assign]
    torch.random.set_rng_state(loader.random_states[4])
    advance(trainer, 2)
    same(trainer.generator.state_dict(), other.netG.state_dict())
    same(trainer.discriminator.state_dict(), other.netD.state_dict())


def test_a_continued_run_resumes_from_its_own_state(data: RealData, tmp_path: Path) -> None:
    train(small(checkpoint_every=3), data, run_options(tmp_path, "first", steps=3))
    first = tmp_path / "first"
    train(small(continue_from=str(first)), data, run_options(tmp_path, "second", steps=4))
    shutil.rmtree(first)  # no longer needed
    continued = small(continue_from=str(first))
    assert train(continued, data, run_options(tmp_path, "second", steps=5)).step == 5
    with pytest.raises(UserError, match="log_dir of a torch-mimicry run"):
        attached(small(continue_from=str(first)), data, tmp_path, name="third")


def test_another_optimisers_checkpoint_is_refused(data: RealData, tmp_path: Path) -> None:
    trainer = attached(small(), data, tmp_path)
    sgd = torch.optim.SGD(trainer.generator.parameters(), 0.1)
    for name in ("netG", "netD"):
        network = trainer.generator if name == "netG" else trainer.discriminator
        network.save_checkpoint(str(tmp_path / "log" / name), 3, sgd if name == "netG" else None)
    with pytest.raises(UserError, match="not Adam's"):
        attached(small(continue_from=str(tmp_path / "log")), data, tmp_path)
    trainer.generator.save_checkpoint(str(tmp_path / "log" / "netG"), 3)
    assert attached(small(continue_from=str(tmp_path / "log")), data, tmp_path).step == 3
    with pytest.raises(UserError, match="does not fit SSGANDiscriminator32"):
        attached(small("ssgan", continue_from=str(tmp_path / "log")), data, tmp_path)


def test_torch_mimicry_continues_our_run(data: RealData, tmp_path: Path) -> None:
    trainer = small(checkpoint_every=2)
    train(trainer, data, run_options(tmp_path, "run", steps=5))
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("*/*"))
    assert names == sorted(f"{net}_{step}_steps.pth" for net in ("netG", "netD") for step in (2, 4, 5))
    for file in latest_pair(tmp_path / "run").values():
        file.unlink()
    fresh = attached(small(), data, tmp_path, name="fresh")
    other = theirs(fresh, Recorded([fresh.next_batch() for _ in range(2)]), tmp_path / "run", steps=5)
    assert other._restore_models_and_step() == 4
    assert other.optG.param_groups[0]["lr"] == pytest.approx(1e-3 * (1 - 4 / 5), rel=1e-12)
    assert all(state["step"] == 4 for state in other.optG.state.values())
    assert all(state["step"] == 8 for state in other.optD.state.values())
    # One step later it is where ours was at the end, but for the random numbers.
    gaps = [(a - b).abs().max() for a, b in zip(other.netG.parameters(), trainer.generator.parameters(), strict=True)]
    assert 0 < max(gaps) <= 5e-4
