"""Which teacher is meant: a file, a run, real data, a folder of images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch

from gendistill import shipped
from gendistill.data.real import RealData
from gendistill.data.recorded import Recorded
from gendistill.errors import UserError, did_you_mean
from gendistill.notes import note
from gendistill.privacy.promise import KEY
from gendistill.regular import expanded, regular
from gendistill.seeds import stream
from gendistill.spelling import LABELS, STORED, option, typed
from gendistill.teacher.base import Teacher
from gendistill.teacher.coreset import METHODS, coreset
from gendistill.teacher.files import describe, load
from gendistill.teacher.fit import fitted
from gendistill.teacher.folder import is_image_folder, read_image_folder
from gendistill.teacher.labeller import Labeller, labelled
from gendistill.teacher.mimicry import generator_teacher
from gendistill.teacher.own_exports import check_export, read_notes
from gendistill.teacher.stored import StoredImages
from gendistill.teacher.stored_labels import with_stored_labels
from gendistill.teacher.subset import RealSubset
from gendistill.yaml_file import read_yaml

FILE_NAME = "teacher.safetensors"
Kind = TypeVar("Kind", bound=Teacher)
FORMS = (
    "a .safetensors file, a run directory, the name of one that comes with the project such as 'digits-gan', 'real', "
    "'real:subset=K' (K images in total), 'real:ipc=K' (K images a class), a coreset such as 'real:herding=K' (also "
    "kcenter, kmeans, kmeans-mean), a folder of images, an export or a generator's .pth checkpoint of torch-mimicry; "
    "any of them takes the labeller of another teacher: 'real:ipc=10,labels=FILE', or the labels that it gives the "
    "images once: 'real:ipc=10,labels=FILE@stored'"
)


def open_teacher(
    reference: str | Path,
    data: RealData | None = None,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Teacher:
    """Open the teacher that a reference names.

    Args:
        reference: One of :data:`FORMS`. A run directory stands for the ``teacher.safetensors`` in it. Coresets are
            chosen in the features of the trained classifier, or in those named behind an @: ``real:herding=10@pixels``.
        data: The real data: source of ``real...``, and what every other teacher is checked against. An image folder
            takes its class names and normalisation.
        seed: Chooses the images of a random subset, and where k-means starts.
        device: Where the teacher's tensors go.

    Returns:
        The teacher.

    Raises:
        UserError: An unknown form, a missing or damaged file, or a teacher that does not fit the data; one whose
            classes come in another order is mapped, see :func:`gendistill.teacher.fit.fitted`.
    """
    text = str(reference)
    base, between, other = text.rpartition(LABELS)
    if between and not expanded(text).exists():
        return with_labeller(open_teacher(base, data, seed=seed, device=device), other, data)
    if text == "real" or text.startswith("real:"):
        return _real(text, data, seed).to(device)
    path = shipped.teacher(expanded(reference))
    if path.is_dir():
        if (path / FILE_NAME).is_file():
            check_export(path)
            teacher = load(path / FILE_NAME, device)
        elif (path / "config.yaml").is_file():
            raise UserError(f"run '{path}' has no {FILE_NAME} yet; let it reach its first save")
        elif is_image_folder(path):
            described, background = (None, None) if data is None else (data.description, data.background)
            teacher = read_image_folder(path, described, background).to(device)
        else:
            public = any(path.glob("*.pt")) or any(path.glob("*.pth"))
            how = typed("import", text, "--output", f"{path.name}-imported.safetensors")
            hint = f"what public code saved is brought in by {how}; " if public else ""
            raise UserError(f"'{path}' holds neither {FILE_NAME} nor folders of images; {hint}give {FORMS}")
    elif regular(path).is_file() and path.suffix == ".pth":
        if data is None:
            raise UserError(
                f"checkpoint '{path}' does not say which data it was trained on; name the data set ({option('name')})"
            )
        teacher = generator_teacher(path, data.description).to(device)
    elif path.is_file() or path.suffix == ".safetensors":
        teacher = load(path, device)
    else:
        hint = did_you_mean(text, ("real", "real:subset=100", "real:ipc=10"))
        raise UserError(f"there is no teacher '{text}'; {hint}give {FORMS}")
    if data is not None:
        return fitted(teacher, data.description, str(reference))
    return teacher


def recorded_data(reference: str | Path) -> Recorded | None:
    """Return what a teacher's file, run or export says of the data that it was made from, before it is opened.

    Args:
        reference: As :func:`open_teacher` takes it.

    Returns:
        What it says; None where it says nothing, or is no file of ours: opening it has the sentence then.

    Raises:
        UserError: It says what cannot be.
    """
    text = str(reference)
    base, between, _ = text.rpartition(LABELS)
    if between and not expanded(text).exists():
        return recorded_data(base)
    path = shipped.teacher(expanded(reference))
    file = path / FILE_NAME if path.is_dir() else path
    try:
        if file.suffix == ".safetensors" and file.is_file():
            metadata = describe(file).get("metadata")
        else:
            metadata = (read_notes(path if path.is_dir() else path.parent) or {}).get("metadata")
    except (UserError, OSError):
        return None
    if not isinstance(metadata, dict):
        return None
    return Recorded.read(metadata.get("data"), text) or Recorded.read(_of_config(path, metadata.get("data")), text)


def _of_config(run: Path, noted: object) -> dict[str, object] | None:
    """Return what a run's config says of its data, for a teacher of an earlier version, which says nothing."""
    try:
        config = read_yaml(run / "config.yaml") if (run / "config.yaml").is_file() else {}
    except UserError:
        return None
    data = config.get("data")
    if not isinstance(data, Mapping) or not data.get("name"):
        return None
    options = {name: value for name, value in data.items() if value is not None}
    return {**(noted if isinstance(noted, Mapping) else {}), "options": options}


def labelled_by(other: str) -> tuple[str, bool]:
    """Return which teacher's labeller is meant behind ``,labels=``, and whether its labels are given once and stored.

    A place that is called so is that place.
    """
    once = other.endswith(STORED) and other != STORED and not expanded(other).exists()
    return other.removesuffix(STORED) if once else other, once


def with_labeller(teacher: Kind, other: str, data: RealData | None) -> Kind:
    """Return a teacher with the labeller of another one, or with the labels that it gives the images once.

    Args:
        teacher: It stays what it is.
        other: Names the other one, see :func:`open_teacher`. With ``@stored`` behind it each image is given a label as
            it is, which is stored, and the network stays behind: :mod:`gendistill.teacher.stored_labels`.
        data: The real data, if it is at hand.

    Raises:
        UserError: The other has no labeller, or it does not suit the teacher's images.
    """
    other, once = labelled_by(other)
    labeller = open_teacher(other, data, device=teacher.device).labeller
    if not isinstance(labeller, Labeller):
        raise UserError(
            f"teacher '{other}' has no labeller to give away; name one that was saved with a labeller, as a run with "
            "trainer.labeller is"
        )
    found = with_stored_labels(teacher, labeller) if once else labelled(teacher, labeller)
    if found.noted(KEY, dict) is not None:
        note(f"the promise of privacy of these images does not cover the labels of '{other}', so none is made")
        found.metadata = {name: value for name, value in found.metadata.items() if name != KEY}
    return found


def _real(text: str, data: RealData | None, seed: int) -> StoredImages:
    if data is None:
        raise UserError(
            f"teacher '{text}' is made of real images; say which data set they come from ({option('name')})"
        )
    if text == "real":
        return RealSubset.all(data.train, data.description)
    name, _, amount = text.removeprefix("real:").partition("=")
    if name in METHODS:
        amount, _, features = amount.partition("@")
        if not amount.isdecimal():
            raise UserError(
                f"there is no teacher '{text}'; write real:{name}=K or real:{name}=K@pixels, K a whole number"
            )
        return coreset(data, name, int(amount), features=features or "classifier", seed=seed)
    if name not in ("subset", "ipc") or not amount.isdecimal():
        raise UserError(
            f"there is no teacher '{text}'; write real, real:subset=K or real:ipc=K with a whole number K, or a "
            f"coreset: real:{'=K, real:'.join(METHODS)}=K"
        )
    # Drawn on the CPU, so that a seed means the same images on every device.
    generator = stream(seed, "real-subset")
    size = {"count" if name == "subset" else "images_per_class": int(amount)}
    return RealSubset.random(data.train, data.description, generator=generator, metadata={"seed": seed}, **size)
