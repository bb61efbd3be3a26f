"""Advice names only what can be done where it is given: options that exist, written as they are written there."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

import gendistill.data
from gendistill.cli import COMMANDS, OF_CONFIGS, main
from gendistill.commands.options import Options
from gendistill.config.experiment import DATA_TYPES
from gendistill.config.help import GENERAL
from gendistill.errors import UserError
from gendistill.nets.dcgan import ConditionalDCGANDiscriminator, DCGANGenerator
from gendistill.runs.options import RunOptions
from gendistill.spelling import in_python, of_command, of_config, option, written, written_of_source
from trainers.dataset_distillation import DistillationInner
from trainers.gtn import GTNInner
from trainers.student_training import StudentInner

ROOT = Path(__file__).resolve().parents[1]
ERRORS = ("UserError", "StorageError", "DivergenceError", "GendistillError")
LOADING = {name for name in inspect.signature(gendistill.data.load).parameters if name not in ("device", "seed")}
WITHOUT_DATA = ("quickstart", "tensorboard", "torchrun", "doctor", "configs", "trainers", "completion")
"""Commands that load no data set of the person's choice."""
SAID_BY = {
    **dict.fromkeys(("nas/ledger.py", "nas/study.py", "commands/option_file.py"), ("nas",)),
    **dict.fromkeys(
        (f"teacher/{form}.py" for form in ("image_forms", "label_forms", "result_files", "imports")),
        ("import", "verify"),
    ),
    "commands/judge.py": ("evaluate", "compare"),
    **dict.fromkeys(
        (f"federated/{room}.py" for room in ("certificates", "over_grpc", "serving", "joining")), ("privacy",)
    ),
    "commands/cluster.py": ("replicate", "sweep"),
    "commands/part.py": ("replicate", "sweep"),
    "commands/away.py": ("replicate", "sweep"),
    **dict.fromkeys((f"commands/{room}.py" for room in ("search", "search_space", "trials")), ("sweep",)),
    "commands/compare_away.py": ("compare",),
    "commands/nas_away.py": ("nas",),
}
"""Rooms of a few commands alone, whose sentences may name options that all of them have."""


TRAINERS_ARGUMENTS = {
    argument.arg
    for path in (ROOT / "trainers").rglob("*.py")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    for argument in (*node.args.args, *node.args.kwonlyargs)
} | {"KEY"}

BLOCKS = {
    "inner": {field.name for kind in (DistillationInner, StudentInner, GTNInner) for field in fields(kind)},
}
"""Options of blocks, by the argument that is one."""


def sources() -> Iterator[tuple[str, ast.Module]]:
    for top in ("gendistill", "trainers"):
        for path in sorted((ROOT / top).rglob("*.py")):
            name = str(path.relative_to(ROOT)).removeprefix("gendistill/")
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def sentences() -> Iterator[tuple[str, str]]:
    """Yield the room and the words of every error, with ``{}`` for what is filled in."""
    for name, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ERRORS and node.args:
                yield name, words(node.args[0])


def words(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(words(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return words(node.left) + words(node.right)
    return "{}"


def options_of(command: str) -> set[str]:
    """Return all options of a command, or of configs."""
    module = importlib.import_module(COMMANDS[command][0])
    if hasattr(module, "parser"):
        parser: Options = module.parser()
        return {name for action in parser._actions for name in action.option_strings}
    # Options that the command takes out of its words itself, or a parser's inside of it.
    constants = (
        node.value for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.Constant)
    )
    own = {str(value) for value in constants if re.fullmatch(r"--[a-z-]+", str(value))} | set(
        getattr(module, "OWN", ())
    )
    of_runs = {f"--run.{field.name}" for field in fields(RunOptions)}
    return own | (of_runs | {name.split()[0] for name, _ in GENERAL} | {"--KEY"} if command in OF_CONFIGS else set())


def commands_of(room: str, sentence: str) -> list[str]:
    """Return the commands in which a sentence is met; nothing for a room that serves all of them."""
    named = [word for word in re.findall(r"gendistill ([\w-]+)", sentence) if word in COMMANDS]
    if named or room in SAID_BY:
        return named or list(SAID_BY[room])
    if room.startswith("commands/"):
        stem = Path(room).stem
        known = {module.rpartition(".")[2]: name for name, (module, _) in COMMANDS.items()}
        return [known.get(stem, "replicate" if "replication" in stem else "evaluate")]
    return ["train"] if room.startswith(("config/", "trainers/")) else []


def test_every_option_in_a_sentence_exists_where_it_is_said() -> None:
    wrong, looked_at = [], 0
    for room, sentence in sentences():
        commands = commands_of(room, sentence)
        for word in re.findall(r"(?<![\w-])--[a-zA-Z](?:[\w-]|\.\w)*", sentence):
            looked_at += 1
            if not commands:
                wrong.append(f"{room} serves every command, which may have no {word}: {sentence}")
            wrong += [
                f"{room}: gendistill {command} has no {word}: {sentence}"
                for command in commands
                if word != "--help" and not word.startswith("--trainer.") and word not in options_of(command)
            ]
            name = word.removeprefix("--trainer.")
            block, _, entry = name.partition(".")
            if name != word and (block not in TRAINERS_ARGUMENTS or entry and entry not in BLOCKS.get(block, ())):
                wrong.append(f"no trainer has the argument {name}: {sentence}")
    assert wrong == [] and looked_at > 15


def test_no_sentence_names_an_option_of_the_data_without_asking_how_it_is_written() -> None:
    names = "|".join(LOADING - {"name", "root"})
    pattern = re.compile(rf"\b(?:give|set|leave|choose|options?)\s+(?:the\s+|another\s+)?(?:{names})\b")
    assert pattern.search("it is large; give image_size") and pattern.search("; leave whitening out")
    assert [(room, sentence) for room, sentence in sentences() if pattern.search(sentence)] == []


def test_every_option_that_is_asked_for_exists_in_each_way_of_writing() -> None:
    asked = set()
    for _, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "option":
                asked |= {str(given.value) for given in node.args if isinstance(given, ast.Constant)}
    assert {"image_size", "channels", "background", "root", "name", "whitening"} <= asked <= LOADING
    for name in asked:
        assert of_command(name) in options_of("evaluate") and of_command(name) in options_of("export")
        assert name in DATA_TYPES and of_config(name) == f"--data.{name}"
    for command in COMMANDS:
        if command not in (*OF_CONFIGS, *WITHOUT_DATA):
            assert {of_command(name) for name in asked} <= options_of(command), command


def test_options_are_written_as_the_place_has_them() -> None:
    assert option("image_size") == in_python("image_size") == "image_size"
    with written(of_command):
        assert (option("image_size"), option("root"), option("name")) == ("--image-size", "--data-root", "--dataset")
        with written_of_source():
            assert option("root") == "--source-root"
        with written(of_config):
            assert option("image_size") == "--data.image_size"
            with written_of_source():
                assert option("root") == "root in trainer.source"
        assert option("channels") == "--channels"
    assert option("channels") == "channels"


@pytest.mark.parametrize(
    ("size", "said"),
    [(17, "to 16 or 18 pixels with --data.image_size"), (1, "to 2 pixels with"), (3, "to 2 or 4 pixels with")],
)
def test_sizes_that_are_advised_can_be_built(size: int, said: str) -> None:
    with written(of_config), pytest.raises(UserError, match=said) as refused:
        DCGANGenerator((1, size, size), ngf=2)
    assert "bottom_width" not in str(refused.value)
    for advised in re.findall(r"\d+", said):
        DCGANGenerator((1, int(advised), int(advised)), ngf=2)


def test_a_bottom_width_that_is_advised_exists() -> None:
    with pytest.raises(UserError, match="bottom_width 5, .*; choose 16, 8, 4, 2 or 1, or leave it out"):
        DCGANGenerator((1, 32, 32), ngf=2, bottom_width=5)
    for width in (16, 8, 4, 2, 1):
        DCGANGenerator((1, 32, 32), ngf=2, bottom_width=width)
    with pytest.raises(UserError, match="choose 3, or leave it out"):
        ConditionalDCGANDiscriminator(3, (1, 6, 6), ndf=2, bottom_width=6)


@pytest.mark.parametrize(
    ("size", "width", "said"), [(17, 7, "14 or 28"), (17, 4, "16 or 32"), (5, 7, "14"), (57, 7, "56 or 112")]
)
def test_sizes_that_are_advised_go_with_the_bottom_width(size: int, width: int, said: str) -> None:
    with written(of_config), pytest.raises(UserError, match=f"to {said} pixels with --data.image_size"):
        DCGANGenerator((1, size, size), ngf=2, bottom_width=width)
    for advised in re.findall(r"\d+", said):
        DCGANGenerator((1, int(advised), int(advised)), ngf=2, bottom_width=width)


def test_an_argument_of_a_network_is_an_option_of_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--config", str(ROOT / "configs" / "gan" / "mnist-dcgan.yaml"), "--scale", "smoke"]
    words += ["--dataset", "digits", "--run.root", str(tmp_path), "--run.device", "cpu", "--run.progress", "false"]
    assert main([*words, "--generator.bottom_width", "7"]) == 2
    advice = re.search(r"(--trainer\.generator\.\S+) (\d+), or null$", capsys.readouterr().err.strip())
    assert advice is not None
    for number, value in enumerate((advice[2], "null")):
        assert main([*words, advice[1], value, "--run.steps", "1", "--run.name", str(number)]) == 0
    # What a config says for images of another size is left out with a note.
    assert main([*words, "--run.steps", "1", "--run.name", "as given"]) == 0
    assert "bottom_width is 7, which leads to no image of 8 pixels: left out" in capsys.readouterr().err
