"""Multi-formation: a stored image is a sheet of smaller ones, each of which is shown at the full size.

Kim et al. 2022, "Dataset Condensation via Efficient Synthetic-Data Parameterization" (IDC), section 4; also used by
DREAM, IDM, M3D and NCFM.
"""

from __future__ import annotations

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from gendistill.data.description import Description
from gendistill.decodes.base import Decode
from gendistill.errors import UserError

GREY = 0.5
"""The pixel value by which a sheet is widened to the right and below where its side is no multiple of the factor."""
LEAST = 2
"""Pixels of a cell's side, at least."""


class Formation(Decode):
    """A sheet of ``factor`` x ``factor`` cells, each enlarged bilinearly to the size of the sheet.

    As published: the sheet is cut into cells of ``ceil(H / factor)`` by ``ceil(W / factor)`` pixels, widened by grey
    where that is more than it has, and each cell is resized with ``align_corners=False``. All of it is linear, so that
    normalised images may be stored; the published code stores pixels. Cells come row by row, those of one sheet in
    succession, where the published code takes the first cells of all sheets first.

    Args:
        factor: Cells along a side, 1 or more; 1 is the identity. The papers take 2 up to 64x64 pixels, 3 for ImageNet.

    Raises:
        UserError: The factor is no whole number from 1.
    """

    def __init__(self, factor: int = 2) -> None:
        if isinstance(factor, bool) or not isinstance(factor, int) or factor < 1:
            raise UserError(f"the factor of a formation is {factor!r}; give a whole number from 1, such as 2")
        self.factor = factor
        self.cells = factor * factor

    def prepare(self, description: Description) -> Self:
        """Take the size of a sheet; see :meth:`Decode.prepare`."""
        _, height, width = description.image_shape
        if self.factor > 1 and description.kind != "pictures":
            raise UserError(
                f"a formation is a sheet of pictures; '{description.name}' holds {description.kind}, leave decode out"
            )
        if self.factor > 1 and self.factor * LEAST > min(height, width):
            raise UserError(
                f"the factor of a formation is {self.factor}; images of '{description.name}' are {width}x{height} "
                f"pixels, which a factor up to {max(1, min(height, width) // LEAST)} can share"
            )
        self.side = -(-height // self.factor), -(-width // self.factor)
        normalisation = description.normalisation
        # Of whitened images no one value is grey; 0 is the mean image.
        grey = torch.full((1, description.image_shape[0], 1, 1), GREY)
        self.fill = torch.zeros_like(grey) if normalisation.whitening is not None else normalisation.apply(grey)
        return super().prepare(description)

    def to(self, device: torch.device | str) -> Self:
        """Move the grey; see :meth:`Decode.to`."""
        self.fill = self.fill.to(device)
        return super().to(device)

    def cell(self, values: Tensor, places: Tensor, labels: Tensor) -> Tensor:
        """Return one cell of each sheet, enlarged; see :meth:`Decode.cell`."""
        if self.factor == 1:
            return values
        return self._enlarged(self._cut(values)[torch.arange(len(values), device=values.device), places])

    def __call__(self, values: Tensor, labels: Tensor) -> Tensor:
        """Return all cells of all sheets, enlarged; see :meth:`Decode.__call__`."""
        return values if self.factor == 1 else self._enlarged(self._cut(values).flatten(0, 1))

    def encode(self, images: Tensor) -> Tensor:
        """Return sheets (N, C, H, W) of images (N * cells, C, H, W), each reduced to nearest pixels (IDC's ``mix``).

        Where the side is no multiple of the factor they stand where they are cut out again, which the published code
        misses by a pixel.
        """
        if self.factor == 1:
            return images
        small = F.interpolate(images, self.side, mode="nearest")
        by_sheet = small.unflatten(0, (-1, self.factor, self.factor))
        _, height, width = self.description.image_shape
        sheets = by_sheet.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
        return sheets[:, :, :height, :width].contiguous()

    def takes(self, other: Decode) -> bool:
        """Return whether the other's sheets have as many cells, however they are stored."""
        return isinstance(other, Formation) and other.factor == self.factor

    def words(self) -> str:
        """Return what it does as part of a sentence."""
        return f"each stored image shows {self.cells} ({self.factor} x {self.factor}, enlarged)"

    def _cut(self, sheets: Tensor) -> Tensor:
        """Return the cells (N, cells, C, h, w) of sheets (N, C, H, W)."""
        (height, width), factor = self.side, self.factor
        count, channels, high, wide = sheets.shape
        if (high, wide) != (height * factor, width * factor):
            # Built from the fill, since grey is another number in each channel.
            whole = self.fill.to(sheets).expand(count, -1, height * factor, width * factor).clone()
            whole[:, :, :high, :wide] = sheets
            sheets = whole
        cells = sheets.view(count, channels, factor, height, factor, width).permute(0, 2, 4, 1, 3, 5)
        return cells.flatten(1, 2)

    def _enlarged(self, cells: Tensor) -> Tensor:
        return F.interpolate(cells, self.description.image_shape[1:], mode="bilinear", align_corners=False)
