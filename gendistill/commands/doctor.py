"""``gendistill doctor``: what this installation has, what is missing, what that disables and how to get it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gendistill import __version__
from gendistill.commands.options import Options, add_json
from gendistill.commands.output import in_words, to_json
from gendistill.errors import UserError
from gendistill.files import require_place

OK, MISSING, BROKEN = "ok", "missing", "broken"
OLDEST = (3, 11)
EXTRAS = {
    "cluster": (("distributed", "cryptography"), "--cluster: work on many machines"),
    "timm": (("timm",), "learners of timm (--learner timm:NAME) and the extractor dinov2"),
    "nas": (("optuna",), "gendistill nas --search optuna"),
    "sweep": (("optuna",), "gendistill sweep --search optuna"),
    "parquet": (("pyarrow",), "data and exports in Parquet"),
}
"""Packages of each extra by the name under which they are installed and imported, and what they are for."""
NAMED_OTHERWISE = {"pillow": "PIL", "pyyaml": "yaml", "scikit-learn": "sklearn", "pytorch-fid": "pytorch_fid"}
"""Packages that are imported under another name than they are installed under."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for.

    Attributes:
        group: ``versions``, ``extras``, ``devices``, ``data``, ``weights`` or ``places``.
        name: What it is.
        state: ``ok``, ``missing`` (something is disabled) or ``broken`` (something that is required).
        found: What was found, or where it was looked for.
        disables: What does not work without it; empty where nothing is missing.
        get: How to get it; likewise.
    """

    group: str
    name: str
    state: str
    found: str
    disables: str = ""
    get: str = ""


def parser() -> Options:
    """Return the command's options."""
    options = Options(
        prog="gendistill doctor",
        description="Say what this installation has: versions, devices, data sets and weights, where they were looked "
        "for, what each missing thing disables and how to get it. The exit code is 1 where something that is required "
        "is broken, else 0.",
    )
    options.add_argument("--data-root", metavar="DIR", help="where data sets are kept; None: see docs/data.md")
    add_json(options)
    return options


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill doctor``."""
    given = parser().parse(argv)
    found = examine(given.data_root)
    result = {"gendistill": __version__, "findings": [asdict(one) for one in found]}
    print(to_json(result) if given.json else in_words(result, text))
    return 1 if any(one.state == BROKEN for one in found) else 0


def examine(data_root: str | None = None) -> list[Finding]:
    """Look for everything, quickly: nothing is loaded but torch, nothing is downloaded.

    Args:
        data_root: Where data sets are kept; None: where every command looks.
    """
    return [*versions(), *extras(), *devices(), *data_sets(data_root), *weights(), *places()]


def versions() -> list[Finding]:
    """Return Python's version and those of the packages that are required."""
    python = platform.python_version()
    enough = sys.version_info >= OLDEST
    wanted = ".".join(map(str, OLDEST))
    found = [
        Finding("versions", "gendistill", OK, f"{__version__} in {Path(__file__).resolve().parents[1]}"),
        Finding("versions", "python", OK, python)
        if enough
        else Finding("versions", "python", BROKEN, python, "everything", f"install Python {wanted} or later"),
    ]
    return found + [_required(name, at_least) for name, at_least in requirements()]


def requirements() -> list[tuple[str, str]]:
    """Return the packages that are required without an extra, with the lowest version; none where nobody noted them."""
    try:
        noted = importlib.metadata.requires("gendistill") or []
    except importlib.metadata.PackageNotFoundError:
        noted = []
    found = []
    for line in noted:
        name, _, condition = line.partition(";")
        match = re.match(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?\s*\(?(?:>=\s*([\w.]+))?", name.strip())
        if match and "extra" not in condition:
            found.append((match[1], match[2] or "0"))
    return found or [("torch", "0"), ("torchvision", "0"), ("numpy", "0")]


def _required(name: str, at_least: str) -> Finding:
    get = f"pip install '{name}>={at_least}'"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding("versions", name, BROKEN, "not installed", "everything that needs it", get)
    module = NAMED_OTHERWISE.get(name.lower(), name.replace("-", "_"))
    if importlib.util.find_spec(module) is None:
        return Finding("versions", name, BROKEN, f"{version} is noted and cannot be imported", "everything", get)
    if _numbers(version) < _numbers(at_least):
        return Finding("versions", name, BROKEN, f"{version}, {at_least} is needed", "everything that needs it", get)
    return Finding("versions", name, OK, version)


def extras() -> list[Finding]:
    """Return which extras are installed."""
    found = []
    for extra, (packages, purpose) in EXTRAS.items():
        lacking = [name for name in packages if importlib.util.find_spec(name) is None]
        if lacking:
            get = f"pip install 'gendistill[{extra}]'"
            found.append(Finding("extras", extra, MISSING, f"without {', '.join(lacking)}", purpose, get))
            continue
        named = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
        found.append(Finding("extras", extra, OK, named))
    return found


def devices() -> list[Finding]:
    """Return on what can be computed."""
    try:
        import torch
    except Exception as error:  # whatever a broken library raises; the sentence is the news
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return [Finding("devices", "torch", BROKEN, reason, "everything", "pip install --force-reinstall torch")]
    from gendistill import budget

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = budget.words(budget.free_memory())
    threads = f"{cores} cores, {torch.get_num_threads()} threads (OMP_NUM_THREADS)"
    found = [Finding("devices", "cpu", OK, f"{threads}, {memory} of memory free")]
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            memory = budget.words(torch.cuda.get_device_properties(number).total_memory)
            named = f"{torch.cuda.get_device_name(number)}, {memory}, CUDA {torch.version.cuda}"
            found.append(Finding("devices", f"cuda:{number}", OK, named))
    else:
        built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built without CUDA"
        get = "a machine with a GPU, its driver, and a build of torch for it"
        found.append(
            Finding("devices", "gpu", MISSING, f"{built}; none is seen", "runs of the scale paper within days", get)
        )
    return found


def data_sets(root: str | None = None) -> list[Finding]:
    """Return which public data sets are there."""
    from gendistill.data import mhist
    from gendistill.data.load import ROOT_VARIABLE, default_root
    from gendistill.data.sources import SOURCES, is_there
    from gendistill.regular import expanded

    place = default_root() if root is None else expanded(root)
    found = [Finding("data", "digits", OK, "comes with scikit-learn")]
    for name, source in SOURCES.items():
        if is_there(name, place):
            found.append(Finding("data", name, OK, f"in '{place}'"))
            continue
        get = f"use it once with a network, or put {source.archive or 'its files'} into '{place}' (or ${ROOT_VARIABLE})"
        found.append(Finding("data", name, MISSING, f"not in '{place}'", f"--dataset {name} without a network", get))
    if any((one / mhist.ANNOTATIONS).is_file() for one in (place, place / "mhist", place / "MHIST")):
        found.append(Finding("data", "mhist", OK, f"in '{place}'"))
    else:
        get = f"ask for it at https://bmirds.github.io/MHIST, put it into '{place / 'mhist'}'"
        found.append(Finding("data", "mhist", MISSING, f"not in '{place}'", "--dataset mhist", get))
    return found


def weights() -> list[Finding]:
    """Return which weights of extractors are there."""
    import torch

    from gendistill.evaluation import dinov2, inception

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    found = []
    own, twin = folder / inception.FILE_NAME, folder / inception.TWIN
    if own.is_file():
        sound = inception.digest_of(own).startswith(inception.HASH_PREFIX)
        said = "" if sound else ", which is not the published file"
        instead = () if sound else ("FID", f"take it away and get {inception.URL}")
        found.append(Finding("weights", "inception", OK if sound else MISSING, f"'{own}'{said}", *instead))
    else:
        beside = f"; torch-fidelity's '{twin}' can be given with --weights" if twin.is_file() else ""
        get = f"get {inception.URL} and put it at '{own}'"
        found.append(Finding("weights", "inception", MISSING, f"not at '{own}'{beside}", "FID without a network", get))
    file = folder / dinov2.FILE
    if file.is_file():
        found.append(Finding("weights", "dinov2", OK, f"'{file}', to be given with --weights"))
    else:
        get = f"get {dinov2.URL} and give its path with --weights"
        found.append(Finding("weights", "dinov2", MISSING, f"not at '{file}'", "--extractor dinov2", get))
    return found


def places() -> list[Finding]:
    """Return whether results and statistics can be written where they go by default."""
    from gendistill.evaluation.cache import VARIABLE, cache_folder

    wanted: list[tuple[str, Path, str, str]] = [
        ("runs", Path("checkpoints"), "training here", "go to another folder, or give --run.root DIR"),
        ("cache", cache_folder("x").parent, "keeping statistics", f"set ${VARIABLE} to a folder that can be written"),
    ]
    return [_place(*one) for one in wanted]


def _place(name: str, path: Path, disables: str, get: str) -> Finding:
    try:
        require_place(path, folder=True)
    except UserError as error:
        return Finding("places", name, MISSING, str(error).partition(";")[0], disables, get)
    return Finding("places", name, OK, f"'{path.absolute()}' can be written")


def text(result: Mapping[str, Any]) -> str:
    """Return the findings as a table, and below it what is missing and how to get it."""
    found = result["findings"]
    names = [f"{one['group']}: {one['name']}" for one in found]
    width = max(map(len, names))
    lines = [f"{name:<{width}}  {one['state']:<7}  {one['found']}" for name, one in zip(names, found, strict=True)]
    lacking = [one for one in found if one["state"] != OK]
    below = [f"{one['name']} is {one['state']}, which disables {one['disables']}: {one['get']}" for one in lacking]
    broken = [one["name"] for one in found if one["state"] == BROKEN]
    end = f"broken: {', '.join(broken)}" if broken else "everything that is required is there"
    return "\n".join([*lines, "", *below, *([""] if below else []), end])


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: ``2.14.1+cpu`` is (2, 14, 1)."""
    return tuple(map(int, re.findall(r"\d+", re.match(r"[\d.]*", version)[0])))  # type: ignore[index]
