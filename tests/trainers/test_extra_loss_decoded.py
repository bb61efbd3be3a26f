"""A loss of one's own where stored values are decoded: it sees what learners see, and reaches what is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from own_losses import FAMILIES, asked, attached, made
from torch import Tensor

from trainers.batch import Made
from trainers.trainer import Trainer


def per_image(made: Made) -> Tensor:
    loss = made.images.square().flatten(1).mean(1) * (1 + made.classes)
    if made.told is not None:
        loss = loss + (made.told - 0.25).square().sum(1)
    return 5 * loss.mean()


@pytest.mark.parametrize("family", ["dm", "dc", "dd", "mtt"])
@pytest.mark.parametrize("by_group", [False, True])
def test_the_gradient_passes_a_formation(family: str, by_group: bool, tmp_path: Path) -> None:
    seen: list[Made] = []

    def loss(self: Trainer, made: Made) -> Tensor:
        seen.append(made)
        return per_image(made)

    base, options = FAMILIES[family]
    given = options | {"decode": {"factor": 2}, "images": "noise"}
    plain: Any = attached(made(base, tmp_path, given), tmp_path)
    own: Any = attached(made(asked(base, loss, by_group), tmp_path, given), tmp_path)
    stored = own.images.detach().clone().requires_grad_()
    flat = stored if family == "mtt" else stored.flatten(0, 1)
    classes = own.labels if family in ("dm", "dc") else own.classes.repeat(len(flat) // len(own.classes))
    images = own.decode(flat, classes)
    for trainer in (plain, own):
        trainer.train_step(trainer.next_batch())
    expected = torch.autograd.grad(per_image(Made(images, classes.repeat_interleave(4))), stored)[0]
    torch.testing.assert_close(own.images.grad - plain.images.grad, expected, rtol=1e-3, atol=1e-5)
    assert sum(len(one.images) for one in seen) == 4 * len(flat)
    assert (len(seen) > 1) is by_group
    if family in ("dd", "mtt"):
        assert not torch.equal(own.labels.grad, plain.labels.grad)


@pytest.mark.parametrize("by_group", [False, True])
def test_condensed_batches_of_a_formation_move(by_group: bool, tmp_path: Path) -> None:
    base, options = FAMILIES["condensation"]
    given = options | {"decode": {"factor": 2}}
    plain: Any = attached(made(base, tmp_path, given), tmp_path)
    kind = asked(base, lambda self, made: per_image(made), by_group)
    own: Any = attached(made(kind, tmp_path, given), tmp_path)
    kept: list[list[Tensor]] = []
    for trainer in (plain, own):
        optimizer = trainer.optimizer
        gradients: list[Tensor] = []
        step = optimizer.step

        def noted(step: Any = step, trainer: Any = trainer, gradients: list[Tensor] = gradients) -> None:
            gradients.append(trainer.values[trainer.part].grad.clone())
            step()

        optimizer.step = noted
        values = trainer.values[0].detach().clone().requires_grad_()
        trainer.train_step(trainer.next_batch())
        kept.append(gradients)
    classes = own._classes(0).flatten()
    images = own.decode(values.flatten(0, 1), classes)
    expected = torch.autograd.grad(per_image(Made(images, classes.repeat_interleave(4))), values)[0]
    torch.testing.assert_close(kept[1][0] - kept[0][0], expected, rtol=1e-3, atol=1e-5)
