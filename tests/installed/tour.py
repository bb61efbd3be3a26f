"""The newcomer's path: builds the wheel, installs it in a fresh environment and runs every block of docs/tour.md.

python tests/installed/tour.py                 # the dependencies are those of this interpreter's environment
python tests/installed/tour.py --real          # pip installs them, too: minutes and gigabytes
python tests/installed/tour.py --real PYTHON   # with another interpreter
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("gendistill", "trainers", "configs")
FILES = ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")
TEACHERS = ("checkpoints/*.safetensors", "checkpoints/*.json")
BLOCK = re.compile(r"^```(sh|python)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INSTALL = "python -m venv .venv\n.venv/bin/pip install gendistill\n. .venv/bin/activate\n"


@dataclass(frozen=True)
class Installed:
    """A fresh environment with the wheel in it.

    Attributes:
        folder: The environment.
    """

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> Path:
        """Where it keeps packages."""
        return next((self.folder / "lib").glob("python*/site-packages"))

    def run(self, words: list[str], place: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment in a folder; it sees nothing of this checkout."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        own |= {"PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": str(self.folder)}
        own |= {"OMP_NUM_THREADS": "1"} | environment
        return subprocess.run(words, cwd=place, env=own, capture_output=True, text=True, timeout=900)


def build_wheel(place: Path) -> Path:
    """Build the wheel from a copy of the sources, without an index, and return it."""
    source = place / "source"
    for name in SOURCES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (*(ROOT / name for name in FILES), *(found for pattern in TEACHERS for found in ROOT.glob(pattern))):
        target = source / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    words = ["wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(place)]
    subprocess.run([sys.executable, "-m", "pip", *words, str(source)], check=True, cwd=place)
    return next(place.glob("gendistill-*.whl"))


def install(wheel: Path, folder: Path) -> Installed:
    """Install a wheel alone in a fresh environment whose other packages are those of this interpreter."""
    venv.create(folder, with_pip=False)
    made = Installed(folder)
    others = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (made.packages / "others.pth").write_text("\n".join(others) + "\n")
    install_into(made, wheel)
    return made


def install_into(made: Installed, *packages: Path) -> None:
    """Install further wheels or folders, without their dependencies."""
    words = ["install", "--quiet", "--no-deps", "--no-index", "--no-compile", "--no-build-isolation"]
    words += [str(package) for package in packages]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(made.python), *words], check=True)


def install_really(wheel: Path, folder: Path, python: str) -> Installed:
    """Install a wheel with all its dependencies, as a person does."""
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    subprocess.run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", str(wheel)], check=True)
    return Installed(folder)


def blocks() -> Iterator[tuple[str, str | None, str]]:
    """Yield the page's blocks: the language, the file that it is to be kept in, and the text."""
    page = (ROOT / "docs" / "tour.md").read_text()
    found = BLOCK.findall(page)
    assert len(found) == page.count("```") // 2
    for language, file, text in found:
        yield language, file or None, text


def walk(made: Installed, place: Path) -> str:
    """Run every block of the page in a folder, and return all that was printed.

    Args:
        made: The environment.
        place: An empty folder.
    """
    said = []
    for language, file, text in blocks():
        if text == INSTALL:
            continue  # done
        if file is not None:
            (place / file).write_text(text)
            continue
        if language == "python":
            steps = [[str(made.python), "-c", text]]
        else:
            steps = [["sh", "-e", "-c", line] for line in text.splitlines()]
        for step in steps:
            done = made.run(step, place)
            assert done.returncode == 0, f"{step[-1]}\nended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
            said.append(f"$ {step[-1]}\n{done.stdout}{done.stderr}")
    return "\n".join(said)


def main() -> None:
    """Walk the path once, and say what it cost."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        wheel = build_wheel(place)
        if "--real" in sys.argv[1:]:
            others = [word for word in sys.argv[1:] if word != "--real"]
            made = install_really(wheel, place / "venv", *(others or [sys.executable]))
        else:
            made = install(wheel, place / "venv")
        (place / "empty").mkdir()
        print(walk(made, place / "empty"))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{used.ru_utime + used.ru_stime:.0f} CPU seconds")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
