"""``gendistill configs``: what experiments come with the project, one line each; ``--copy`` makes one your own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gendistill import shipped
from gendistill.commands.options import Options, add_json
from gendistill.commands.output import to_json
from gendistill.config.base import KEY, read_config
from gendistill.errors import UserError, did_you_mean
from gendistill.files import atomic_write, require_place
from gendistill.regular import read_text
from gendistill.spelling import typed
from gendistill.yaml_file import dump_yaml, read_yaml

REPLICATIONS = "replication/"


def parser() -> Options:
    """Return the command's options."""
    options = Options(
        prog="gendistill configs",
        description="List the configs that come with the project, one line each. A name is what --config takes "
        "(gendistill train --config gan/mnist-cgan-pd), wherever the command is given. Replications, of which there "
        "are many, are listed by gendistill configs replication, and with what they report by gendistill replicate "
        "--list.",
    )
    options.add_argument("words", metavar="WORD", nargs="*", help="only configs with all of these words in their lines")
    options.add_argument("--copy", metavar="NAME", help="write this config to a file of your own, to be changed")
    options.add_argument("--output", metavar="FILE", help="that file; None: the end of its name, in this folder")
    add_json(options)
    return options


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill configs``."""
    given = parser().parse(argv)
    if given.copy is not None:
        target = copy(given.copy, given.output)
        print(to_json({"copied": str(target)}) if given.json else typed("train", "--config", str(target)))
        return 0
    if given.output is not None:
        raise UserError("--output is where --copy NAME writes; give --copy, too")
    found = {name: summary(name) for name in shipped.names(shipped.CONFIGS)}
    left = {name: said for name, said in found.items() if all(word in f"{name} {said}" for word in given.words)}
    replications = [name for name in left if name.startswith(REPLICATIONS)] if not given.words else []
    left = {name: said for name, said in left.items() if name not in replications}
    if given.json:
        print(to_json({"configs": left}))
        return 0
    if not left:
        raise UserError(f"no config has '{' '.join(given.words)}' in its line; gendistill configs lists all")
    width = max(map(len, left))
    for name, said in left.items():
        print(f"{name:<{width}}  {said}")
    if replications:
        print(f"{REPLICATIONS:<{width}}  {len(replications)} more: gendistill configs replication")
    if not given.words:
        generators, sets = shipped.generators(), shipped.sets()
        print(f"\ngenerators to search, by name: {', '.join(generators)} (gendistill latent-search digits-gan)")
        if sets:
            print(f"sets to judge and compare, by name: {', '.join(sets)} (gendistill compare)")
    return 0


def summary(name: str) -> str:
    """Return what the first line of a shipped config says of it."""
    first = read_text(shipped.folder(shipped.CONFIGS) / f"{name}.yaml").split("\n", 1)[0]
    return first.removeprefix("#").strip()


def copy(name: str, output: str | None) -> Path:
    """Write a shipped config to a file of the user's; one that stands on another becomes whole.

    Args:
        name: As ``gendistill configs`` lists it.
        output: The file; None: the last part of the name, in the folder where the command is given.

    Returns:
        The file.

    Raises:
        UserError: There is no such config, or the file is there already.
        PlaceError: Nothing can be written there.
    """
    known = shipped.names(shipped.CONFIGS)
    plain = name.removeprefix(f"{shipped.CONFIGS}/").removesuffix(".yaml")
    if plain not in known:
        hint = did_you_mean(plain, known) or "gendistill configs lists all of them"
        raise UserError(f"no config '{name}' comes with the project; {hint.rstrip()}")
    source = shipped.folder(shipped.CONFIGS) / f"{plain}.yaml"
    target = Path(output or f"{plain.rpartition('/')[2]}.yaml")
    require_place(target)
    if target.exists():
        raise UserError(f"'{target}' is there already; name another file (--output FILE)")
    text = read_text(source)
    if KEY in read_yaml(source):
        text = f"# {summary(plain)}\n{dump_yaml(read_config(source))}"
    atomic_write(target, lambda file: file.write(text.encode()) and None)
    return target
