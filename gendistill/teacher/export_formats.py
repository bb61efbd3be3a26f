"""One function a format: write stored images into an empty folder and say what there is to know."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from gendistill.errors import UserError
from gendistill.escapes import LONGEST_NAME, spreadsheet_cell
from gendistill.finite import check_finite
from gendistill.teacher.files import save
from gendistill.teacher.folder import class_folder
from gendistill.teacher.image_forms import outside
from gendistill.teacher.own_exports import INDEX, PARQUET_FILE, TEACHER_FILE
from gendistill.teacher.stored import StoredImages
from gendistill.teacher.torch_files import own, write


def quantise(images: StoredImages) -> tuple[Tensor, dict[str, float]]:
    """Return pixels (N, C, H, W) uint8, and what clipping and rounding changed.

    Returns:
        The pixels; ``max_quantisation_error``, the largest change in units of [0, 1], and ``clipped``, the share of
        values that lie outside [0, 1], where pictures end.
    """
    if (kind := images.description.kind) != "pictures":
        words = ", or print their words with tokens" if kind == "sentences" else ""
        raise UserError(f"{kind} are no pictures; export them as pt, safetensors, mtt or dd{words}")
    if images.images.dtype == torch.uint8:
        return images.images.cpu(), {"max_quantisation_error": 0.0, "clipped": 0.0}
    pixels = check_finite("images", images.description.normalisation.invert(images.images.cpu()))
    rounded = pixels.clamp(0, 1).mul(255).round()
    change = float((pixels - rounded / 255).abs().max())
    return rounded.to(torch.uint8), {"max_quantisation_error": change, "clipped": outside(pixels)}


def write_png(images: StoredImages, folder: Path) -> dict[str, Any]:
    """Write one folder of 8-bit PNG a class, and ``metadata.csv``: file_name, label, class_name, soft_label (JSON)."""
    pixels, change = quantise(images)
    width = len(str(len(pixels) - 1))
    columns = ["file_name", "label", "class_name"] + (["soft_label"] if images.labels_are_soft else [])
    for label in range(images.description.num_classes):
        # Empty classes have a folder too: readers number classes by sorted folder names.
        (folder / class_folder(label, images.description)).mkdir()
    with (folder / INDEX).open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(columns)
        for number, (image, label) in enumerate(zip(pixels, images.classes.tolist(), strict=True)):
            name = f"{class_folder(label, images.description)}/{number:0{width}d}.png"
            _picture(image).save(folder / name, format="PNG")
            row = [name, label, spreadsheet_cell(images.description.class_names[label], LONGEST_NAME)]
            table.writerow(row + ([json.dumps(images.labels[number].tolist())] if images.labels_are_soft else []))
    return change


def write_pt(images: StoredImages, folder: Path) -> dict[str, Any]:
    """Write ``images.pt`` (N, C, H, W) float32 normalised and ``labels.pt`` (N,) int64 or (N, K) float32."""
    values, labels = images.everything()
    named = {"images": values, "labels": labels, "learning_rates": images.learning_rates, "momenta": images.momenta}
    files = {f"{name}.pt": tensor for name, tensor in named.items() if tensor is not None}
    for name, tensor in files.items():
        write(folder / name, own(tensor))
    return {"files": sorted(files)}


def write_parquet(images: StoredImages, folder: Path) -> dict[str, Any]:
    """Write one Parquet file laid out as Hugging Face ``datasets`` does: image (PNG bytes), label, soft_label."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            "exporting to parquet needs pyarrow; install it with: pip install 'gendistill[parquet]'"
        ) from error
    pixels, change = quantise(images)
    encoded = []
    for number, image in enumerate(pixels):
        buffer = io.BytesIO()
        _picture(image).save(buffer, format="PNG")
        encoded.append({"bytes": buffer.getvalue(), "path": f"{number}.png"})
    features: dict[str, Any] = {
        "image": {"_type": "Image"},
        "label": {"names": list(images.description.class_names), "_type": "ClassLabel"},
    }
    picture = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    columns = {
        "image": pyarrow.array(encoded, type=picture),
        "label": pyarrow.array(images.classes.tolist(), type=pyarrow.int64()),
    }
    if images.labels_are_soft:
        columns["soft_label"] = pyarrow.array(images.labels.tolist(), type=pyarrow.list_(pyarrow.float32()))
        features["soft_label"] = {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "Sequence"}
    schema = pyarrow.table(columns).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    (folder / PARQUET_FILE).parent.mkdir()
    pyarrow.parquet.write_table(schema, folder / PARQUET_FILE)
    return {**change, "files": [PARQUET_FILE]}


def write_safetensors(images: StoredImages, folder: Path) -> dict[str, Any]:
    """Write ``teacher.safetensors``, a teacher of stored images without loss."""
    save(images, folder / TEACHER_FILE)
    return {"files": [TEACHER_FILE]}


def _picture(image: Tensor) -> Image.Image:
    """Return (C, H, W) uint8 as a grey or colour picture."""
    if image.shape[0] == 1:
        return Image.fromarray(image[0].numpy())
    if image.shape[0] == 3:
        return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    raise UserError(f"pictures have 1 or 3 channels, these images have {image.shape[0]}; export as pt or safetensors")
