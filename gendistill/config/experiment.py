"""An experiment: which trainer, which data, which run; checked and complete."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gendistill.config.merge import lay
from gendistill.config.plan import plan, reported
from gendistill.config.typed import check_value
from gendistill.declared import accepted_arguments, block_types, declared_types, is_block
from gendistill.errors import UserError, did_you_mean
from gendistill.objects import construct, full_path, locate
from gendistill.plain import plain
from gendistill.renamed import at_new_names, completed

if TYPE_CHECKING:
    from gendistill.data.real import RealData
    from gendistill.runs.options import RunOptions

# Named, not imported: the library stands below trainers/.
TRAINER = "trainers.trainer.Trainer"
DATA_TYPES: dict[str, Any] = {
    "name": str,
    "root": str | None,
    "image_size": int | None,
    "channels": int | None,
    "background": str | None,
    "whitening": float | None,
    "length": int | None,
    "vocabulary": int | None,
    "embedding": int | str | None,
    "text_column": int | str | None,
    "label_column": int | str | None,
}
# Without background, whitening and the options of texts: configs of runs without them are what they were before.
DATA_DEFAULTS = {"name": "digits", "root": None, "image_size": None, "channels": None}
SECTIONS = ("trainer", "data", "run", "scales", "evaluation", "reported")


@dataclass
class Experiment:
    """A checked config. What is not given has the default of its signature.

    Attributes:
        trainer_class: The class that ``trainer.class_path`` names.
        class_path: Its dotted path.
        init_args: Arguments given for it, of the declared types.
        data: ``name`` and ``root`` of the data set; ``image_size``, ``channels`` and ``background`` of a folder of
            images; ``whitening`` (epsilon) to whiten; ``length``, ``vocabulary`` and ``embedding`` of a text,
            ``text_column`` and ``label_column`` of its table.
        run: Arguments given for :class:`RunOptions`.
        typed: Of the arguments those that a person has typed, such as ``inner.steps``; others are sizes for usual data.
        data_typed: Names of the options of the data that a person has typed.
    """

    trainer_class: type
    class_path: str
    init_args: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    typed: frozenset[str] = frozenset()
    data_typed: frozenset[str] = frozenset()

    @property
    def options(self) -> RunOptions:
        """The run's options, complete.

        Raises:
            UserError: A value is out of range.
        """
        from gendistill.runs.options import RunOptions

        return RunOptions(**self.run)

    def to_dict(self) -> dict[str, Any]:
        """Return the complete config as plain values: it alone repeats the run.

        Raises:
            UserError: The trainer needs an argument that is not given.
        """
        parameters = accepted_arguments(self.trainer_class)
        missing = [
            name for name, known in parameters.items() if known.default is known.empty and name not in self.init_args
        ]
        if missing:
            raise UserError(
                f"{self.class_path} needs a value for: {', '.join(missing)}; give --trainer.{missing[0]} VALUE or "
                f"trainer.init_args.{missing[0]} in the config"
            )
        given = completed(self.trainer_class, self.init_args)
        init_args = {name: given[name] for name in parameters}
        return {
            "trainer": {"class_path": self.class_path, "init_args": plain(init_args)},
            "data": plain(self.data_options),
            "run": plain(self.options.to_dict()),
        }

    @property
    def data_options(self) -> dict[str, Any]:
        """The options of the data, complete, the data set by its own name however it was spelt."""
        from gendistill.data.load import known_name

        options = DATA_DEFAULTS | self.data
        return options | {"name": known_name(str(options["name"]))}

    def build_trainer(self) -> Any:
        """Build the trainer.

        Raises:
            UserError: An argument is missing or out of range.
        """
        self.to_dict()
        trainer: Any = construct(self.trainer_class, self.class_path, self.init_args, {})
        trainer.typed = self.typed
        return trainer

    def load_data(self) -> RealData:
        """Load the data set.

        Raises:
            UserError: There is no such data set, or its files are missing or damaged.
        """
        import gendistill.data

        return gendistill.data.load(**self.data_options)


def trainer_path(name: Any) -> Any:
    """Return the dotted path of a trainer of this project that is given by its name, anything else as it is."""
    return full_path(name, locate(TRAINER)) if isinstance(name, str) else name


def trainer_class(class_path: Any, where: str) -> type:
    """Import a trainer by its dotted path.

    Raises:
        UserError: It cannot be imported, is not a trainer, or is a base that cannot train.
    """
    if not isinstance(class_path, str):
        raise UserError(f"{where} is {class_path!r}, expected a dotted path such as trainers.gan.ConditionalGANTrainer")
    try:
        found: type = locate(class_path, locate(TRAINER))
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    _require_whole(found, class_path, where)
    return found


def _require_whole(found: type, class_path: str, where: str) -> None:
    if inspect.isabstract(found):
        lacking = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
        raise UserError(f"{where}: {class_path} is a base that cannot train by itself; name a subclass with {lacking}")


def run_types() -> Mapping[str, Any]:
    """Return the declared type of every run option."""
    from gendistill.runs.options import RunOptions

    return declared_types(RunOptions)


def check(config: Mapping[str, Any], source: str, trainer: type | None = None) -> Experiment:
    """Check a config (one scale already chosen) key by key.

    Args:
        config: ``trainer``, ``data`` and ``run``; ``evaluation`` and ``reported`` of a replication are checked, too.
        source: The file's name, for errors.
        trainer: The class, where it is at hand and perhaps cannot be found by a path; None: the config names it.

    Raises:
        UserError: An unknown key (the nearest right one is named), a value of the wrong type, or no trainer.
    """
    check_keys(config, SECTIONS, source, "")
    # Of no use to the run itself, but a misspelt key shall not be found out when hours of training are over.
    if "evaluation" in config:
        plan(config, source)
    reported(config, source)
    section = _section(config, "trainer", source)
    check_keys(section, ("class_path", "init_args"), source, "trainer.")
    if trainer is not None:
        cls, class_path = trainer, f"{trainer.__module__}.{trainer.__qualname__}"
        if not (isinstance(cls, type) and issubclass(cls, locate(TRAINER))):
            raise UserError(f"{class_path} is not a subclass of {TRAINER}; derive it from one of the trainers")
        _require_whole(cls, class_path, source)
    elif "class_path" not in section:
        raise UserError(f"{source} names no trainer; write trainer: {{class_path: package.module.Trainer}}")
    else:
        class_path = trainer_path(section["class_path"])
        cls = trainer_class(class_path, f"{source}: trainer.class_path")
    given = at_new_names(cls, _section(section, "init_args", source))
    return Experiment(
        trainer_class=cls,
        class_path=class_path,
        init_args=_typed(given, declared_types(cls), source, "trainer.init_args."),
        data=_typed(_section(config, "data", source), DATA_TYPES, source, "data."),
        run=_typed(_section(config, "run", source), run_types(), source, "run."),
    )


def check_keys(values: Mapping[str, Any], allowed: Any, source: str, prefix: str) -> None:
    """Refuse a key that is not allowed.

    Raises:
        UserError: Names the key, the nearest allowed one and, where none is near, all of them.
    """
    for key in values:
        if key not in allowed:
            hint = did_you_mean(str(key), allowed).rstrip()
            raise UserError(f"{source}: unknown key '{prefix}{key}'; {hint or 'it may be: ' + ', '.join(allowed)}")


def change(experiment: Experiment, class_path: str) -> list[str]:
    """Put another trainer in the place of the config's; arguments that it takes too are kept.

    Returns:
        The names of the arguments that it does not take, which are dropped.
    """
    cls = trainer_class(class_path, "--trainer")
    types = declared_types(cls)
    given = at_new_names(cls, experiment.init_args)
    dropped = [name for name in given if name not in types]
    experiment.init_args = {name: value for name, value in given.items() if name in types}
    for name, block in experiment.init_args.items():
        if is_block(types[name]) and isinstance(block, dict):
            known = block_types(types[name])
            dropped += [f"{name}.{key}" for key in block if key not in known]
            experiment.init_args[name] = {key: value for key, value in block.items() if key in known}
    experiment.trainer_class, experiment.class_path = cls, class_path
    return dropped


def lay_over(base: Mapping[str, Any], overlay: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Merge two configs after checking that their top level is in order."""
    check_keys(overlay, SECTIONS, source, "")
    return lay(base, overlay)


def _section(config: Mapping[str, Any], key: str, source: str) -> Mapping[str, Any]:
    value = config.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UserError(f"{source}: {key} must hold keys and values, got {value!r}")
    return value


def _typed(values: Mapping[str, Any], types: Mapping[str, Any], source: str, prefix: str) -> dict[str, Any]:
    check_keys(values, types, source, prefix)
    return {key: check_value(value, types[key], f"{source}: {prefix}{key}") for key, value in values.items()}
