"""Handwritten digits, 8x8, from scikit-learn: the data set that is always there."""

from __future__ import annotations

import numpy as np
import torch

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
    from sklearn import datasets

    bunch = datasets.load_digits()
    pixels = np.rint(bunch.data * (255.0 / 16.0)).astype(np.uint8).reshape(-1, 1, 8, 8)
    images, labels = torch.from_numpy(pixels), torch.from_numpy(bunch.target.astype(np.int64))
    train, validation, test = (Split(images[index], labels[index]) for index in stratified(labels, SIZES))
    return RealData(DESCRIPTION, train, validation, test)
