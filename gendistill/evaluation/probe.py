"""The Fréchet distance of a teacher while it is made: small, of always as many images, and without touching the run."""

from __future__ import annotations

from typing import Any

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.choice import choose_extractor
from gendistill.evaluation.extractors import extract
from gendistill.evaluation.statistics import RealStatistics, real_statistics
from gendistill.seeds import stream
from gendistill.teacher.base import Teacher

SAMPLES = 1000
"""Images of a measurement: too few for a published number, enough for a curve."""


class DistanceProbe:
    """Measures teachers of one data set again and again.

    The statistics of the real images are those that ``gendistill evaluate`` keeps. Images are drawn from a stream of
    its own, the same at every call, so that two values differ by the teacher and not by the draw.

    Args:
        data: The real data.
        samples: Images of a measurement, at least 2; of a teacher that stores fewer, all.
        seed: Of the draw.

    Raises:
        UserError: ``samples`` is too small, or the training set is.
    """

    def __init__(self, data: RealData, samples: int = SAMPLES, seed: int = 0) -> None:
        if samples < 2:
            raise UserError(f"samples is {samples}; give at least 2 images")
        self.samples, self.seed = samples, seed
        self.normalisation = data.description.normalisation
        self.network = choose_extractor("classifier", data)
        splits = {"fd": data.train} | ({"fd_validation": data.validation} if len(data.validation) > 1 else {})
        self.real: dict[str, RealStatistics] = {
            name: real_statistics(split, self.normalisation, self.network) for name, split in splits.items()
        }

    def measure(self, teacher: Teacher) -> dict[str, float]:
        """Return the distances, lower is better: ``fd`` to the training images, ``fd_validation`` where there are some.

        The second is what a best state may be chosen by: the run has not seen those images.

        Args:
            teacher: Of the data set, in any normalisation.

        Raises:
            UserError: It has fewer than two images, or one is not finite.
        """
        stored: Any = teacher.decoded_images
        count = self.samples if stored is None else min(self.samples, int(stored))
        if count < 2:
            raise UserError("a distance needs a teacher of at least two images")
        images, _ = teacher.sample(count, stream(self.seed, "probe", teacher.device))
        shown = teacher.description.normalisation.convert(images.float(), self.normalisation)
        features = extract(self.network, shown, self.normalisation)
        return {name: float(real.frechet_distance(features)) for name, real in self.real.items()}
