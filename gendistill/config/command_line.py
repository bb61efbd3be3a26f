"""The command line of commands that run a trainer: ``--config``, ``--scale`` and an override for every key."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gendistill.config.base import read_config
from gendistill.config.experiment import DATA_TYPES, Experiment, change, check, lay_over, run_types, trainer_path
from gendistill.config.merge import at_scale
from gendistill.config.typed import check_value
from gendistill.declared import allows, block_types, declared_types, is_block
from gendistill.errors import UserError, did_you_mean
from gendistill.objects import full_path, full_paths
from gendistill.renamed import modern, new_name, old_names
from gendistill.spelling import require_one_spelling
from gendistill.yaml_file import parse_yaml

FLAGS = ("--help", "--print_config", "--json")
NETWORKS = ("generator", "discriminator", "learner")
"""Options that hold a network; one that names no class means the trainer's default."""
VALUED = ("--config", "--scale", "--trainer", "--dataset", "--data-root")
AS_CONFIG = "--as-config"
"""``--as-config=--KEY=VALUE`` is an option as if a config said it: what a table gives its rows, no person has typed."""


@dataclass
class Words:
    """A command line taken apart, nothing checked yet.

    Attributes:
        flags: Those of ``FLAGS`` that were given.
        configs: Config files, each laid over the one before.
        scale: Name of the chosen scale.
        trainer: Dotted path that replaces the config's.
        overrides: Option as written and its text (``None``: no value followed).
        typed: Those that a person has typed, as written.
        own: The command's own options that take a value, and their texts.
        positional: Words that belong to no option.
    """

    flags: set[str] = field(default_factory=set)
    configs: list[str] = field(default_factory=list)
    scale: str | None = None
    trainer: str | None = None
    overrides: list[tuple[str, str | None]] = field(default_factory=list)
    typed: list[str] = field(default_factory=list)
    own: list[tuple[str, str]] = field(default_factory=list)
    positional: list[str] = field(default_factory=list)


def take_apart(argv: Sequence[str], flags: Sequence[str] = (), own: Sequence[str] = ()) -> Words:
    """Sort the words of a command line.

    Args:
        argv: The words.
        flags: Further ones that take no value, with dashes; they may be typed with ``_``.
        own: Options of the command that take a value, in the same way.

    Raises:
        UserError: ``--config``, ``--scale``, ``--trainer`` or one of ``own`` stands without its value, or one option
            stands there in two spellings.
    """
    words = Words()
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if not _is_option(word):
            words.positional.append(word)
            continue
        option, equals, text = word.partition("=")
        option = {"-h": "--help", "--print-config": "--print_config"}.get(option, option)
        if option in FLAGS and not equals:
            words.flags.add(option)
            continue
        dashed = f"--{option[2:].replace('_', '-')}"
        if dashed in flags and not equals:
            words.flags.add(dashed)
            continue
        value = text if equals else rest.pop(0) if rest and not _is_option(rest[0]) else None
        if dashed in own:
            if value is None:
                raise UserError(f"{option} needs a value")
            words.own.append((dashed, value))
            continue
        if option == AS_CONFIG:
            inner, _, text = (value or "").partition("=")
            words.overrides.append((inner, text))
        elif option == "--trainer.help":  # jsonargparse's way to ask for the options of a class
            words.flags.add("--help")
            words.trainer = value or words.trainer
        elif option in ("--config", "--scale", "--trainer", "--trainer.class_path"):
            if value is None:
                raise UserError(f"{option} needs a value")
            if option == "--config":
                words.configs.append(value)
            elif option == "--scale":
                words.scale = value
            else:
                words.trainer = value
        else:
            words.overrides.append((option, value))
            words.typed.append(option)
    require_one_spelling(words.typed)
    return words


def assemble(words: Words, default_trainer: str | None = None) -> Experiment:
    """Read the config files, choose the scale, check, and apply the overrides.

    Args:
        words: The command line.
        default_trainer: The trainer where neither a config nor ``--trainer`` names one.

    Raises:
        UserError: Anything in the files or on the command line does not fit; one sentence says what and where.
    """
    # A user's own trainer lies in the folder where the command is given. It comes last, so that it shadows nothing.
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    words.trainer = trainer_path(words.trainer)
    trainer = words.trainer or default_trainer
    config: dict[str, Any] = {}
    source = words.configs[-1] if words.configs else "the command line"
    for path in words.configs:
        config = lay_over(config, read_config(path), path)
    if not words.configs and trainer is None:
        raise UserError("nothing says what to train; give --config FILE.yaml or --trainer package.module.Class")
    config = at_scale(config, words.scale, source)
    if "trainer" not in config and trainer is not None:
        config["trainer"] = {"class_path": trainer}
    experiment = check(config, source)
    if words.trainer and words.trainer != experiment.class_path:
        dropped = change(experiment, words.trainer)
        if dropped:
            print(f"{words.trainer} does not take, so left out: {', '.join(dropped)}", file=sys.stderr)
    require_one_spelling(words.typed, lambda option: ".".join(_find(experiment, option)))
    for option, text in words.overrides:
        override(experiment, option, text)
    found = [_find(experiment, option) for option in words.typed]
    experiment.typed = frozenset(".".join(name) for section, *name in found if section == "trainer")
    experiment.data_typed = frozenset(name[0] for section, *name in found if section == "data")
    return experiment


def override(experiment: Experiment, option: str, text: str | None) -> None:
    """Apply one ``--key value``.

    ``--trainer.KEY`` is short for ``--trainer.init_args.KEY``; a bare ``--KEY`` is looked up among the run's
    options, then the trainer's, then the data's. Deeper keys reach into a nested ``class_path``/``init_args``.

    Raises:
        UserError: There is no such option, its value is missing or does not fit.
    """
    section, name, *deeper = _find(experiment, option)
    types = {"trainer": declared_types(experiment.trainer_class), "data": DATA_TYPES, "run": run_types()}[section]
    values = {"trainer": experiment.init_args, "data": experiment.data, "run": experiment.run}[section]
    if is_block(types[name]) and not deeper and text is not None:
        values[name] = dict(values.get(name) or {}) | check_value(text, types[name], option, written_as_text=True)
        return
    if text is None:
        if types[name] is not Any and allows(types[name], bool):
            values[name] = True
            return
        raise UserError(f"{option} needs a value")
    if not deeper:
        values[name] = check_value(text, types[name], option, written_as_text=True)
        return
    if is_block(types[name]):
        _override_block(values, name, deeper, types[name], option, text)
        return
    below = values.get(name)
    nested: dict[str, Any] = {"class_path": below} if isinstance(below, str) else dict(below or {})
    values[name] = nested
    deeper = _into_arguments(name, nested, deeper)
    for key in deeper[:-1]:
        nested[key] = dict(nested.get(key) or {})
        nested = nested[key]
    found = parse_yaml(text, option)
    nested[deeper[-1]] = (
        full_path(found) if deeper[-1] == "class_path" and isinstance(found, str) else full_paths(found)
    )
    if section == "trainer":
        whole = modern({"class_path": experiment.class_path, "init_args": {name: values[name]}})
        values[name] = whole["init_args"][name]


def _into_arguments(name: str, below: Any, keys: list[str]) -> list[str]:
    """Return keys below an option with ``init_args`` where they are arguments of a class: ``generator.width``.

    Args:
        name: The option, or the key above.
        below: What stands there.
        keys: The keys below.
    """
    if not keys or keys[0] in ("class_path", "init_args"):
        found, rest = keys[:1], keys[1:]
    else:
        named = isinstance(below, Mapping) and "class_path" in below
        found, rest = (["init_args", keys[0]] if named or name in NETWORKS else keys[:1]), keys[1:]
    for key in found:
        below = below.get(key) if isinstance(below, Mapping) else None
    return found + (_into_arguments(found[-1], below, rest) if rest else [])


def _override_block(values: dict[str, Any], name: str, deeper: list[str], hint: type, option: str, text: str) -> None:
    """Set one option of a block, such as ``inner.window``."""
    known = block_types(hint)
    if len(deeper) > 1 or deeper[0] not in known:
        written = [f"--trainer.{name}.{key}" for key in known]
        near = did_you_mean(f"--trainer.{name}.{'.'.join(deeper)}", written) or f"there are: {', '.join(written)}"
        raise UserError(f"there is no option '{option}'; {near}".rstrip())
    found = check_value(text, known[deeper[0]], option, written_as_text=True)
    values[name] = dict(values.get(name) or {}) | {deeper[0]: found}


def known_options(experiment: Experiment) -> list[str]:
    """Return every option that an experiment takes."""
    types = declared_types(experiment.trainer_class)
    trainer = [f"--trainer.{name}" for name in types]
    trainer += [
        f"--trainer.{name}.{key}" for name, hint in types.items() if is_block(hint) for key in block_types(hint)
    ]
    return [
        *FLAGS,
        *VALUED,
        *(f"--run.{name}" for name in run_types()),
        *(f"--data.{name}" for name in DATA_TYPES),
        *trainer,
    ]


def _find(experiment: Experiment, option: str) -> list[str]:
    parts = option.lstrip("-").replace("-", "_").split(".")
    if parts == ["link_timeout"]:  # the same wait: a link is what a process waits at
        return ["run", "timeout"]
    trainer, run = declared_types(experiment.trainer_class), run_types()
    if parts in (["data_root"], ["data", "root"]):
        return ["data", "root"]
    if parts in (["dataset"], ["data"], ["data", "name"]):
        return ["data", "name"]
    if parts[0] == "data" and len(parts) == 2 and parts[1] in DATA_TYPES:
        return parts
    if len(parts) == 1:
        if parts[0] in run:
            return ["run", *parts]
        if parts[0] in trainer or parts[0] in old_names(experiment.trainer_class):
            return ["trainer", *new_name(experiment.trainer_class, parts[0]).split(".")]
        if parts[0] in DATA_TYPES:
            return ["data", *parts]
    elif parts[0] == "run" and len(parts) == 2 and parts[1] in run:
        return parts
    elif parts[0] in trainer:
        return ["trainer", *parts]
    elif parts[0] == "trainer":
        names = parts[2:] if parts[1] == "init_args" else parts[1:]
        if names and (names[0] in trainer or names[0] in old_names(experiment.trainer_class)):
            return ["trainer", *new_name(experiment.trainer_class, names[0]).split("."), *names[1:]]
    known = known_options(experiment)
    if len(parts) == 1:
        known += [f"--{name}" for name in (*run, *trainer, *list(DATA_TYPES)[2:])]
    written = "--" + ".".join(part for part in parts if part != "init_args")
    hint = did_you_mean(written, known) or "see --help for all of them"
    raise UserError(f"there is no option '{option}'; {hint}".rstrip())


def _is_option(word: str) -> bool:
    return word.startswith("-") and len(word) > 1 and not re.match(r"^-\.?\d", word)
