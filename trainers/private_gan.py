"""DP-SGD for GANs: the discriminator learns from noisy sums of clipped gradients, the generator from it.

Xie et al. 2018, "Differentially Private Generative Adversarial Network". Many updates of the discriminator for each of
the generator, and large batches, make it work: Bie, Kamath, Zhang 2023, "Private GANs, Revisited".
docs/methods/private-teachers.md tells the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from gendistill.errors import UserError
from gendistill.nets.modes import untracked
from gendistill.teacher import Teacher
from gendistill.untrusted import Spec
from trainers.batch import Batch
from trainers.gan import ConditionalGANTrainer
from trainers.private import PrivateTrainer, check_class_size, check_spare, require_no_statistics, sample_rate
from trainers.private_pairs import PairUpdates, check_divisible


class PrivateGANTrainer(PrivateTrainer, ConditionalGANTrainer):
    """Train a conditional GAN whose discriminator sees private images through noisy sums of clipped gradients.

    A record's gradient is that of a pair: its own loss and that of a generated image, which is drawn for it on its own.
    The generator, and all that is made of it, only sees the discriminator's weights.

    Args:
        class_size: About how many images a class has: a public number, from which the rate of a sample follows.
        clip: Norm to which a pair's gradient is clipped.
        spare: Sums that the noise leaves room for beyond ``run.steps`` times ``n_dis``.
        batch_size: Records that a sample has on average, and generated images of a step.
        n_dis: Updates of the discriminator, each a private sum, for one of the generator.
        generator: See :class:`~trainers.gan.GANTrainer`, as for the others.
        discriminator: See there; without batch norm.
        loss_type: See there.
        lr_generator: See there.
        lr_discriminator: See there.
        betas: See there.
        ema_decay: See there.
        gradient_penalty: Weight of the WGAN-GP penalty, between a record and the generated image of its pair.
        epsilon: See :class:`~trainers.private.PrivateTrainer`, as for the others.
        delta: See there.
        accountant: See there.
        unit: See there.

    Raises:
        UserError: An option is out of range.
    """

    takes_terms = False
    public: ClassVar[tuple[str, ...]] = ("about how many images a class has (class_size)",)
    default_generator: ClassVar[str | Mapping[str, Any]] = "gendistill.nets.dcgan.ConditionalDCGANGenerator"
    default_discriminator: ClassVar[str | Mapping[str, Any]] = {
        "class_path": "gendistill.nets.dcgan.ConditionalDCGANDiscriminator",
        "init_args": {"norm": "none", "conditioning": "projection"},
    }

    def __init__(
        self,
        *,
        class_size: int | None = None,
        clip: float = 1.0,
        spare: int = 2,
        batch_size: int = 256,
        n_dis: int = 3,
        generator: Spec | None = None,
        discriminator: Spec | None = None,
        loss_type: str = "ns",
        lr_generator: float = 1e-3,
        lr_discriminator: float = 1e-3,
        betas: tuple[float, float] = (0.5, 0.999),
        ema_decay: float = 0.99,
        gradient_penalty: float = 0.0,
        epsilon: float = 1.0,
        delta: float = 1e-5,
        accountant: str = "rdp",
        unit: str = "one image",
    ) -> None:
        super().__init__(
            epsilon=epsilon,
            delta=delta,
            accountant=accountant,
            unit=unit,
            batch_size=batch_size,
            n_dis=n_dis,
            generator=generator,
            discriminator=discriminator,
            loss_type=loss_type,
            lr_generator=lr_generator,
            lr_discriminator=lr_discriminator,
            betas=betas,
            lr_decay="none",
            ema_decay=ema_decay,
            gradient_penalty=gradient_penalty,
        )
        check_divisible(loss_type)
        if not 0 < clip < float("inf"):
            raise UserError(f"clip is {clip}; give a positive norm")
        self.class_size, self.clip, self.spare = check_class_size(class_size), float(clip), check_spare(spare)

    def build(self) -> None:
        """Make both networks, and find the noise."""
        super().build()
        require_no_statistics(self.discriminator)
        classes = self.data.description.num_classes
        whole = f"{classes} classes of {self.class_size} images"
        self.made = 0
        """Updates of the discriminator so far."""
        self.pairs = PairUpdates(
            self.sums,
            updates=self.steps * self.n_dis,
            rate=sample_rate(self.batch_size, self.class_size * classes, whole),
            size=self.batch_size,
            clip=self.clip,
            seed=self.run.options.seed,
            keep=self.n_dis * self.run.options.save_every,
            spare=self.spare,
            penalty=self.gradient_penalty,
        )

    def discriminator_step(self, real: Batch) -> None:
        """Make one update of the discriminator by a private sum.

        Args:
            real: Of the stand-in; not looked at.
        """
        with torch.no_grad(), untracked(self.generator):
            fake = self.fakes()
        self.pairs.make(self.made, self.discriminator, self.discriminator_optimizer, fake)
        self.made += 1
        # On generated images alone: it also moves the power iterations of spectral norm, if there are any.
        with torch.no_grad():
            self.record("prob/fake", self.discriminate(fake).sigmoid().mean())

    def teacher(self) -> Teacher:
        """Return the averaged generator, with what it promises."""
        made = super().teacher()
        made.metadata |= self.promised()
        return made
