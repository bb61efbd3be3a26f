"""Bases of generators and discriminators, in the manner of torch-mimicry: same names, same attributes.

What differs: an unknown ``loss_type`` is refused when the network is built and not at its first loss, random numbers
come from a generator that the caller owns, and the training step lives in the trainer (``trainers/gan.py``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.losses import adversarial


class BaseModel(nn.Module, ABC):
    """A network that knows where it lives and how large it is."""

    @abstractmethod
    def forward(self, *args: Tensor | None) -> Tensor:
        """Map a batch to a batch."""

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return next(self.parameters()).device

    def count_params(self) -> tuple[int, int]:
        """Return the number of parameters and how many of them are trainable."""
        total = sum(parameter.numel() for parameter in self.parameters())
        return total, sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)


class Generator(nn.Module):
    """What a teacher's file may name as its generator: a network from latents (N, nz), and classes, to images."""


class BaseGenerator(BaseModel, Generator):
    """Maps latents (N, nz) to images (N, C, H, W) in [-1, 1].

    Attributes:
        nz: Size of a latent.
        ngf: Width of the feature maps.
        bottom_width: Height and width in pixels of the first feature map.
        loss_type: One of ``gan``, ``ns``, ``hinge``, ``wasserstein``, ``relativistic``.
    """

    def __init__(self, nz: int, ngf: int, bottom_width: int, loss_type: str = "hinge") -> None:
        super().__init__()
        check_positive(nz=nz, ngf=ngf, bottom_width=bottom_width)
        self.nz = nz
        self.ngf = ngf
        self.bottom_width = bottom_width
        self.loss_type = adversarial.check_loss_type(loss_type)

    def draw_noise(
        self, count: int, device: torch.device | str | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return latents (count, nz) from the standard normal prior.

        Args:
            count: How many, at least 1.
            device: Where the result goes; the network's own when not given.
            generator: Where the numbers come from; torch's global generator when not given.

        Raises:
            UserError: ``count`` is below 1.
        """
        check_positive(num_images=count)
        target = torch.device(device) if device is not None else self.device
        source = generator.device if generator is not None else target
        return torch.randn(count, self.nz, device=source, generator=generator).to(target)

    def generate_images(
        self, num_images: int, device: torch.device | str | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return generated images (num_images, C, H, W); see :meth:`draw_noise` for the arguments."""
        images: Tensor = self(self.draw_noise(num_images, device, generator))
        return images

    def compute_gan_loss(self, output: Tensor, output_real: Tensor | None = None) -> Tensor:
        """Return the generator's adversarial loss, a scalar, from logits (N, 1).

        Args:
            output: Of its images.
            output_real: Of as many real images; ``relativistic`` alone looks at them.
        """
        return adversarial.generator_loss(self.loss_type, output, output_real)


class BaseConditionalGenerator(BaseGenerator):
    """Maps latents (N, nz) and class indices (N,) to images (N, C, H, W) in [-1, 1].

    Attributes:
        num_classes: Number of classes.
    """

    def __init__(self, num_classes: int, nz: int, ngf: int, bottom_width: int, loss_type: str = "hinge") -> None:
        super().__init__(nz=nz, ngf=ngf, bottom_width=bottom_width, loss_type=loss_type)
        check_positive(num_classes=num_classes)
        self.num_classes = num_classes

    def draw_labels(
        self,
        count: int,
        c: int | None = None,
        device: torch.device | str | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return class indices (count,): all ``c``, or uniform when ``c`` is not given.

        Raises:
            UserError: ``count`` is below 1, or ``c`` is not a class.
        """
        check_positive(num_images=count)
        target = torch.device(device) if device is not None else self.device
        if c is not None:
            if not 0 <= c < self.num_classes:
                raise UserError(f"class {c} does not exist; the generator knows classes 0 to {self.num_classes - 1}")
            return torch.full((count,), c, device=target)
        source = generator.device if generator is not None else target
        return torch.randint(self.num_classes, (count,), device=source, generator=generator).to(target)

    def generate_images(  # type: ignore[override]
        self,
        num_images: int,
        c: int | None = None,
        device: torch.device | str | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return generated images (num_images, C, H, W); see :meth:`generate_images_with_labels`."""
        return self.generate_images_with_labels(num_images, c, device, generator)[0]

    def generate_images_with_labels(
        self,
        num_images: int,
        c: int | None = None,
        device: torch.device | str | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return generated images (num_images, C, H, W) and their class indices (num_images,).

        Labels are drawn before noise, in this order, from the same generator.

        Args:
            num_images: How many, at least 1.
            c: The class of all of them; uniform over the classes when not given.
            device: Where the result goes; the network's own when not given.
            generator: Where the numbers come from; torch's global generator when not given.

        Raises:
            UserError: ``num_images`` is below 1, or ``c`` is not a class.
        """
        labels = self.draw_labels(num_images, c, device, generator)
        return self(self.draw_noise(num_images, device, generator), labels), labels


class BaseDiscriminator(BaseModel):
    """Maps images (N, C, H, W) to logits (N, 1), large where an image looks real.

    Attributes:
        ndf: Width of the feature maps.
        loss_type: One of ``gan``, ``ns``, ``hinge``, ``wasserstein``, ``relativistic``.
    """

    def __init__(self, ndf: int, loss_type: str = "hinge") -> None:
        super().__init__()
        check_positive(ndf=ndf)
        self.ndf = ndf
        self.loss_type = adversarial.check_loss_type(loss_type)

    def compute_gan_loss(self, output_real: Tensor, output_fake: Tensor) -> Tensor:
        """Return the discriminator's adversarial loss, a scalar, from logits (N, 1) of real and generated images."""
        return adversarial.discriminator_loss(self.loss_type, output_real=output_real, output_fake=output_fake)

    def compute_probs(self, output_real: Tensor, output_fake: Tensor) -> tuple[Tensor, Tensor]:
        """Return D(x) and D(G(z)), the mean probabilities of being real, as detached scalars on the device."""
        return output_real.detach().sigmoid().mean(), output_fake.detach().sigmoid().mean()


class BaseConditionalDiscriminator(BaseDiscriminator):
    """Maps images (N, C, H, W) and class indices (N,) to logits (N, 1).

    Attributes:
        num_classes: Number of classes.
    """

    def __init__(self, num_classes: int, ndf: int, loss_type: str = "hinge") -> None:
        super().__init__(ndf=ndf, loss_type=loss_type)
        check_positive(num_classes=num_classes)
        self.num_classes = num_classes


def check_positive(**values: int) -> None:
    """Refuse any value that is not a whole number of at least 1.

    Raises:
        UserError: Names the value.
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(f"{name} must be a whole number of at least 1, got {value!r}")
