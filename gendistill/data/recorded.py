"""How data was loaded, as teachers and results remember it, and the same data again.

A teacher's metadata and a result hold under ``data`` the options of :func:`gendistill.data.load`, and number and
checksum of the images of each split. Both come out of a file, which nobody vouches for: the options are looked at
before they are used; official data sets are read where they are and never downloaded; and a folder or a text that only
the file names is used where it holds, to the bit, what the file says. Whoever wrote the file has seen it then, and
nothing that he has not seen is read, measured or drawn for him.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_type_hints

import torch

from gendistill.data import sources
from gendistill.data.fingerprint import PARTS, contents
from gendistill.data.load import NAMES, default_root, known_name, load
from gendistill.data.real import RealData
from gendistill.data.stacked import BASES
from gendistill.declared import describe, fits_type
from gendistill.errors import UserError
from gendistill.notes import note
from gendistill.regular import expanded
from gendistill.spelling import option
from gendistill.visible import visible
from gendistill.words import listed

OPTIONS: dict[str, Any] = {
    name: hint for name, hint in get_type_hints(load).items() if name not in ("device", "return")
} | {"root": str}
"""The options of :func:`gendistill.data.load` that are remembered, each with its type."""
NOTHING = "none"
"""What a person gives for an option that is to stay at its default, whatever a file says."""
DEFAULT = "digits"
"""The data set where nobody names one."""
OF_FILES = ("mhist", "text")
"""Named data sets whose files no checksum of ours knows: they are a person's own, as folders are."""
FIT_AFTERWARDS = ("whitening",)
"""Options that change how images are described, and not what is read."""
LONGEST, LARGEST = 4_096, 2**20
"""Characters of a text and the largest number that a file may name."""


@dataclass(frozen=True)
class Recorded:
    """What a file says of the data that something was made from.

    Attributes:
        who: What says so, in a sentence: ``'checkpoints/run'``.
        options: Options of :func:`gendistill.data.load` that were given, ``name`` among them.
        splits: For each split ``images`` (their number) and ``sha256``; empty where the file does not say.
    """

    who: str
    options: Mapping[str, Any]
    splits: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, noted: Any, who: str) -> Recorded | None:
        """Return what is noted under ``data``; None where it does not say how data was loaded.

        Args:
            noted: Anything.
            who: What says so: the path of a teacher or of results.

        Raises:
            UserError: It does, with an option that there is not or a value that it cannot have.
        """
        options = noted.get("options") if isinstance(noted, Mapping) else None
        if options is None:
            return None
        shown = f"'{visible(who, 200)}'"
        _check(options, shown)
        splits = {part: noted[part] for part in PARTS if isinstance(noted.get(part), Mapping)}
        return cls(shown, dict(options), splits if len(splits) == len(PARTS) else {})

    def without(self, *names: str) -> Recorded:
        """Return it without some options."""
        return Recorded(self.who, _without(self.options, names), self.splits)


def remember(data: RealData) -> dict[str, Any] | None:
    """Return what a teacher or a result notes of its data; None of data that :func:`gendistill.data.load` did not load.

    Returns:
        ``options`` and, for each split, ``images`` and ``sha256``.
    """
    if not data.options:
        return None
    known = contents(data)
    return {"options": dict(data.options), **{part: known[part] for part in PARTS}}


def load_recorded(
    recorded: Recorded | None, given: Mapping[str, Any] | None = None, device: torch.device | str = "cpu"
) -> RealData:
    """Load the data that a file remembers; what is given by a person wins, option by option.

    Where the name of another kind of data is given, nothing is taken from the file: its options are not for that.

    Args:
        recorded: What the file says; None: nothing.
        given: Options of :func:`gendistill.data.load`, None where a person left one out; :data:`NOTHING` where the file
            shall have no say in it either.
        device: Where the images go.

    Returns:
        The data. A note says which options were taken from where.

    Raises:
        UserError: What the file names is not there any more, holds something else now, or cannot be loaded.
    """
    own = {name: value for name, value in (given or {}).items() if value is not None}
    if nothing := [name for name, value in own.items() if value == NOTHING]:
        own = _without(own, nothing)
    if "name" in own:
        own["name"] = known_name(str(own["name"]))
    if recorded is None or ("name" in own and not _alike(own["name"], str(recorded.options["name"]))):
        return load(**({"name": DEFAULT} | own), device=device)
    taken = _without(recorded.options, (*own, *(name for name in nothing if name != "name")))
    if taken.get("name") not in NAMES and "root" in taken and own.get("name") not in NAMES:
        taken.pop("root")  # of no use to a folder
    if taken and taken != {"name": DEFAULT}:  # what is taken without a file, too, is no news
        note(f"data as {recorded.who} says: {in_words(taken)}")
    if not _names_place(taken, own):
        return load(**(taken | own), device=device)
    asked = _there(recorded, taken) | own
    data = load(**asked, device=device)
    if asked["name"] not in NAMES or asked["name"] in OF_FILES:  # official files have checksums of their own
        noted = dict(recorded.options)
        # Where it is to be read in another way, what it holds shows in the file's own way alone.
        alike = _without(asked, FIT_AFTERWARDS) == _without(noted, FIT_AFTERWARDS)
        _require_noted(recorded, data if alike else load(**noted))
    return data


def agreed(found: Sequence[Recorded]) -> Recorded | None:
    """Return what several files say together, None where they say nothing.

    Teachers of whitened and of plain images of one data set are judged on the plain ones.

    Raises:
        UserError: They were made from different data.
    """
    if not found:
        return None
    first = found[0]
    for other in found[1:]:
        if dict(other.options) == dict(first.options):
            first = first if first.splits else other
            continue
        plain = first.without(*FIT_AFTERWARDS), other.without(*FIT_AFTERWARDS)
        same = first.splits and first.splits == other.splits
        if not same and plain[0].options != plain[1].options:
            says = [f"{one.who} was made from {in_words(one.options)}" for one in (first, other)]
            raise UserError(f"{', '.join(says)}; say with {option('name')} which data they are judged on")
        first = first if first.options.get("whitening") == other.options.get("whitening") else plain[0]
    return first


def in_words(options: Mapping[str, Any]) -> str:
    """Return options of the data as a person types them here, quoted for a shell."""
    known = [name for name in OPTIONS if name in options]
    return " ".join(f"{option(name)} {shlex.quote(visible(str(options[name])))}" for name in known)


def _without(options: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key not in names}


def _check(options: Any, who: str) -> None:
    """Refuse options that :func:`gendistill.data.load` does not have, or values that they cannot have."""
    if not isinstance(options, Mapping) or not isinstance(options.get("name"), str):
        raise UserError(f"{who} does not name its data in its options; name it with {option('name')}")
    for name, value in options.items():
        hint = OPTIONS.get(str(name))
        if hint is None:
            raise UserError(
                f"{who} names an option of the data, '{visible(str(name), 60)}', that this version does not have; "
                f"name the data with {option('name')}"
            )
        number = isinstance(value, int | float) and not isinstance(value, bool)
        fits = fits_type(value, hint) and value is not None
        if not fits or (number and not (math.isfinite(value) and 0 <= value <= LARGEST)):
            raise UserError(
                f"{who} says {name} {visible(repr(value), 60)} of its data; expected {describe(hint)}, so name the "
                f"data with {option('name')}"
            )
        if isinstance(value, str) and (len(value) > LONGEST or "\0" in value):
            raise UserError(f"{who} says {name} of its data at a length of {len(value):,}; name it yourself")


def _alike(given: str, noted: str) -> bool:
    """Return whether options for one data set mean something for another: the same one, or both of one's own."""
    return given == noted or (given not in NAMES and noted not in NAMES)


def _names_place(taken: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    """Return whether the file, and no person, says where something is read."""
    name = own.get("name", taken.get("name"))
    if name in OF_FILES:
        return "root" not in own
    if name in NAMES:
        return "name" not in own or "root" in taken
    return "name" not in own


def _there(recorded: Recorded, taken: dict[str, Any]) -> dict[str, Any]:
    """Return the options with a place where the data is.

    Raises:
        UserError: It is not there any more, or the file does not say what it held.
    """
    name, root = str(recorded.options["name"]), taken.get("root", recorded.options.get("root"))
    base = BASES.get(name, name)
    if base in sources.SOURCES:
        if root is not None and not sources.is_there(base, expanded(root)):
            if not sources.is_there(base, default_root()):
                raise UserError(
                    f"{recorded.who} was made from '{name}' in '{visible(str(root))}', where its files are no longer; "
                    f"say with {option('root')} where they are"
                )
            return {key: value for key, value in taken.items() if key != "root"}
        if root is None and not sources.is_there(base, default_root()):
            raise UserError(
                f"{recorded.who} was made from '{name}', which is not in '{default_root()}'; a file starts no "
                f"download: say with {option('root')} where it is, or name it with {option('name')} to have it fetched"
            )
        return taken
    if name in NAMES and name not in OF_FILES:
        return taken
    what, way_out = ("name", "name") if name not in NAMES else ("root", "root")
    place = recorded.options.get(what)
    shown, typed = visible(str(place)), f"{option(way_out)} {shlex.quote(visible(str(place)))}"
    if place is not None and not expanded(str(place).removeprefix("folder:")).exists():
        kept = {key: value for key, value in recorded.options.items() if key not in ("name", "root")}
        more = f" ({in_words(kept)} {'stays' if len(kept) == 1 else 'stay'} as noted)" if kept else ""
        raise UserError(
            f"{recorded.who} was made from '{shown}', which is not there any more; say with {option(way_out)} where it "
            f"is now{more}"
        )
    if not recorded.splits:
        raise UserError(
            f"{recorded.who} names '{shown}' and not what it held, and a file alone chooses no place; give {typed}"
        )
    return taken


def _require_noted(recorded: Recorded, data: RealData) -> None:
    """Refuse data in a place that a file names if it is not what the file says that it held."""
    name, now = str(recorded.options["name"]), contents(data)
    differ = [words for part, words in PARTS.items() if now[part] != dict(recorded.splits[part])]
    if differ:
        way_out = "root" if name in OF_FILES else "name"
        place = visible(str(recorded.options.get(way_out, "")))
        raise UserError(
            f"the {listed(differ)} images in '{place}' are not those that {recorded.who} was made from; give "
            f"{option(way_out)} {shlex.quote(place)} to take them as they are now"
        )
