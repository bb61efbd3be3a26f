"""What a wheel and an sdist must hold and must not: ``python tests/installed/contents.py dist/*``."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEACHERS = ("digits-gan", "mnist-gan", "mnist-10", "cifar10-10", "mnist-gtn")
"""Those that come with the project, as far as they lie in the checkout; sets with what was measured of them."""
STRANGE = (".pyc", ".DS_Store", "state.pt", ".lock")


def faults(archive: Path) -> list[str]:
    """Return what is wrong with a wheel (.whl) or an sdist (.tar.gz), as sentences; nothing where it is whole."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as opened:
            held = {name: opened.read(name) for name in opened.namelist()}
        wanted, said = _of_wheel(), []
        known = {"gendistill", "trainers"}
        said += [
            f"{name} has no place in a wheel"
            for name in held
            if name.split("/")[0] not in known and ".dist-info/" not in name
        ]
    else:
        with tarfile.open(archive) as opened:
            files = [one for one in opened.getmembers() if one.isfile()]
            held = {one.name.partition("/")[2]: opened.extractfile(one).read() for one in files}  # type: ignore[union-attr]
        wanted, said = _of_sdist(), []
    said += [f"{name} has no place in a release" for name in held if name.endswith(STRANGE)]
    for name, source in wanted.items():
        if name not in held:
            said.append(f"{name} is missing")
        elif held[name] != source.read_bytes():
            said.append(f"{name} is not that of the checkout")
    held_configs = [name for name in held if name.endswith(".yaml") and "configs/" in name]
    said += [f"{name} is no config of the checkout" for name in held_configs if name not in wanted]
    made = [name for name in held if name.endswith(".safetensors")]
    said += [f"{name} is no teacher of the project" for name in made if Path(name).stem not in TEACHERS]
    return said


def _of_wheel() -> dict[str, Path]:
    """Return the files that a wheel must hold, and what they are copies of."""
    shipped = "gendistill/shipped_files/"
    found = {f"{shipped}{_name(path)}": path for path in _shipped()}
    methods = sorted((ROOT / "trainers").rglob("*.py"))
    found |= {f"{shipped}{_name(path)}": path for path in methods} | {_name(path): path for path in methods}
    found |= {
        _name(path): path for path in sorted((ROOT / "gendistill").rglob("*.py")) if "shipped_files" not in path.parts
    }
    return found | {
        name: ROOT / name for name in ("gendistill/py.typed", "trainers/py.typed", "gendistill/report/style.css")
    }


def _of_sdist() -> dict[str, Path]:
    """Return the same of an sdist, from which tests run, too."""
    folders = ("gendistill", "trainers", "tests", "tools", "benchmarks", "docs")
    sources = [path for name in folders for path in sorted((ROOT / name).rglob("*.py"))]
    pages = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "Makefile"]
    return {_name(path): path for path in (*_shipped(), *sources, *pages)}


def _shipped() -> list[Path]:
    known = [ROOT / "checkpoints" / f"{name}{ending}" for name in TEACHERS for ending in (".safetensors", ".json")]
    return [*sorted((ROOT / "configs").rglob("*.yaml")), *(path for path in known if path.is_file())]


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


if __name__ == "__main__":
    found = [f"{Path(archive).name}: {one}" for archive in sys.argv[1:] for one in faults(Path(archive))]
    print("\n".join(found) or f"{len(sys.argv) - 1} archives are whole")
    sys.exit(1 if found or len(sys.argv) < 2 else 0)
