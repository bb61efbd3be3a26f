"""The figure of utility against epsilon, from results files: private teachers, the classifier by DP-SGD, no privacy.

    R=checkpoints/replication/reduced/mnist/ours-private-mnist/results.json
    python benchmarks/private_utility.py utility.svg $R FOLDER/epsilon-1.json FOLDER/epsilon-10.json

where FOLDER is that of ``benchmarks/private_classifier.py``. The ending says which kind of file is written.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve()
if str(HERE.parents[1]) not in sys.path:
    sys.path.insert(0, str(HERE.parents[1]))

from gendistill.evaluation.result_form import check_results  # noqa: E402
from gendistill.files import atomic_write  # noqa: E402
from gendistill.report.drawing import PRINT  # noqa: E402
from gendistill.report.utility import utility, utility_figure  # noqa: E402


def main() -> None:
    """Draw the figure, and print its points."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("output", type=Path)
    words.add_argument("results", type=Path, nargs="+")
    given = words.parse_args()
    teachers = [
        one for path in given.results for one in check_results(json.loads(path.read_text(encoding="utf-8")), str(path))
    ]
    found = utility(teachers)
    figure, buffer = utility_figure(found), io.BytesIO()
    figure.patch.set(facecolor=PRINT.paper, alpha=1)
    kind = given.output.suffix.removeprefix(".")
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {}
    figure.savefig(buffer, format=kind, metadata=metadata, dpi=160)
    atomic_write(given.output, lambda file: file.write(buffer.getvalue()))
    for name, points in found.private.items():
        reached = ", ".join(f"{100 * point.mean:.1f} % at epsilon {point.epsilon:.3g}" for point in points)
        print(f"{name}: {reached}")
    for name, mean in found.public.items():
        print(f"{name}, no promise: {100 * mean:.1f} %")


if __name__ == "__main__":
    main()
