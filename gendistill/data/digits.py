"""Handwritten digits, 8x8, from scikit-learn: the data set that is always there."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gendistill.data.description import Description, Normalisation
from gendistill.data.real import RealData, Split
from gendistill.data.split import stratified

SIZES = (1197, 200, 400)
"""Train, validation and test; stratified with the constant seed of :mod:`gendistill.data.split`."""

NORMALISATION = Normalisation((0.3049,), (0.3756,))
"""Mean and standard deviation of the pixels of the 1,197 training images."""

DESCRIPTION = Description("digits", tuple("0123456789"), (1, 8, 8), NORMALISATION)


def load_digits() -> RealData:
    """Return scikit-learn's 1,797 digits as (N, 1, 8, 8) uint8, their 17 grey levels spread over 0..255.

    Source: "Optical Recognition of Handwritten Digits", UCI repository, the test set of Alpaydin and Kaynak (1998).
    """
    levels, classes = _table()
    pixels = np.rint(levels * (255.0 / 16.0)).astype(np.uint8).reshape(-1, 1, 8, 8)
    images, labels = torch.from_numpy(pixels), torch.from_numpy(classes.astype(np.int64))
    train, validation, test = (Split(images[index], labels[index]) for index in stratified(labels, SIZES))
    return RealData(DESCRIPTION, train, validation, test)


def _table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return grey levels (N, 64) in 0..16 and classes (N,), from scikit-learn's file where it is where it was.

    scikit-learn itself, which is asked otherwise, loads for longer than all that most commands on digits need.
    """
    found = find_spec("sklearn")
    folders = [] if found is None else list(found.submodule_search_locations or [])
    file = Path(folders[0], "datasets", "data", "digits.csv.gz") if folders else Path()
    if file.is_file():
        table = np.loadtxt(file, delimiter=",")
        return table[:, :-1], table[:, -1]
    from sklearn import datasets

    bunch = datasets.load_digits()
    return bunch.data, bunch.target
