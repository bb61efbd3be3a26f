"""Reads results of public code into teachers: DC, DSA, DM, DataDAM, MTT, TESLA, DATM, IDC, DREAM, NCFM, DD.

The forms are described in :mod:`gendistill.teacher.result_files`. Nothing in a file is run: tensors and plain numbers
are read, anything else is refused. What a tensor holds is not believed but looked at, and said.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from gendistill.data.description import Description, Normalisation
from gendistill.data.real import RealData
from gendistill.data.whitening import EPSILON
from gendistill.decodes import Formation
from gendistill.errors import UserError, did_you_mean
from gendistill.finite import is_finite
from gendistill.regular import expanded
from gendistill.teacher import public_formats
from gendistill.teacher.base import first_line
from gendistill.teacher.fit import fitted
from gendistill.teacher.image_forms import VALUES, lay_out, understand_values
from gendistill.teacher.label_forms import LABELS, understand_labels
from gendistill.teacher.own_exports import TENSOR_FILES, noted_normalisation, read_export, read_notes
from gendistill.teacher.result_files import FORMS, LEARNED_RATE, Result, find_result, read_result
from gendistill.teacher.stored import StoredImages

__all__ = ["FORMS", "LABELS", "VALUES", "describe_source", "import_teacher"]


def import_teacher(
    path: str | Path,
    data: RealData,
    *,
    form: str = "auto",
    values: str = "auto",
    labels: str = "auto",
    epsilon: float = EPSILON,
    experiment: int | None = None,
    learning_rate: float | None = None,
    factor: int | None = None,
) -> StoredImages:
    """Read what public code of dataset distillation saved, or an export of this project.

    Args:
        path: The file, or a folder that holds one result.
        data: The data set that the images stand for.
        form: One of :data:`~gendistill.teacher.result_files.FORMS`, which that module describes; ``auto``: by names and
            content.
        values: What the images' numbers are: ``normalised`` by the mean and deviation of that code for this data set
            (by the data's own where the code does not know it), ``pixels`` in [0, 1], ``bytes`` in 0..255, or
            ``whitened``. ``auto``: by what an export of this project notes, by the values (whole numbers, all in [0,
            1]), by the files (``images_zca_*.pt`` are pixels, and those beside them whitened), else as that code has
            it.
        labels: What they are: class ``indices``; ``probabilities``; ``logits``, of which the softmax is taken;
            ``multi-hot``, rows that are divided by their sum; or ``targets``, real numbers that stay as they are.
            ``auto``: by their values, and where those leave a choice as that code has it.
        epsilon: Of the whitening, which is fitted to the real training images again.
        experiment: Which of a ``dc`` file's sets, from 0; None: the first, of DataDAM's (one an evaluation) the last.
        learning_rate: That of the learner where the file has none; None: none.
        factor: Each image is a sheet of factor x factor smaller ones (multi-formation, which IDC, DREAM, IDM and NCFM
            store): the teacher keeps it and shows these. 1: it is one image. None: as the folder's name says, else 1.

    Returns:
        The images. Those of ``dd`` are shown in their own batches and order with their learned rates. What was
        understood is in ``metadata["source"]``: ``file``, ``format``, ``values``, ``labels``, ``words`` (sentences).

    Raises:
        UserError: The file is missing, holds something else or may be more than one thing, or does not fit the data or
            the options.
    """
    path = expanded(path)
    for name, word, allowed in (("format", form, FORMS), ("values", values, VALUES), ("labels", labels, LABELS)):
        if word not in allowed:
            raise UserError(f"{name} is '{word}'; {did_you_mean(word, allowed)}choose one of {', '.join(allowed)}")
    if learning_rate is not None and not 0 < learning_rate < float("inf"):
        raise UserError(f"the learning rate is {learning_rate}; it must be positive")
    export = _export_of(path, form)
    if export is not None and values == labels == "auto" and factor is None:
        return _own(*export, data.description, learning_rate)
    file = find_result(path)
    result = read_result(file, form, experiment)
    try:
        return _stranger(file, result, data, values, labels, epsilon, learning_rate, factor)
    except UserError as error:
        raise UserError(f"'{file}' cannot be used: {first_line(error)}") from error


def _export_of(path: Path, form: str) -> tuple[Path, str] | None:
    """Return folder and format of the export that a path means, None where it is none of this project."""
    folder = path if path.is_dir() else path.parent
    notes = read_notes(folder)
    if notes is None:
        return None
    noted = notes["export"]["format"]
    if form not in ("auto", noted) or not (path.is_dir() or path.name == TENSOR_FILES.get(noted)):
        return None
    return folder, str(noted)


def _own(folder: Path, form: str, real: Description, learning_rate: float | None) -> StoredImages:
    teacher = fitted(read_export(folder), real, folder.name)
    assert isinstance(teacher, StoredImages)
    if learning_rate is not None:
        if teacher.learning_rates is not None:
            raise UserError(f"'{folder}' has learned rates of its own; leave the learning rate out")
        teacher.learning_rates = torch.tensor([learning_rate])
    soft = "targets of the cross-entropy" if teacher.labels_are_soft else "class indices"
    teacher.metadata["source"] = {
        "file": folder.name,
        "format": form,
        "values": "noted",
        "labels": "targets" if teacher.labels_are_soft else "indices",
        "words": [f"an export of gendistill, by its notes: {soft}"],
        "made": teacher.metadata.get("source"),
    }
    return teacher


def _stranger(
    file: Path,
    result: Result,
    data: RealData,
    values: str,
    labels: str,
    epsilon: float,
    learning_rate: float | None,
    factor: int | None,
) -> StoredImages:
    description = data.description
    laid = lay_out(result.images, description)
    words = list(result.words)
    rates = _rates(result.rates, learning_rate)
    if result.rates is not None and not _sound(result.rates):
        words = [word for word in words if not word.startswith(LEARNED_RATE)]
        words.append(f"the rate {learning_rate:g} that was given in place of its own, {_listed(result.rates)}")
    if laid.words:
        words.append(f"images {laid.words}")
    noted = noted_normalisation(file.parent) if result.form in TENSOR_FILES and values == "auto" else None
    if description.embedding is not None:
        found, normalisation, images = _sentences(laid.images, description, values)
    elif noted is not None:
        found, normalisation, images = "noted", noted, laid.images
    else:
        given = "pixels" if result.pixels and values == "auto" else values
        usual = _normalisation(result.form, "normalised", epsilon, data)
        found = understand_values(laid.images, given, result.usual, usual)
        normalisation = _normalisation(result.form, found, epsilon, data)
        images = laid.images / 255 if found == "bytes" else laid.images
    understood = understand_labels(result.labels, len(images), description, labels, used_as=result.used_as)
    words += [f"images {found}", f"labels {understood.words}", *_formation_words(result, factor)]
    taken = (result.factor or 1) if factor is None else factor
    decode = None if taken == 1 else Formation(taken)
    cells = 1 if decode is None else decode.cells
    return StoredImages(
        images.to(torch.float32).contiguous(),
        understood.values,
        description.with_normalisation(normalisation),
        decode=decode,
        learning_rates=rates,
        momenta=_momenta(result.momenta),
        order="stratified" if result.batch_size is None else "fixed",
        batch_size=None if result.batch_size is None else result.batch_size * cells,
        metadata={
            "source": {
                "file": file.name,
                "format": result.form,
                "values": found,
                "labels": understood.form,
                "words": words,
                **({} if decode is None else {"factor": taken}),
            }
        },
    )


def _formation_words(result: Result, factor: int | None) -> list[str]:
    """Say whether images are taken for sheets of smaller ones, and why."""
    if factor is not None and factor > 1:
        return [f"each image is a sheet of {factor} x {factor}, as was said"]
    if factor is None and result.factor is not None and result.factor > 1:
        return [f"each image is a sheet of {result.factor} x {result.factor}, by the folder's name"]
    if factor is None and result.factor is None and result.form == "idc":
        return [
            "the file does not say with which factor that code ran; above 1 each image is a sheet of several "
            "(multi-formation): give it with --factor 2"
        ]
    return []


def _sentences(images: Tensor, description: Description, values: str) -> tuple[str, Normalisation, Tensor]:
    if values != "auto":
        raise UserError(
            f"values is '{values}', '{description.name}' holds sentences, which have no pixels; leave it out"
        )
    if not images.is_floating_point():
        raise UserError(f"sentences must be vectors of words (N, {', '.join(map(str, description.image_shape))}) float")
    return "vectors", description.normalisation, images


def _normalisation(form: str, values: str, epsilon: float, data: RealData) -> Normalisation:
    channels = data.description.image_shape[0]
    if values in ("pixels", "bytes"):
        return Normalisation((0.0,) * channels, (1.0,) * channels)
    if values == "whitened":
        return data.whitening(epsilon)
    return public_formats.normalisation(form, data.description.name) or data.description.normalisation.plain()


def _rates(rates: Tensor | None, given: float | None) -> Tensor | None:
    """Return learned rates (T,), or the one that is given."""
    if rates is not None:
        sound = _sound(rates)
        if sound and given is not None:
            raise UserError("it has learned rates of its own; leave the learning rate out")
        if sound:
            return rates.to(torch.float32)
        if given is None:
            raise UserError(
                f"its learned rate is {_listed(rates)}, with which no learner can learn; give another one with "
                "--learning-rate"
            )
    return None if given is None else torch.tensor([given])


def _sound(rates: Tensor) -> bool:
    """Return whether rates are positive and finite, also in the precision in which they are kept."""
    if rates.is_complex() or rates.dtype == torch.bool or not rates.numel():
        return False
    kept = rates.to(torch.float32)
    return is_finite(kept) and bool((kept > 0).all())


def _listed(rates: Tensor) -> str:
    return ", ".join(f"{value:.4g}" for value in rates.reshape(-1)[:3].tolist())


def _momenta(momenta: Tensor | None) -> Tensor | None:
    if momenta is not None and not bool(((momenta >= 0) & (momenta < 1)).all()):
        raise UserError(f"its learned momenta are {momenta.reshape(-1)[:3].tolist()}; they must lie in [0, 1)")
    return momenta


def describe_source(teacher: StoredImages) -> str:
    """Return what was understood of an imported teacher as one line for a person."""
    source = teacher.metadata["source"]
    return f"{source['file']}: format {source['format']}; {'; '.join(source['words'])}"
