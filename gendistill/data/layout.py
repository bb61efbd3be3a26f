"""How a folder of pictures is laid out: which file is of which part and class, decided by what lies where."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from gendistill.data.pictures import SUFFIXES, Source
from gendistill.errors import UserError
from gendistill.plain import readable
from gendistill.spelling import option

PARTS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""What folders and files of each part are called, in upper or lower case."""
LITTER = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin", "lost+found")
"""What desktops and archives leave; passed over without a word, as hidden files are."""
WNID = re.compile(r"n\d{8}")
"""How ImageNet and its parts name class folders."""
NAMED = 4
"""Names that a sentence lists; of more it says how many there are."""


@dataclass(frozen=True)
class Part:
    """One part of a data set.

    Attributes:
        sources: Its pictures, in order.
        labels: The class of each.
    """

    sources: Iterable[Source]
    labels: list[int]


@dataclass(frozen=True)
class Layout:
    """What was made of a folder.

    Attributes:
        parts: ``train`` and, where they are given, ``validation`` and ``test``.
        class_names: The classes in label order.
        taken: The layout in words.
        passed_over: What lies there and is not read.
        channels: What the data set has officially; None: as the pictures are.
    """

    parts: dict[str, Part]
    class_names: tuple[str, ...]
    taken: str
    passed_over: tuple[str, ...] = ()
    channels: int | None = None


@dataclass(frozen=True)
class Survey:
    """What lies in one folder, each kind sorted by name.

    Attributes:
        path: The folder.
        folders: Folders in it.
        pictures: Files whose names end as pictures' do.
        others: Everything else, but for what is hidden and what desktops leave.
    """

    path: Path
    folders: list[Path] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)

    @classmethod
    def of(cls, path: Path) -> Survey:
        """Look into a folder.

        Raises:
            UserError: It cannot be looked into.
        """
        found = cls(path)
        try:
            with os.scandir(path) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    if entry.name.startswith(".") or entry.name.lower() in LITTER:
                        continue
                    picture = entry.name.lower().endswith(SUFFIXES) and entry.is_file()
                    kind = found.folders if entry.is_dir() else found.pictures if picture else found.others
                    kind.append(path / entry.name)
        except (OSError, ValueError) as error:  # a name with a null byte is no OSError
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            raise UserError(f"the folder '{readable(str(path))}' cannot be read ({reason}); check it") from error
        return found

    @cached_property
    def below(self) -> list[Survey]:
        """What lies in each of its folders."""
        return [Survey.of(folder) for folder in self.folders]

    @property
    def name(self) -> str:
        """The folder's name, readable."""
        return readable(self.path.name)

    @property
    def has_classes(self) -> bool:
        """Whether a folder in it holds pictures, or a folder of them; one that is called ``images`` is no class."""
        if [one.path.name.lower() for one in self.below] == ["images"]:
            return False
        return any(one.pictures or any(deeper.pictures for deeper in one.below) for one in self.below)


def part_of(name: str) -> str | None:
    """Return which part a folder or file of this name is, if any: ``train``, ``validation`` or ``test``."""
    return next((part for part, words in PARTS.items() if name.lower() in words), None)


def listed(names: Sequence[str]) -> str:
    """Return names in quotes, a few of them."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(f"'{name}'" for name in names[:NAMED]) + more


def counted(number: int, what: str) -> str:
    """Return a number with its word: ``1 picture``, ``1,200 pictures``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def column_named(wanted: str | int, there: Sequence[str], path: Path) -> str:
    """Return the column of labels that a person names, or numbers from 1.

    Raises:
        UserError: There is none.
    """
    if wanted in there:
        return str(wanted)
    if str(wanted).isdecimal() and 1 <= int(wanted) <= len(there):
        return there[int(wanted) - 1]
    raise UserError(
        f"{option('label_column')} is '{wanted}', but the columns of '{readable(str(path))}' are "
        f"{', '.join(readable(name) for name in there)}; give one of them, or its number from 1"
    )


def one_name_each(top: Survey, found: Iterable[tuple[str, str]]) -> None:
    """Refuse two names of one part, such as ``val`` and ``valid``: either may be meant.

    Args:
        top: Where they lie.
        found: Each part with the name of what is read for it.

    Raises:
        UserError: A part goes by two names.
    """
    names: dict[str, str] = {}
    for part, name in found:
        other = names.setdefault(part, name)
        if other != name:
            raise UserError(
                f"{_quoted(top)} holds both '{other}' and '{name}', and either may be the {part} part; move or rename "
                "one of them"
            )


def find_folders(top: Survey) -> Layout:
    """Make out the layout of a folder of class folders, below folders of parts or not.

    A folder whose name is that of a part is one if it holds class folders, and a class if it holds pictures.

    Raises:
        UserError: There are no class folders, one is empty or holds folders, or more than one reading makes sense.
    """
    if not top.folders:
        what = f"{counted(len(top.pictures), 'picture')} but no folders" if top.pictures else "no folders"
        raise UserError(
            f"{_quoted(top)} holds {what}; put a folder of images for each class into it, or list the classes of "
            "images in metadata.csv (file_name,label)"
        )
    parts = _split(top)
    if parts is None:
        return _official(_layout({"train": top}, "a folder for each class", _left(top, ())))
    where = ", ".join(f"{one.name}/" for one in parts.values())
    left = _left(top, [one.path for one in parts.values()])
    left += [
        f"{counted(len(one.pictures), 'picture')} of {one.name}/ in no class folder"
        for one in parts.values()
        if one.pictures
    ]
    return _official(_layout(parts, f"{where} with a folder for each class", left))


def _split(top: Survey) -> dict[str, Survey] | None:
    """Return the folders of the parts; None where all folders are classes."""
    named = [one for one in top.below if part_of(one.path.name)]
    deep = [one for one in named if one.has_classes]
    others = [one for one in top.below if one not in named and (one.pictures or one.has_classes)]
    flat = [one for one in named if one not in deep]
    if not named or (not deep and others):
        return None
    if not deep:
        names = listed([one.name for one in named])
        raise UserError(
            f"{_quoted(top)} holds {names} alone, with no class folders in them: either parts whose pictures have no "
            "classes, or classes that are called so; put a folder for each class (or metadata.csv: file_name,label) "
            "into each part, or give the classes other names"
        )
    one_name_each(top, [(str(part_of(one.path.name)), one.name) for one in deep])
    parts = {str(part_of(one.path.name)): one for one in deep}
    if "train" not in parts or (len(parts) == 1 and others):
        of_parts, of_classes = listed([one.name for one in deep]), listed([one.name for one in (*others, *flat)])
        if not of_classes:
            raise UserError(
                f"{_quoted(top)} holds {of_parts} but no train; name the folder of the training part 'train'"
            )
        raise UserError(
            f"{_quoted(top)} holds {of_parts} with folders in it beside {of_classes}: these are parts and something "
            f"that is to be passed over, or classes of which {of_parts} holds folders by mistake; move what is no part "
            "elsewhere (training classes into 'train'), or the pictures of a class up into its folder"
        )
    return {part: parts[part] for part in PARTS if part in parts}


def _left(top: Survey, taken: Sequence[Path]) -> list[str]:
    """Return what is passed over at the top: loose pictures, other files, and folders where those of parts are read."""
    left = [f"{counted(len(top.pictures), 'picture')} in no class folder"] if top.pictures else []
    for path in (path for path in top.folders if taken and path not in taken):
        left.append(f"{readable(path.name)}/" + (" (no class folders)" if part_of(path.name) else ""))
    return left + [readable(path.name) for path in top.others]


def _layout(parts: Mapping[str, Survey], taken: str, left: Sequence[str]) -> Layout:
    names = class_order([one.path.name for one in parts["train"].below])
    found = {part: _classes(top, names) for part, top in parts.items()}
    return Layout(found, names, taken, tuple(left))


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return class names in label order: numbers by value, else by name.

    Raises:
        UserError: A name is not UTF-8, so that no file could hold it.
    """
    found = sorted(set(names))
    for name in found:
        if readable(name) != name:
            raise UserError(f"the class folder '{readable(name)}' has a name that is not UTF-8; rename it")
    return tuple(sorted(found, key=int) if all(name.isdecimal() for name in found) else found)


def _classes(top: Survey, names: Sequence[str]) -> Part:
    """Return the pictures of the class folders in one folder, class after class."""
    places = {name: label for label, name in enumerate(names)}
    sources: list[Path] = []
    labels: list[int] = []
    inner = _inner(top)
    for one in sorted(top.below, key=lambda one: places.get(one.path.name, -1)):
        if one.path.name not in places:
            raise UserError(
                f"{_quoted(one)} is named after none of the classes: {', '.join(map(readable, names))}; rename it, or "
                "move it elsewhere"
            )
        found = Survey.of(one.path / inner) if inner else one
        _refuse_strangers(top, found, count=len(names))
        sources += found.pictures
        labels += [places[one.path.name]] * len(found.pictures)
    return Part(sources, labels)


def _inner(top: Survey) -> str | None:
    """Return the name of the one folder that each class folder holds in place of pictures, if it is one for all."""
    inner = {tuple(folder.name for folder in one.folders) for one in top.below if not one.pictures}
    alike = len(inner) == 1 and len(next(iter(inner))) == 1 and not any(one.pictures for one in top.below)
    same = next(iter(inner))[0] if alike else None
    several = len(top.below) > 1 and all(deeper.pictures for one in top.below for deeper in one.below)
    return same if several else None


def _refuse_strangers(top: Survey, one: Survey, count: int) -> None:
    """Refuse a class folder without pictures, or with anything else."""
    if one.folders and not one.pictures:
        inside = listed([readable(folder.name) for folder in one.folders])
        advice = f"give '{readable(str(one.path))}' itself, or " if count == 1 else ""
        raise UserError(
            f"class folder {_quoted(one)} holds folders ({inside}) and no pictures of its own; {advice}move the "
            "pictures of each class right into the folder of the class"
        )
    if one.folders or one.others:
        stranger = (one.folders + one.others)[0]
        if stranger.is_symlink() and not stranger.exists():
            raise UserError(f"'{readable(str(stranger))}' is a link to nothing; replace or delete it")
        what = "a folder" if stranger in one.folders else "not an image"
        raise UserError(
            f"'{readable(str(stranger))}' is {what}; class folders may hold {', '.join(SUFFIXES)} files only, so move "
            "or delete it"
        )
    if not one.pictures:
        raise UserError(f"class folder {_quoted(one)} holds no images; fill or delete it")


def _official(layout: Layout) -> Layout:
    """Take the validation part of ImageNet's class folders, on which results are published, as the test part."""
    given = set(layout.parts) == {"train", "validation"}
    if not (given and all(WNID.fullmatch(name) for name in layout.class_names)):
        return layout
    parts = {"train": layout.parts["train"], "test": layout.parts["validation"]}
    taken = f"{layout.taken} of ImageNet, and as the test part the validation images, on which results are published"
    return Layout(parts, layout.class_names, taken, layout.passed_over, layout.channels)


def _quoted(one: Survey) -> str:
    return f"'{readable(str(one.path))}'"
