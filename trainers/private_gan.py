"""DP-SGD for GANs: the discriminator learns from noisy sums of clipped gradients, the generator from it.

Xie et al. 2018, "Differentially Private Generative Adversarial Network". Many updates of the discriminator for each of
the generator, and large batches, make it work: Bie, Kamath, Zhang 2023, "Private GANs, Revisited".
docs/methods/private-teachers.md tells the rest.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.func import grad

from gendistill.errors import UserError
from gendistill.losses.adversarial import RELATIVISTIC
from gendistill.nets.modes import untracked
from gendistill.privacy.accountant import noise_for
from gendistill.privacy.noise import system_uniform
from gendistill.teacher import Teacher
from gendistill.untrusted import Spec
from trainers.batch import Batch
from trainers.gan import ConditionalGANTrainer
from trainers.private import PrivateTrainer, check_class_size
from trainers.record_gradients import in_shapes, record_gradients


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
    default_generator: ClassVar[str | Spec] = "gendistill.nets.dcgan.ConditionalDCGANGenerator"
    default_discriminator: ClassVar[str | Spec] = {
        "class_path": "gendistill.nets.dcgan.ConditionalDCGANDiscriminator",
        "init_args": {"norm": "none"},
    }

    def __init__(
        self,
        *,
        class_size: int | None = None,
        clip: float = 1.0,
        spare: int = 2,
        batch_size: int = 256,
        n_dis: int = 10,
        generator: Spec | None = None,
        discriminator: Spec | None = None,
        loss_type: str = "ns",
        lr_generator: float = 2e-4,
        lr_discriminator: float = 2e-4,
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
        if loss_type == RELATIVISTIC:
            raise UserError(
                "loss_type relativistic shows real images to the generator's update; choose gan, ns, hinge or "
                "wasserstein"
            )
        if not 0 < clip < float("inf"):
            raise UserError(f"clip is {clip}; give a positive norm")
        if isinstance(spare, bool) or not isinstance(spare, int) or spare < 0:
            raise UserError(f"spare is {spare!r}; give a whole number from 0")
        self.class_size, self.clip, self.spare = check_class_size(class_size), float(clip), spare

    def build(self) -> None:
        """Make both networks, and find the noise."""
        super().build()
        self.require_no_statistics(self.discriminator)
        self.rate = sample_rate(self.batch_size, self.class_size, self.data.description.num_classes)
        calls = self.steps * self.n_dis + self.spare
        self.noise_multiplier = noise_for(
            self.budget.epsilon, self.budget.delta, calls, self.rate, self.budget.accountant
        )
        self.sums.at_once = 64  # their gradients fit the cache: half the time of 250
        self.made = 0
        """Updates of the discriminator so far."""

    def discriminator_step(self, real: Batch) -> None:
        """Make one update of the discriminator by a private sum.

        Args:
            real: Of the stand-in; not looked at.
        """
        with torch.no_grad(), untracked(self.generator):
            fake = self.fakes()
        network = self.discriminator.eval()
        assert fake.labels is not None
        fake_images, fake_labels = fake.images, fake.labels

        def pair(applied: Any, image: Tensor, label: Tensor, other: Tensor, others: Tensor, place: Tensor) -> Tensor:
            output_real, output_fake = applied(image[None], label[None]), applied(other[None], others[None])
            loss: Tensor = self.discriminator.compute_gan_loss(output_real=output_real, output_fake=output_fake)
            if self.gradient_penalty:
                between = place * image + (1 - place) * other
                slope = grad(lambda at: applied(at[None], label[None]).sum())(between)
                loss = loss + self.gradient_penalty * (slope.square().sum().add(1e-12).sqrt() - 1).square()
            return loss

        def contribution(images: Tensor, labels: Tensor) -> Tensor:
            # Which generated image a record meets is drawn for it alone: who else is in the sample has no say.
            draws = torch.from_numpy(system_uniform(2 * len(images))).to(images)
            chosen = (draws[: len(images)] * len(fake_images)).long().clamp(max=len(fake_images) - 1)
            rows = (images, labels, fake_images[chosen], fake_labels[chosen], draws[len(images) :])
            return record_gradients(network, pair, *rows)

        name = f"update-{self.made:08d}"
        total = self.sums.release(
            self.name_of(name, noise=self.noise_multiplier, rate=self.rate, clip=self.clip, seed=self.run.options.seed),
            contribution,
            purpose="gradient of a discriminator",
            bound=self.clip,
            noise=self.noise_multiplier,
            rate=self.rate,
        )
        saved = self.n_dis * self.run.options.save_every
        self.sums.releases.forget_before("update-", (self.made // saved - 1) * saved)
        self.made += 1
        gradients = in_shapes(total.to(self.device) / self.batch_size, network)
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        for parameter, gradient in zip(trained, gradients, strict=True):
            parameter.grad = gradient
        self.discriminator_optimizer.step()
        network.train()
        # On generated images alone: it also moves the power iterations of spectral norm, if there are any.
        with torch.no_grad():
            self.record("prob/fake", self.discriminate(fake).sigmoid().mean())

    def teacher(self) -> Teacher:
        """Return the averaged generator, with what it promises."""
        made = super().teacher()
        made.metadata |= self.promised()
        return made


def sample_rate(batch_size: int, class_size: int, num_classes: int) -> float:
    """Return the chance of a record to be in a sample, from public numbers.

    Raises:
        UserError: A sample would be larger than the data.
    """
    rate = batch_size / (class_size * num_classes)
    if rate > 1:
        raise UserError(
            f"a sample of {batch_size} records is more than {num_classes} classes of {class_size} images have; choose "
            "a smaller one"
        )
    return rate
