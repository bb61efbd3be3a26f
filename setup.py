"""What a wheel has beside the packages: configs, small teachers, and the methods where no other package writes."""

from __future__ import annotations

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
SHIPPED = (
    "configs/**/*.yaml",
    "checkpoints/digits-gan.safetensors",  # by name: runs of whoever builds lie there, too
    "checkpoints/mnist-gan.safetensors",
    "checkpoints/mnist-10.*",  # a set and what was measured of it
    "checkpoints/cifar10-10.*",
    "checkpoints/mnist-gtn.*",
    "trainers/**/*.py",
)
"""What goes to ``gendistill/shipped_files/``; see ``gendistill/shipped.py``.

The methods are there a second time: a distribution with a package ``trainers`` overwrites the files of the first.
"""


class WithShipped(build_py):
    """Copies what is shipped into the package that is built; an editable installation reads the checkout."""

    def run(self) -> None:
        """Build the packages, then copy."""
        super().run()
        if self.editable_mode:
            return
        for source, target in self.shipped().items():
            self.mkpath(str(target.parent))
            self.copy_file(str(source), str(target))

    def shipped(self) -> dict[Path, Path]:
        """Return every file to copy and where to."""
        root = Path(self.build_lib) / "gendistill" / "shipped_files"
        files = [path for pattern in SHIPPED for path in sorted(HERE.glob(pattern))]
        return {path: root / path.relative_to(HERE) for path in files}

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Return all files that are made."""
        made = [] if self.editable_mode else [str(target) for target in self.shipped().values()]
        return [*super().get_outputs(include_bytecode), *made]


setup(cmdclass={"build_py": WithShipped})
