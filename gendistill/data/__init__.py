"""Real data sets: loading, fixed splits, normalisation, sampling and augmentation."""

from __future__ import annotations

from gendistill.data.description import Description, Normalisation
from gendistill.data.load import load
from gendistill.data.real import RealData, Split

__all__ = ["Description", "Normalisation", "RealData", "Split", "load"]
