"""A generator as a decode: what is stored are latents, or the features that one of its layers gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn

from gendistill import shipped, sphere
from gendistill.data.classes import listed
from gendistill.data.description import Description
from gendistill.data.real import RealData
from gendistill.decodes import Decode
from gendistill.errors import UserError, did_you_mean
from gendistill.sphere_optimizer import SphereOptimizer
from gendistill.teacher.generator import GeneratorTeacher
from gendistill.teacher.reference import open_teacher


class Generated(Decode):
    """Images that a generator makes of latents and classes.

    In a layer (GLaD, Cazenavette et al. 2023) its output takes the place of what the latents give, image by image; the
    rest of the generator goes on from there. A latent's few numbers then no longer bound what can be shown.

    A teacher of such values is a generator with its latents (:func:`gendistill.teacher.decoded.teacher_of`), and so
    this is named by trainers, and never by a file.

    Args:
        generator: A generator teacher, its file, the directory of the run that trained it, or a torch-mimicry
            checkpoint.
        layer: Dotted name of a layer of the network; None: the latents themselves.

    Raises:
        UserError: The network has no such layer.
    """

    source: GeneratorTeacher

    def __init__(self, generator: str | GeneratorTeacher, layer: str | None = None) -> None:
        self.generator = generator
        self.layer = layer
        self.module: nn.Module | None = None
        if isinstance(generator, GeneratorTeacher):
            self._take(generator)

    def _take(self, source: GeneratorTeacher) -> None:
        self.source = source
        if self.layer is not None:
            layers = {name: module for name, module in source.network.named_modules() if name}
            if self.layer not in layers:
                hint = did_you_mean(self.layer, layers)
                raise UserError(
                    f"the generator {type(source.network).__name__} has no layer '{self.layer}'; {hint}its layers are: "
                    f"{', '.join(layers)}"
                )
            self.module = layers[self.layer]

    def attach(self, data: RealData, device: torch.device) -> Self:
        """Open the generator; see :meth:`Decode.attach`."""
        if not isinstance(self.generator, GeneratorTeacher):
            self._take(open_generator(str(self.generator), data, device))
        return super().attach(data, device)

    def prepare(self, description: Description) -> Self:
        """Take the normalisation that images are brought to; see :meth:`Decode.prepare`."""
        if not hasattr(self, "source"):
            raise UserError(
                "a teacher's file holds its generator itself, and names none as the decode of stored images"
            )
        super().prepare(description)
        self._shape: tuple[int, ...] = (self.source.nz,)
        if self.module is not None:
            blank = torch.zeros(2, self.source.nz, device=self.source.device)
            self._shape = tuple(self.points(blank, torch.zeros(2, dtype=torch.int64, device=blank.device)).shape[1:])
        return self

    def to(self, device: torch.device | str) -> Self:
        """Move the generator; see :meth:`Decode.to`."""
        self.source.to(device)
        return super().to(device)

    @property
    def apart(self) -> bool:
        """Whether an image depends on its own value alone, and not on those that are made beside it."""
        return self.source.batch_norm == "eval"

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape of a latent, or of the layer's features of one image."""
        return self._shape

    def cell(self, values: Tensor, places: Tensor, labels: Tensor) -> Tensor:
        """Return the images of values in the data's normalisation; see :meth:`Decode.cell`."""
        made = self.render(values, labels)
        return self.source.description.normalisation.convert(made, self.description.normalisation)

    def render(self, values: Tensor, labels: Tensor, latents: Tensor | None = None) -> Tensor:
        """Return images (N, C, H, W) in the generator's own normalisation, differentiable in the values.

        Args:
            values: (N, *stored_shape).
            labels: (N,) or (N, K) what the generator is told; of soft ones it is told the likeliest class.
            latents: (N, nz) at which the layers before the searched one are asked; None: 0. Not used without a layer.
        """
        classes = labels.argmax(-1) if labels.is_floating_point() else labels
        if self.module is None:
            return self.source.render(values, classes)
        blank = values.new_zeros(len(values), self.source.nz) if latents is None else latents
        with replaced(self.module, values):
            return self.source.render(blank, classes)

    def points(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Return the values at latents (N, nz): themselves, or the layer's output (N, ...).

        Raises:
            UserError: The layer is not called once, or gives something else than one tensor for all images.
        """
        if self.module is None:
            return latents
        seen: list[Any] = []
        handle = self.module.register_forward_hook(lambda module, inputs, output: seen.append(output))
        try:
            self.source.generate(latents, labels)
        finally:
            handle.remove()
        if len(seen) != 1 or not isinstance(seen[0], Tensor) or len(seen[0]) != len(latents):
            raise UserError(
                f"layer '{self.layer}' does not give one tensor for all images in one call; choose another one, "
                "such as a block"
            )
        return seen[0].detach().float()

    def encode(self, images: Tensor) -> Tensor:
        """Refuse: see :meth:`Decode.encode`.

        Raises:
            UserError: Always.
        """
        raise UserError(
            "a generator's latents cannot be read off real images; start from noise, which draws them on the sphere "
            "(images: noise)"
        )

    def noise(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return latents drawn uniformly from the sphere, or the layer's features of them."""
        latents = sphere.uniform(len(labels), self.source.nz, generator).to(self.source.device)
        return self.points(latents, labels.to(latents.device)).to(generator.device)

    def kept(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """Return an optimiser that keeps latents on the sphere; a layer's features are free."""
        return optimizer if self.module is not None else SphereOptimizer(optimizer)

    def allowed(self, values: Tensor) -> Tensor:
        """Return latents brought to the sphere; a layer's features are free."""
        return values if self.module is not None else sphere.project(values, check=False)

    def words(self) -> str:
        """Return what it does as part of a sentence."""
        return "latents of a generator"


def open_generator(reference: str, data: RealData, device: torch.device) -> GeneratorTeacher:
    """Open a teacher that has a latent space.

    Args:
        reference: A generator teacher's file, the directory of the run that trained it, or a torch-mimicry checkpoint.
        data: The data set that its images stand for.
        device: Where it goes.

    Raises:
        UserError: It cannot be opened, holds images and no generator, or knows some of the classes alone.
    """
    opened = open_teacher(reference, data, device=device)
    if not isinstance(opened, GeneratorTeacher):
        raise UserError(
            f"'{reference}' is a teacher of kind '{opened.kind}', which has no latent space; give a "
            f"generator's file or run, or one that comes with the project ({', '.join(shipped.generators())})"
        )
    if opened.classes is not None:
        names = [opened.description.class_names[kind] for kind in opened.classes]
        raise UserError(
            f"the generator of '{reference}' has learned images of {listed(names)} alone, and latents of every class "
            f"are looked for; give one that knows all of '{data.description.name}'"
        )
    return opened


@contextmanager
def replaced(module: nn.Module, output: Tensor) -> Iterator[None]:
    """Let a module give ``output`` inside, whatever it is given."""
    handle = module.register_forward_hook(lambda module, inputs, given: output.to(given.dtype))
    try:
        yield
    finally:
        handle.remove()
