"""The metric log and the checkpoint files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from gendistill.errors import UserError
from gendistill.mimicry import Checkpoint, MetricLog, installed, latest_pair, load, read_checkpoint, write_checkpoint


def test_metrics_are_collected_without_reading_them() -> None:
    log = MetricLog("meta")
    # A number of a tensor on this device cannot be read at all.
    log.add_metric("errD", torch.ones(1, device="meta", requires_grad=True), group="loss")
    log.add_metric("D(x)", 0.25, group="prob")
    log.add_metric("other", 3)
    scalars = log.scalars()
    assert list(scalars) == ["loss/errD", "prob/D(x)", "other"]
    assert all(value.shape == () and value.is_meta and not value.requires_grad for value in scalars.values())


@pytest.mark.skipif(not installed(), reason="torch-mimicry is not installed")
def test_the_log_reads_like_the_original() -> None:
    load()
    from torch_mimicry.training import metric_log

    logs = MetricLog(), metric_log.MetricLog()
    for log in logs:
        log.add_metric("errG", torch.tensor(1.0), group="loss")
        log.add_metric("errG", torch.tensor(0.123456), group="loss", precision=3)
        log.add_metric("lr", 2e-4, precision=6)
        assert list(log.keys()) == ["errG", "lr"]
        assert log["errG"] == 0.123 and log["lr"] == pytest.approx(2e-4)
        assert log.get_group_name("errG") == "loss" and log.get_group_name("lr") is None
        assert [(name, sorted(inner)) for name, inner in log.items()] == [
            ("errG", ["group", "precision", "value"]),
            ("lr", ["group", "precision", "value"]),
        ]


def test_a_metric_of_several_numbers_is_refused() -> None:
    with pytest.raises(UserError, match=r"'errD' has shape \(2,\)"):
        MetricLog().add_metric("errD", torch.zeros(2))


def trained() -> tuple[nn.Linear, torch.optim.Adam]:
    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(network.parameters(), 0.1)
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return network, optimizer


def test_what_is_written_is_read(tmp_path: Path) -> None:
    network, optimizer = trained()
    path = write_checkpoint(tmp_path, "netG", Checkpoint(network.state_dict(), optimizer.state_dict(), 70))
    assert path == tmp_path / "netG" / "netG_70_steps.pth"
    model, saved, step = read_checkpoint(path)
    assert step == 70 and all(torch.equal(model[name], value) for name, value in network.state_dict().items())
    assert saved is not None and torch.equal(
        saved["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"]
    )
    without = write_checkpoint(tmp_path, "netD", Checkpoint(network.state_dict(), None, 70))
    assert read_checkpoint(without).optimizer is None


@pytest.mark.skipif(not installed(), reason="torch-mimicry is not installed")
def test_both_programs_read_both_files(tmp_path: Path) -> None:
    load()
    from torch_mimicry.nets.dcgan import DCGANGenerator32

    network = DCGANGenerator32(nz=3, ngf=8)
    optimizer = torch.optim.Adam(network.parameters(), 0.1)
    network.generate_images(2).sum().backward()
    optimizer.step()
    network.save_checkpoint(str(tmp_path / "theirs" / "netG"), 30, optimizer)
    theirs = read_checkpoint(tmp_path / "theirs" / "netG" / "netG_30_steps.pth")
    ours = write_checkpoint(tmp_path / "ours", "netG", theirs)
    other = DCGANGenerator32(nz=3, ngf=8)
    again = torch.optim.Adam(other.parameters(), 0.5)
    assert other.restore_checkpoint(str(ours), again) == theirs.step == 30
    assert all(torch.equal(other.state_dict()[name], value) for name, value in network.state_dict().items())
    assert again.param_groups[0]["lr"] == 0.1


def test_the_last_step_that_both_networks_have(tmp_path: Path) -> None:
    log = tmp_path / "log" / "checkpoints"
    for name, steps in (("netG", (90, 100, 200)), ("netD", (90, 100))):
        (log / name).mkdir(parents=True)
        for step in steps:
            (log / name / f"{name}_{step}_steps.pth").touch()
        (log / name / f"old_{name}_900_steps.pth").touch()  # such a stray file stops torch-mimicry
    expected = {name: log / name / f"{name}_100_steps.pth" for name in ("netG", "netD")}
    assert latest_pair(tmp_path / "log") == latest_pair(log) == expected
    with pytest.raises(UserError, match="log_dir"):
        latest_pair(tmp_path / "nowhere")


class Gadget:
    """What a weights-only reader must not build."""


def test_files_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no checkpoint"):
        read_checkpoint(tmp_path / "none.pth")
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04 and then nothing")
    torch.save({"model_state_dict": Gadget()}, tmp_path / "code.pth")
    for name in ("cut", "code"):
        with pytest.raises(UserError, match="not opened"):
            read_checkpoint(tmp_path / f"{name}.pth")
    torch.save({"model_state_dict": {}}, tmp_path / "part.pth")
    with pytest.raises(UserError, match="lacks optimizer_state_dict, global_step"):
        read_checkpoint(tmp_path / "part.pth")
    for wrong in ({"model_state_dict": {"a": 1}}, {"global_step": "7"}, {"optimizer_state_dict": []}):
        torch.save({"model_state_dict": {}, "optimizer_state_dict": None, "global_step": 7} | wrong, tmp_path / "w.pth")
        with pytest.raises(UserError, match="other kinds|is no tensor but int"):
            read_checkpoint(tmp_path / "w.pth")
