"""ZCA whitening: images turned so that their values are uncorrelated, with as little change to them as possible."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from gendistill.errors import UserError
from gendistill.spelling import option

EPSILON = 0.1
"""What trajectory matching adds to the eigenvalues (Cazenavette et al. 2022, through Kornia's ``ZCAWhitening``)."""

LARGEST = 16_384
"""Values of an image that can be whitened at most: the matrix has their square, 1 GiB in float32."""

BATCH = 4096
"""Images whose outer products are summed at a time."""


class Whitening:
    """The affine map ``(x - mean) W`` of flat images x, with its inverse; equal when all numbers are.

    Args:
        mean: (D,) float32.
        matrix: (D, D) float32, W, which must have an inverse.

    Raises:
        UserError: The shapes do not belong together, or a value is not finite.
    """

    def __init__(self, mean: Tensor, matrix: Tensor) -> None:
        size = mean.numel()
        if mean.shape != (size,) or matrix.shape != (size, size) or not size:
            raise UserError(
                f"a whitening needs a mean (D,) and a matrix (D, D), got {tuple(mean.shape)} and {tuple(matrix.shape)}"
            )
        if not all(tensor.is_floating_point() and bool(tensor.isfinite().all()) for tensor in (mean, matrix)):
            raise UserError("a whitening's mean and matrix must be finite floating-point numbers")
        self.mean = mean.detach().to("cpu", torch.float32).contiguous()
        self.matrix = matrix.detach().to("cpu", torch.float32).contiguous()
        digest = hashlib.sha256()
        for tensor in (self.mean, self.matrix):
            digest.update(tensor.numpy().tobytes())
        self.sha256 = digest.hexdigest()
        self._inverse: Tensor | None = None
        self._placed: dict[tuple[torch.device, bool], tuple[Tensor, Tensor]] = {}

    @classmethod
    def fit(cls, values: Tensor, epsilon: float = EPSILON, *, scale: float = 1.0) -> Whitening:
        """Fit to images: ``W = U (S + epsilon)^(-1/2) U'`` for the covariance ``U S U'`` (over N - 1).

        Args:
            values: (N, C, H, W), N at least 2, float or uint8; the device is where the sums are made.
            epsilon: Added to the eigenvalues; positive.
            scale: What values are divided by: 255 for uint8 pixels.

        Returns:
            The whitening.

        Raises:
            UserError: Too few images, too many values an image, or an epsilon that is not positive.

        Source:
            Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images", appendix A, with Kornia's epsilon.
        """
        if not 0 < epsilon < float("inf"):
            raise UserError(f"epsilon of a whitening is {epsilon}; it must be positive, {EPSILON} is usual")
        flat = values.flatten(1)
        count, size = flat.shape
        if count < 2:
            raise UserError(f"whitening is fitted to {count} images; it needs 2 or more")
        if size > LARGEST:
            raise UserError(
                f"images of {size} values cannot be whitened, the matrix would have {size}x{size} numbers; at most "
                f"{LARGEST} values are possible, so leave {option('whitening')} out, or bring images of a folder to a "
                f"smaller size ({option('image_size')})"
            )
        sums = torch.zeros(size, dtype=torch.float64, device=flat.device)
        for part in flat.split(BATCH):
            sums += part.to(torch.float64).sum(0)
        mean = sums / count
        products = torch.zeros(size, size, dtype=torch.float64, device=flat.device)
        # Centred before they are multiplied, so that single precision is enough for products and half the time.
        centre = mean.to(torch.float32)
        for part in flat.split(BATCH):
            centred = (part.to(torch.float32) - centre) / scale
            products += (centred.T @ centred).to(torch.float64)
        eigenvalues, vectors = torch.linalg.eigh((products / (count - 1)).cpu())
        # Rounding makes zero eigenvalues slightly negative.
        roots = (eigenvalues.clamp(min=0) + epsilon).rsqrt()
        return cls((mean / scale).cpu().to(torch.float32), ((vectors * roots) @ vectors.T).to(torch.float32))

    @property
    def size(self) -> int:
        """Values of an image, D = C * H * W."""
        return len(self.mean)

    def apply(self, images: Tensor) -> Tensor:
        """Whiten images (N, C, H, W) float32."""
        flat = self._flat(images)
        mean, matrix = self._on(images.device, inverse=False)
        return ((flat - mean) @ matrix).view(images.shape)

    def invert(self, images: Tensor) -> Tensor:
        """Undo :meth:`apply` for images (N, C, H, W) float32."""
        flat = self._flat(images)
        mean, inverse = self._on(images.device, inverse=True)
        return (flat @ inverse + mean).view(images.shape)

    def _flat(self, images: Tensor) -> Tensor:
        flat = images.flatten(1)
        if flat.shape[1] != self.size:
            raise UserError(
                f"this whitening is for images of {self.size} values, these have {flat.shape[1]} "
                f"(shape {tuple(images.shape[1:])}); use it with the images that it was fitted to"
            )
        return flat

    def _on(self, device: torch.device, *, inverse: bool) -> tuple[Tensor, Tensor]:
        """Return mean and matrix or its inverse on a device, where they stay."""
        if (device, inverse) not in self._placed:
            matrix = self._inverted() if inverse else self.matrix
            self._placed[device, inverse] = (self.mean.to(device), matrix.to(device))
        return self._placed[device, inverse]

    def _inverted(self) -> Tensor:
        if self._inverse is None:
            try:
                self._inverse = torch.linalg.inv(self.matrix.to(torch.float64)).to(torch.float32)
            except RuntimeError as error:
                raise UserError("the whitening's matrix has no inverse; fit it again") from error
        return self._inverse

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Whitening) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __repr__(self) -> str:
        return f"Whitening({self.size}, {self.sha256[:16]})"
