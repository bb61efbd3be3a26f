"""What public code of dataset distillation saved: which file of a folder is meant, whose it is, what it holds.

- ``dc``: DC, DSA, DM and DataDAM, ``{"data": [[images, labels], ...], "accs_all_exps": {...}}``, one pair an experiment
  (DataDAM: one an evaluation, the last of which is the result).
- ``mtt``: MTT, TESLA, FTD: ``images_X.pt`` beside ``labels_X.pt``; ``datm``: the same of DATM and PAD, whose labels are
  logits, with the learned rate in ``lr_X.pt``.
- ``idc``: IDC, DREAM, NCFM: ``[images, labels]``, pixels.
- ``dd``: Dataset Distillation, also with soft labels: a list of (images, labels, learning rate).
- ``pt``: ``images.pt`` beside ``labels.pt``, or one dictionary of both.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gendistill.errors import UserError
from gendistill.regular import real_path
from gendistill.teacher.public_formats import DD_FILE, MTT_FILES
from gendistill.teacher.torch_files import are_tensors, beside, read

FORMS = ("auto", "dc", "mtt", "datm", "idc", "dd", "pt")
ZCA_IMAGES = "images_zca"
"""How MTT calls images whose whitening it has inverted; where they lie, it ran with ``--zca``."""
BELOW = ("Normal", "distilled_data")
"""Folders in a run's folder in which DATM and NCFM put the files."""
KINDS = (
    ("images_best.pt", r"images_\d+\.pt"),
    (DD_FILE, None),
    ("images.pt", None),
    ("data.pt", r"data_(best|\d+)\.pt"),
    (None, r"res.*\.pt|syn_data_.*\.pt"),
)
"""Results in a folder: the name of the one that is meant, and the pattern of those of which one may be meant."""
NAMES = {
    "images": ("images", "image", "image_syn", "data", "x"),
    "labels": ("labels", "label", "label_syn", "targets", "target", "y"),
    "rate": ("lr", "syn_lr", "learning_rate"),
}
"""What the parts of a result are called in a dictionary."""
LEARNED_RATE = "the learned rate of"
"""How the sentence begins that says which file a rate is from."""


@dataclass(frozen=True)
class Result:
    """One result as its file holds it.

    Attributes:
        form: One of :data:`FORMS` but ``auto``.
        images: (N, ...) of any type.
        labels: (N,) or (N, K) of any type.
        rates: Learned rates (T,), not yet looked at; None: the file has none.
        momenta: Learned momenta (T,); None: the file has none.
        batch_size: Images a step where the order is fixed; None: any.
        pixels: The file says that images are pixels, however far they lie outside [0, 1].
        usual: What images of that form are: ``normalised``, ``pixels`` or ``whitened``.
        used_as: What that code takes (N, K) labels for; see :func:`gendistill.teacher.label_forms.understand_labels`.
        words: What was understood beside that, for a person.
        factor: Of the formation that images are stored in, where the file's place says it.
    """

    form: str
    images: Tensor
    labels: Tensor
    rates: Tensor | None = None
    momenta: Tensor | None = None
    batch_size: int | None = None
    pixels: bool = False
    usual: str = "normalised"
    used_as: str | None = None
    words: list[str] = field(default_factory=list)
    factor: int | None = None


def find_result(path: Path) -> Path:
    """Return the file that is meant by a file or a folder.

    Raises:
        UserError: A folder holds no result, or several.
    """
    if not path.is_dir():
        return path
    names = sorted(entry.name for entry in path.iterdir() if entry.is_file())
    found = []
    for name, pattern in KINDS:
        matching = [other for other in names if pattern and re.fullmatch(pattern, other)]
        if name in names:
            found.append([str(name)])
        elif matching:
            # Of a run's steps the last; of several results the person must choose.
            found.append([max(matching, key=_number)] if name else matching)
    every = [name for group in found for name in group]
    if len(every) == 1:
        return path / every[0]
    below = [path / name for name in BELOW if (path / name).is_dir()]
    if not every and len(below) == 1:
        return find_result(below[0])
    what = f"{len(every)} of them: {', '.join(every[:6])}" if every else "none of them"
    raise UserError(
        f"'{path}' should hold one result ({MTT_FILES[0]}, {DD_FILE}, images.pt, data.pt or one res_*.pt), there are "
        f"{what}; name the file"
    )


def read_result(file: Path, form: str, experiment: int | None) -> Result:
    """Read a file as one of the forms.

    Args:
        file: The file.
        form: One of :data:`FORMS`.
        experiment: Which set of a ``dc`` file, from 0; None: the first, of DataDAM the last.

    Raises:
        UserError: It cannot be read or is of another form.
    """
    content = read(file)
    found = _recognise(file, content) if form == "auto" else form
    if found != "dc" and experiment is not None:
        raise UserError(f"'{file}' is of format {found}, which holds one set; leave the experiment out")
    if found == "dc":
        return _experiment(file, content, experiment)
    if found == "dd":
        return _steps(file, content)
    if found == "idc":
        return _pair(file, content)
    return _named(file, content) if isinstance(content, dict) else _beside(file, content, found)


def _number(name: str) -> float:
    digits = re.findall(r"\d+", name)
    return float(digits[-1]) if digits else math.inf  # the best of a run, not one of its steps


def _recognise(file: Path, content: Any) -> str:
    if isinstance(content, dict):
        if isinstance(content.get("data"), list | tuple):
            return "dc"
        if _key(content, "images") and _key(content, "labels"):
            return "pt"
    elif isinstance(content, Tensor):
        return "pt" if file.name == "images.pt" else "mtt"
    elif are_tensors(content, 2):
        return "idc"
    elif isinstance(content, list | tuple) and _are_steps(content):
        if all(are_tensors(item, 2) for item in content):
            if len(content) == 1:
                return "dc"
            raise UserError(
                f"'{file}' is a list of {len(content)} pairs, which may be experiments or steps; say which with "
                "--format dc or --format dd"
            )
        return "dd"
    raise UserError(
        f"'{file}' is no result that is known: neither a dictionary with 'data' (DC, DSA, DM, DataDAM) or with images "
        "and labels, nor a tensor of images with labels beside it (MTT, TESLA, DATM), nor a list [images, labels] "
        "(IDC, DREAM, NCFM), nor a list of steps (Dataset Distillation)"
    )


def _key(content: dict[Any, Any], part: str) -> Any:
    """Return the key under which a dictionary has a part, None where there is none."""
    kinds = Tensor | int | float | list | tuple if part == "rate" else Tensor
    return next((name for name in NAMES[part] if isinstance(content.get(name), kinds)), None)


def _experiment(file: Path, content: Any, experiment: int | None) -> Result:
    pairs = content.get("data") if isinstance(content, dict) else content
    if are_tensors(pairs, 2):
        pairs = [pairs]  # DataDAM's published files have one pair in place of a list
    if not isinstance(pairs, list | tuple) or not pairs or not all(are_tensors(pair, 2) for pair in pairs):
        raise UserError(f"'{file}' is not of format dc: its 'data' must be a list of [images, labels]")
    words = []
    snapshots = len(pairs) > 1 and "datadam" in file.name.lower()
    if experiment is None:
        experiment = len(pairs) - 1 if snapshots else 0
        if len(pairs) > 1:
            kind = "evaluations of a run, the last" if snapshots else "experiments, the first"
            words = [f"of {len(pairs)} {kind} ({experiment})"]
    if not 0 <= experiment < len(pairs):
        raise UserError(f"experiment is {experiment}; '{file}' has 0..{len(pairs) - 1}")
    images, labels = pairs[experiment]
    return Result("dc", images, labels, words=words)


def _steps(file: Path, content: Any) -> Result:
    """Join all steps; epochs that repeat the images are folded."""
    steps = [content] if _is_step(content) else content
    wrong = f"'{file}' is not of format dd: it must be a list of (images, labels, learning rate)"
    if not isinstance(steps, list | tuple) or not steps:
        raise UserError(wrong)
    images, labels, given = [], [], []
    for step in steps:
        if not _is_step(step):
            raise UserError(wrong)
        rate = step[2] if len(step) == 3 else None
        images.append(step[0])
        labels.append(step[1])
        given += [] if rate is None else [torch.as_tensor(rate)]
    if any(part.shape != images[0].shape for part in images) or any(part.shape != labels[0].shape for part in labels):
        raise UserError(f"the steps in '{file}' are of unequal sizes; teachers have batches of one size")
    if len(given) not in (0, len(steps)) or any(rate.numel() != 1 for rate in given):
        raise UserError(f"'{file}' must have one learning rate for every step, or none")
    rates = torch.stack([rate.detach().to(torch.float32).reshape(()) for rate in given]) if given else None
    period = next(size for size in range(1, len(images) + 1) if _repeats(images, size) and _repeats(labels, size))
    times = len(images) // period
    words = [
        f"{period} {'step' if period == 1 else 'steps'} of {len(images[0])} images, shown "
        f"{'once' if times == 1 else f'{times} times'}"
    ]
    joined = torch.cat(images[:period]), torch.cat(labels[:period])
    return Result("dd", *joined, rates, batch_size=len(images[0]), used_as="targets", words=words)


def _is_step(item: Any) -> bool:
    """Return whether something is (images, labels) or (images, labels, learning rate)."""
    if not isinstance(item, list | tuple) or len(item) not in (2, 3) or not are_tensors(item[:2], 2):
        return False
    return len(item) == 2 or (isinstance(item[2], Tensor | int | float | None) and not isinstance(item[2], bool))


def _are_steps(content: list[Any] | tuple[Any, ...]) -> bool:
    """Return whether a list holds at least one step, be the others what they may, or is one."""
    return _is_step(content) or any(_is_step(item) for item in content)


def _repeats(parts: Sequence[Tensor], period: int) -> bool:
    if len(parts) % period:
        return False
    return all(torch.equal(part, parts[place % period]) for place, part in enumerate(parts))


def _pair(file: Path, content: Any) -> Result:
    if not are_tensors(content, 2):
        raise UserError(f"'{file}' is not of format idc: it must be a list [images, labels] of two tensors")
    images, labels = content
    if images.ndim < labels.ndim:
        images, labels = labels, images
    return Result("idc", images, labels, usual="pixels", factor=_factor(file))


def _factor(file: Path) -> int | None:
    """Return the factor in the name of a folder that IDC or DREAM made, such as ``..._factor2_lr0.005_mix_ipc10``."""
    found = re.search(r"(?:^|_)factor(\d{1,2})(?:_|$)", real_path(file).parent.name)
    return None if found is None else int(found[1])


def _named(file: Path, content: dict[Any, Any]) -> Result:
    places = {part: _key(content, part) for part in NAMES}
    if not places["images"] or not places["labels"]:
        raise UserError(
            f"'{file}' must be a dictionary of tensors called images and labels, it has "
            f"{', '.join(map(str, list(content)[:8]))}"
        )
    words = [f"by name: {places['images']} and {places['labels']}"]
    rate = None if places["rate"] is None else _numbers(content[places["rate"]])
    taken = None if rate is None else places["rate"]
    if others := [name for name in NAMES["rate"] if content.get(name) is not None and name != taken]:
        words.append(f"passed over: {', '.join(others)}")
    if taken is not None:
        words.append(f"{LEARNED_RATE} its '{taken}'")
    return Result("pt", content[places["images"]], content[places["labels"]], rate, words=words)


def _numbers(value: Any) -> Tensor | None:
    """Return rates (T,), None where they are no numbers."""
    try:
        return torch.as_tensor(value).detach().reshape(-1)
    except (TypeError, ValueError, RuntimeError):
        return None


def _beside(file: Path, content: Any, form: str) -> Result:
    """Return the images of a file and the labels and rates that lie beside it."""
    if not isinstance(content, Tensor):
        raise UserError(f"'{file}' must hold one tensor of images, it holds {type(content).__name__}")
    inverted = file.name.startswith(ZCA_IMAGES)
    stem = ZCA_IMAGES if inverted else "images"
    labels = beside(file, file.name.replace(stem, "labels", 1)) if stem in file.name else None
    if labels is None:
        raise UserError(f"'{file}' has no labels beside it; put them there (images_X.pt and labels_X.pt)")
    words = []
    schedules = {name: beside(file, f"{name}.pt") for name in ("learning_rates", "momenta")}
    rate_name = file.name.replace(stem, "lr", 1)
    rate = beside(file, rate_name) if stem in file.name else None
    if form == "mtt" and rate is not None and labels.is_floating_point() and labels.ndim == 2:
        form = "datm"
    if schedules["learning_rates"] is None and rate is not None:
        if rate.numel() != 1:
            raise UserError(
                f"'{file.with_name(rate_name)}' must hold one learning rate, it has {rate.numel()} numbers; save one, "
                "or take the file away and give --learning-rate"
            )
        words.append(f"{LEARNED_RATE} {rate_name}")
        schedules["learning_rates"] = rate.reshape(1)
    whitened = form in ("mtt", "datm") and not inverted and any(file.parent.glob(f"{ZCA_IMAGES}_*.pt"))
    if whitened:
        words.append(f"whitened, since {ZCA_IMAGES}_*.pt lie beside it")
    return Result(
        form,
        content,
        labels,
        schedules["learning_rates"],
        schedules["momenta"],
        pixels=inverted,
        usual="whitened" if whitened else "normalised",
        used_as="logits" if form == "datm" else None,
        words=words,
    )
