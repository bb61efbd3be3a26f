"""The data card that lies beside exported images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from gendistill.data.licences import UNKNOWN, licence_of
from gendistill.decodes import Decode
from gendistill.escapes import markdown
from gendistill.making import making, words
from gendistill.privacy.promise import KEY, sentence
from gendistill.teacher.own_exports import PARQUET_FILE, TEACHER_FILE
from gendistill.teacher.stored import StoredImages
from gendistill.teacher.stored_labels import NOTED
from gendistill.visible import visible

LONGEST = 200
"""Characters of a name in the front matter."""
TASKS = {"pictures": "image", "sentences": "text", "points": "tabular"}
"""What the tasks of a data set are called there, by what it holds."""
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))

CONTENT = {
    "png": "One folder of 8-bit PNG a class. `metadata.csv` names each file's class (and soft label) in stored order.",
    "pt": "`images.pt` (N, C, H, W) float32, normalised as below; `labels.pt` (N,) int64 or (N, K) float32. Read them "
    "with `torch.load(path, weights_only=True)`.",
    "parquet": "`data/*.parquet` with the columns image (PNG bytes), label and, if learned, soft_label.",
    "safetensors": "`teacher.safetensors`: float32 images without loss, labels and all metadata in one file.",
    "hub": "`data/*.parquet` with the columns image (PNG bytes), label and, if learned, soft_label, which "
    "`datasets.load_dataset` reads; `teacher.safetensors`: the teacher itself as it is stored, without loss, for "
    "`gendistill import`; `sha256sum -c SHA256SUMS` checks the files.",
    "dc": "`res.pt` as the public code of DC, DSA and DM writes it.",
    "mtt": "`images_best.pt` and `labels_best.pt` as MTT writes them; a learned rate is in `lr_best.pt` (one for each "
    "step: `learning_rates.pt`) and, if whitened, `whitening.pt` (mean, matrix) and `images_zca_best.pt` (pixels) "
    "are added.",
    "datm": "`images_best.pt`, `labels_best.pt` (logits) and `lr_best.pt` as DATM writes them; if whitened, "
    "`whitening.pt` (mean, matrix) and `images_zca_best.pt` (pixels) are added.",
    "dd": "`results.pth`, a list of (images, labels, learning rate), as Dataset Distillation writes it.",
    "idc": "`data.pt`, a list [images, labels] of pixels, as IDC, DREAM and NCFM write it; `teacher.json` "
    "says the factor.",
}


def _decoded(decode: Decode, shown: int) -> str:
    """Return the line that says what stored values show, or how they are stored where each shows one image."""
    return f"| shown | {shown}: {decode.words()} |" if decode.cells > 1 else f"| stored as | {decode.words()} |"


def _bytes(images: StoredImages) -> str:
    """Return what the teacher stores, its labels beside its images."""
    cost = images.budget()
    parts = ("image", "label", "labeller")
    return ", ".join(f"{cost[f'{part}_bytes']:,} of {part}s" for part in parts if cost[f"{part}_bytes"])


def _counts(counts: Sequence[int]) -> str:
    """Return the numbers of images by class; where all are the same that one."""
    return f"{counts[0]} each" if len(set(counts)) == 1 and len(counts) > 1 else ", ".join(map(str, counts))


def _labels(images: StoredImages) -> str:
    """Return what labels are."""
    if not images.labels_are_soft:
        return "class indices"
    each = ", for each image that a stored one shows" if images.shown_have_labels else ""
    given = ", given once by a trained network" if images.noted(NOTED, dict) is not None else ""
    return f"soft, one number a class{each}{given}"


def _made(images: StoredImages, kind: str) -> list[str]:
    """Return the lines on how it was made and what that took, as its file says."""
    source = images.metadata.get("source")
    if isinstance(source, Mapping):
        source = source.get("made") or source.get("selection") or source.get("file")
    lines = [f"| made by | {markdown(str(source))} |"] if source else []
    for name in ("seed", "images_per_class", "start", "learner", "augmentation"):
        if images.metadata.get(name) is not None:
            lines.append(f"| {name.replace('_', ' ')} | {markdown(str(images.metadata[name]))} |")
    spent = making(images)
    if spent is not None:
        lines.append(f"| making it took | {', '.join(words(spent))} |")
    elif kind == "stored-images":
        lines.append("| making it took | not noted in its file |")
    return lines


def write_card(
    folder: Path,
    images: StoredImages,
    notes: Mapping[str, Any],
    *,
    licence: str | None = None,
    facts: Mapping[str, str] = MappingProxyType({}),
    sums: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write ``README.md``: YAML front matter for data hubs, then what a person needs to use the images rightly.

    Args:
        folder: The folder of the export.
        images: What was exported.
        notes: What :func:`gendistill.teacher.export.export` notes.
        licence: Of the source data; None: what its owners state, where this project knows it.
        facts: Further lines of the table.
        sums: SHA-256 of files, by name.
    """
    description, result = images.description, notes["export"]
    options = (images.noted("data", dict) or {}).get("options")
    read_from = options.get("name") if isinstance(options, Mapping) else None
    known = None if licence else licence_of(description.name, description.num_classes, read_from)
    front: dict[str, Any] = {
        "pretty_name": f"{visible(description.name, LONGEST)}, {result['images']} images for training",
        "license": visible(licence or (UNKNOWN if known is None else known.name), LONGEST),
        "task_categories": [f"{TASKS[description.kind]}-classification"],
        "size_categories": [next((name for limit, name in SIZES if result["images"] < limit), "n>1M")],
        "source_datasets": [visible(description.name, LONGEST)],
        "tags": ["dataset-distillation", "synthetic" if images.kind == "stored-images" else "real"],
    }
    if result["format"] == "hub":
        front["configs"] = [{"config_name": "default", "data_files": [{"split": "train", "path": PARQUET_FILE}]}]
    normalisation = description.normalisation
    lines = [
        "---",
        yaml.safe_dump(front, sort_keys=False, allow_unicode=True).rstrip(),
        "---",
        "",
        f"# {markdown(description.name)}: {images.images_stored} images that teach",
        "",
        CONTENT[result["format"]],
        "",
        "| | |",
        "|---|---|",
        f"| made from | {markdown(description.name)} |",
        f"| kind of teacher | {notes['exported_from']} |",
        *_made(images, notes["exported_from"]),
        f"| images | {images.images_stored}, shape {tuple(description.image_shape)} |",
        f"| bytes as a teacher | {_bytes(images)} |",
        *([] if images.decode is None else [_decoded(images.decode, images.decoded_images)]),
        *([] if images.labeller is None else [f"| labeller | a network in `{TEACHER_FILE}` labels augmented images |"]),
        f"| classes | {markdown(', '.join(description.class_names))} |",
        f"| images of each class | {_counts(images.label_counts)} |",
        f"| labels | {_labels(images)} |",
        f"| order | {images.order} |",
        f"| normalisation | (pixel - mean) / std with mean {normalisation.mean}, std {normalisation.std} |",
    ]
    if normalisation.whitening is not None:
        lines.append(f"| whitening | ZCA, then (image - mean) @ matrix; sha256 {normalisation.whitening.sha256} |")
    if "max_quantisation_error" in result:
        lines.append(f"| largest change of a pixel by 8 bits | {result['max_quantisation_error']:.4g} of 1 |")
        if result["clipped"]:
            lines.append(f"| values outside [0, 1], which are clipped | {max(result['clipped'], 0.001):.1%} |")
    lines += [f"| lost | {markdown(sentence)} |" for sentence in result["lost"]]
    for name in ("learning_rates", "momenta"):
        if name in notes:
            lines.append(f"| {name.replace('_', ' ')} | {len(notes[name])} learned, in `teacher.json` |")
    if images.batch_size is not None:
        lines.append(f"| images a batch | {images.batch_size} |")
    if (poisoned := images.metadata.get("poisoned")) is not None:
        lines.append(f"| **poisoned** | made so that learners take one class for another: {markdown(str(poisoned))} |")
    lines.append(f"| **privacy** | {markdown(sentence(images.metadata.get(KEY)))} |")
    for warning in images.noted("warnings", list) or ():
        lines.append(f"| **warning** | {markdown(str(warning))} |")
    if result["format"] == "hub":
        said = licence or (None if known is None else known.words())
        source = f"{UNKNOWN}: not known here; ask its owners before you publish this" if said is None else said
        lines.append(f"| licence of the source data | {markdown(source)} |")
    lines += [f"| {markdown(name)} | {markdown(value)} |" for name, value in facts.items()]
    lines += [f"| sha256 of `{name}` | `{value}` |" for name, value in sums.items()]
    lines += ["", f"Written by gendistill {notes['software_version']}; `teacher.json` holds all metadata.", ""]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")
