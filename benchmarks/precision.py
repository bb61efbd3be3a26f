"""Do learners that are trained in bfloat16 end where those trained in float32 do? No matter of speed: paired by seed.

Learners of both precisions share first weights and batches. What is said is the mean difference of their test
accuracies with its 95 % interval, beside the spread of one precision's seeds: two trainings that differ by rounding
alone end as far apart as two seeds do, or less.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gendistill.allocation import keep_freed_memory
from gendistill.data.load import load
from gendistill.evaluation.comparison import paired, quantile
from gendistill.evaluation.learning import learning_curve
from gendistill.teacher import open_teacher

THREADS = 1
TEACHERS = ("real:ipc=10",)


def measure(teachers: tuple[str, ...] = TEACHERS, seeds: int = 10, updates: int = 150) -> dict[str, Any]:
    """Measure on the embedded digits, with their own learner at a rate of 0.03 and DSA's augmentation.

    Args:
        teachers: What teaches.
        seeds: Learners of each precision.
        updates: Of each.

    Returns:
        For each teacher in percentage points: both mean accuracies and standard deviations over seeds, the mean
        difference (bfloat16 minus float32), both ends of its interval, and the standard deviation of the differences.
    """
    keep_freed_memory()
    data = load("digits")
    found = {}
    for name in teachers:
        teacher, runs = open_teacher(name, data), {}
        for precision in ("float32", "bfloat16"):
            result = learning_curve(
                teacher,
                data,
                updates=(updates,),
                lr=0.03,
                schedule="cosine",
                augment="color_crop_cutout_scale_rotate",
                seeds=seeds,
                precision=precision,
                compile=False,
            )
            runs[precision] = 100 * np.array(result["accuracy"]["runs"][-1])
        apart = runs["bfloat16"] - runs["float32"]
        estimate = paired(apart, 100 / len(data.test))
        reach = float(quantile(estimate.df)) * float(estimate.error)
        found[name] = {
            "mean": {precision: float(values.mean()) for precision, values in runs.items()},
            "std": {precision: float(values.std(ddof=1)) for precision, values in runs.items()},
            "difference": float(estimate.mean),
            "low": float(estimate.mean) - reach,
            "high": float(estimate.mean) + reach,
            "std_of_differences": float(apart.std(ddof=1)),
        }
    return {"seeds": seeds, "updates": updates, "test_images": len(data.test), "teachers": found}
