"""Networks as a user of torch-mimicry writes them: short signatures, no ``**kwargs`` in the training step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch_mimicry.nets.gan import gan
from torch_mimicry.training import metric_log


class OwnGenerator(gan.BaseGenerator):
    def __init__(self, nz: int = 4, ngf: int = 4, bottom_width: int = 4, **kwargs: Any) -> None:
        super().__init__(nz=nz, ngf=ngf, bottom_width=bottom_width, loss_type="hinge", **kwargs)
        self.layers = nn.Sequential(nn.Linear(nz, 3 * 32 * 32), nn.Tanh(), nn.Unflatten(1, (3, 32, 32)))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)

    def train_step(self, real_batch, netD, optG, log_data, device=None, global_step=None):  # type: ignore[no-untyped-def]
        self.zero_grad()
        loss = self.compute_gan_loss(netD(self.generate_images(len(real_batch[0]), device=device)))
        loss.backward()
        optG.step()
        log_data = metric_log.MetricLog()  # what is returned counts
        log_data.add_metric("step", global_step)
        log_data.add_metric("errG", loss, group="loss")
        return log_data


class OwnDiscriminator(gan.BaseDiscriminator):
    def __init__(self, ndf: int = 4, **kwargs: Any) -> None:
        super().__init__(ndf=ndf, loss_type="hinge", **kwargs)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, ndf), nn.ReLU(), nn.Linear(ndf, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)

    def train_step(self, real_batch, netG, optD, log_data, device=None, global_step=None):  # type: ignore[no-untyped-def]
        self.zero_grad()
        images, labels = real_batch
        assert labels.dtype == torch.int64 and len(labels) == len(images)
        fakes = netG.generate_images(len(images), device=device).detach()
        loss = self.compute_gan_loss(output_real=self(images), output_fake=self(fakes))
        loss.backward()
        optD.step()
        log_data.add_metric("errD", loss, group="loss")  # and nothing is returned
