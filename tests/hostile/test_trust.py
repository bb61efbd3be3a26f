"""Files that name what they should not: nothing new is imported, nothing huge is begun, no place is chosen.

Every command that takes a teacher, results or an export is given hostile ones. A module that leaves a mark when it is
imported stands for whatever a stranger would have run.
"""

from __future__ import annotations

import ast
import builtins
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import pytorch_fid.inception  # a package whose network downloads weights, imported as this project imports it
import safetensors
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from gendistill import untrusted
from gendistill.cli import main
from gendistill.data import load
from gendistill.errors import UserError
from gendistill.evaluation.learning import learning_curve
from gendistill.initial import Initial
from gendistill.mimicry.adapter import GeneratorAdapter
from gendistill.nets.base import Generator
from gendistill.nets.dcgan import DCGANGenerator
from gendistill.nets.learners import ConvNet, Learner, build_learner
from gendistill.nets.mixture import GeneratorMixture
from gendistill.nets.reordered import ReorderedGenerator
from gendistill.objects import build
from gendistill.seeds import initialisation
from gendistill.teacher import GeneratorTeacher, StoredImages, files, save
from gendistill.teacher import load as load_teacher
from gendistill.untrusted import UntrustedSpec, said

HOUSE = Path(__file__).parent.parent.parent
CONVNET, DCGAN = "gendistill.nets.learners.ConvNet", "gendistill.nets.dcgan.DCGANGenerator"
SIZES: dict[str, Any] = {"num_classes": 10, "image_shape": (1, 8, 8)}
QUICK = ["--updates", "1", "--seeds", "2", "--lr", "0.1", "--device", "cpu"]


class Own(nn.Module):
    """A network of the user's own module, which he has imported: this one."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int], width: int = 4, more: Any = None) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(image_shape[1] * image_shape[2], num_classes))
        self.more, self.width = more, width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(x)
        return logits


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module ``trap_module`` that can be imported, and the mark that it leaves then."""
    mark = tmp_path / "sprung"
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "trap_module.py").write_text(
        f"import pathlib, torch\npathlib.Path({str(mark)!r}).touch()\n"
        "class Net(torch.nn.Linear):\n    def __init__(self, **_): super().__init__(1, 1)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    monkeypatch.chdir(tmp_path)
    yield mark
    assert not mark.exists() and "trap_module" not in sys.modules and "antigravity" not in sys.modules


# -- names -------------------------------------------------------------------------------------------------------------

NAMES = {
    "a module that starts a program": ("antigravity.X", "outside this project"),
    "a module that can be imported": ("trap_module.Net", "import 'trap_module' yourself"),
    "a function of the system": ("os.system", "outside this project"),
    "a class of the system": ("pathlib.Path", "outside this project"),
    "torch's own layers": ("torch.nn.Linear", "outside this project"),
    "torch's hub": ("torch.hub.load", "outside this project"),
    "another package's network": ("torchvision.models.Inception3", "outside this project"),
    "a network that downloads": ("pytorch_fid.inception.InceptionV3", "of an installed package"),
    "an installed package": ("geoopt.manifolds.sphere.Sphere", "of an installed package|import 'geoopt"),
    "a part of torch-mimicry": ("torch_mimicry.training.trainer.Trainer", "no network of torch_mimicry.nets"),
    "a package's insides": ("pip._internal.main", "outside this project"),
    "a module's import": ("gendistill.nets.learners.torch.hub.load", "no network of gendistill.nets"),
    "a class that a module imports": ("gendistill.nets.dcgan.BaseGenerator", "no network of gendistill.nets"),
    "a function of a network's module": ("gendistill.nets.learners.default_learner", "no network of gendistill.nets"),
    "a constant of a network's module": ("gendistill.nets.learners.ACTIVATIONS", "no network of gendistill.nets"),
    "an extractor, which downloads": ("gendistill.evaluation.inception.InceptionExtractor", "no network of"),
    "a trained classifier": ("gendistill.evaluation.classifier.TrainedClassifier", "no network of"),
    "a trainer": ("trainers.gan.GANTrainer", "no network of"),
    "a part of a trainer": ("trainers.enas.Policy", "no network of"),
    "a space of architectures": ("gendistill.nets.spaces.convnets.ConvNetSpace", "not a subclass"),
    "a base": ("gendistill.nets.learners.Learner", "base of networks|not a subclass"),
    "a layer": ("gendistill.nets.layers.SNLinear", "not a subclass"),
    "a program": ("gendistill.__main__.X", "by a dotted path"),
    "a class's inside": ("gendistill.nets.learners.ConvNet.__init__", "by a dotted path"),
    "a class's attribute": ("gendistill.nets.learners.ConvNet.forward", "no network of"),
    "a class by its name alone": ("ConvNet", "by a dotted path"),
    "nothing": ("", "by a dotted path"),
    "dots": ("..", "by a dotted path"),
    "a path of a file": ("/etc/passwd", "by a dotted path"),
    "a line more": ("gendistill.nets.learners.ConvNet\nX", "by a dotted path"),
    "other letters": ("gendistill.nets.learners.Con\u0432Net", "by a dotted path"),
    "a very long name": ("a." * 100_000 + "B", "by a dotted path"),
    "a package of one's own name": ("gendistill_evil.Net", "import 'gendistill_evil' yourself"),
    "what a module of one's own imports": (f"{__name__}.ConvNet", "where it is defined"),
    "a function of one's own module": (f"{__name__}.trap", "not a subclass"),
    "a module of one's own module": (f"{__name__}.torch", "not a subclass"),
}


@pytest.mark.parametrize("base", [Learner, Generator])
@pytest.mark.parametrize("case", NAMES)
def test_a_file_names_networks_of_this_project_alone(case: str, base: type[nn.Module], trap: Path) -> None:
    path, sentence = NAMES[case]
    before = set(sys.modules)
    with pytest.raises(UserError, match=sentence) as caught:
        build(UntrustedSpec({"class_path": path}, "the file's network"), base, **SIZES)
    assert str(caught.value).startswith("the file's network ") and len(str(caught.value)) < 500
    assert {name.partition(".")[0] for name in set(sys.modules) - before} <= {"gendistill", "trainers"}


def test_an_installed_package_is_trusted_when_the_user_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untrusted, "INSTALLED", Path(__file__).parts[-2:-1])
    with pytest.raises(UserError, match=f"gendistill.untrusted.trust.'{__name__}'."):
        build_learner(UntrustedSpec(f"{__name__}.Own", "it"), **SIZES)
    monkeypatch.setattr(untrusted, "_trusted", set())
    untrusted.trust(__name__)
    assert isinstance(build_learner(UntrustedSpec(f"{__name__}.Own", "it"), **SIZES), Own)


@pytest.mark.parametrize(
    ("path", "base"),
    [(CONVNET, Generator), (DCGAN, Learner), ("gendistill.nets.dcgan.DCGANDiscriminator", Generator)],
)
def test_a_learner_is_no_generator_and_a_generator_no_learner(path: str, base: type[nn.Module]) -> None:
    with pytest.raises(UserError, match=f"not a subclass of {base.__module__}.{base.__name__}"):
        build(UntrustedSpec(path, "the file's network"), base, **SIZES)


def test_networks_of_the_fitting_kind_and_of_modules_of_ones_own_are_built() -> None:
    learner = build_learner(
        UntrustedSpec({"class_path": CONVNET, "init_args": {"width": 4, "depth": 2}}, "it"), **SIZES
    )
    assert isinstance(learner, ConvNet) and learner(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert isinstance(build(UntrustedSpec(DCGAN, "it"), Generator, **SIZES), DCGANGenerator)
    assert isinstance(build_learner(UntrustedSpec(f"{__name__}.Own", "it"), **SIZES), Own)
    spec = {"class_path": DCGAN, "init_args": {"image_shape": [1, 8, 8], "ngf": 4, "nz": 3}}
    inside = {"class_path": f"{GeneratorAdapter.__module__}.GeneratorAdapter", "init_args": {"network": spec}}
    outside = {
        "class_path": f"{ReorderedGenerator.__module__}.ReorderedGenerator",
        "init_args": {"network": inside, "order": [1, 0]},
    }
    made = build(UntrustedSpec(outside, "it"), Generator)
    assert made(torch.zeros(2, 3), torch.tensor([0, 1])).shape == (2, 1, 8, 8)
    mixed = {"class_path": f"{GeneratorMixture.__module__}.GeneratorMixture", "init_args": {"members": [inside, spec]}}
    mixture = build(UntrustedSpec(mixed, "it"), Generator)
    assert json.loads(json.dumps(mixture.spec))["init_args"]["members"] == [inside, spec]  # type: ignore[arg-type]
    # What it notes of itself is plain again, and builds the same when a file holds it.
    assert json.loads(json.dumps(made.spec))["init_args"]["network"]["init_args"]["network"] == spec  # type: ignore[arg-type]
    again = build(UntrustedSpec(json.loads(json.dumps(made.spec)), "it"), Generator)
    assert [p.shape for p in again.parameters()] == [p.shape for p in made.parameters()]


@pytest.mark.parametrize("place", ["network", "deep"])
def test_a_spec_within_a_spec_is_trusted_no_more(place: str, trap: Path) -> None:
    hostile: Any = {"class_path": "trap_module.Net", "init_args": {"image_shape": [1, 8, 8]}}
    if place == "network":
        wrapped = {"class_path": "gendistill.nets.reordered.ReorderedGenerator",
                   "init_args": {"network": hostile, "order": [0]}}  # fmt: skip
        with pytest.raises(UserError, match="import 'trap_module' yourself"):
            build(UntrustedSpec(wrapped, "it"), Generator)
        mixed = {"class_path": "gendistill.nets.mixture.GeneratorMixture", "init_args": {"members": [hostile]}}
        with pytest.raises(UserError, match="import 'trap_module' yourself"):
            build(UntrustedSpec(mixed, "it"), Generator)
    own = {"class_path": f"{__name__}.Own", "init_args": {"more": {"blocks": [1, [hostile]]}}}
    made = build_learner(UntrustedSpec(own, "it"), **SIZES)
    assert isinstance(made, Own) and isinstance(made.more["blocks"][1][0], UntrustedSpec)


def test_what_is_not_trusted_is_no_mapping_and_no_text() -> None:
    """So that nothing that takes a spec of the user's takes one of a file by mistake."""
    spec = UntrustedSpec({"class_path": CONVNET, "init_args": {"width": 3}}, "it")
    for use in (dict, list, lambda one: {**one}, lambda one: one["class_path"], json.dumps, lambda one: one | {}):
        with pytest.raises((TypeError, AttributeError)):
            use(spec)  # type: ignore[operator]
    assert said(spec) == {"class_path": CONVNET, "init_args": {"width": 3}} and "trap" not in repr(spec)
    said(spec)["init_args"]["width"] = 9
    assert spec.said["init_args"]["width"] == 3


# -- arguments and sizes -----------------------------------------------------------------------------------------------

ARGUMENTS: dict[str, tuple[str, Any, str]] = {
    "a depth without end": (CONVNET, {"depth": 10**9, "pooling": "none"}, "no size of a network"),
    "a width without end": (CONVNET, {"width": 10**9}, "no size of a network"),
    "a number beyond all numbers": (CONVNET, {"width": 10**400}, "no size of a network"),
    "a depth that is only too large": (CONVNET, {"depth": 2**20, "width": 1, "pooling": "none"}, "more layers"),
    "a width that is only too large": (CONVNET, {"width": 2**20}, "far larger"),
    "hidden layers without end": ("gendistill.nets.learners.MLP", {"depth": 2**20, "width": 1}, "more layers"),
    "hidden layers that are too wide": ("gendistill.nets.learners.MLP", {"width": 2**20}, "far larger"),
    "cells without weights": (
        "gendistill.nets.cells.CellNet",
        {"cell": "|skip_connect~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|", "cells": 2**20, "width": 1},
        "more layers",
    ),
    "stages that double": ("gendistill.nets.supernet.SuperNet", {"stages": 2**20, "width": 1}, "larger|layers|built"),
    "a filter that is too large": (CONVNET, {"kernel_size": 2**20 - 1}, "far larger"),
    "units of a text's state": ("gendistill.nets.text.TextGRU", {"width": 2**20}, "far larger"),
    "below zero": (CONVNET, {"width": -1}, "at least 1"),
    "zero": (CONVNET, {"depth": 0}, "at least 1"),
    "a fraction": (CONVNET, {"width": 1.5}, "takes a whole number"),
    "true": (CONVNET, {"width": True}, "takes a whole number"),
    "a word for a number": (CONVNET, {"width": "8"}, "takes a whole number"),
    "a number for a word": (CONVNET, {"pooling": 1}, "takes text"),
    "keys and values": (CONVNET, {"width": {"a": 1}}, "takes a whole number"),
    "a list": (CONVNET, {"width": [8]}, "takes a whole number"),
    "null": (CONVNET, {"width": None}, "takes a whole number"),
    "no number": ("gendistill.nets.gtn.GTNGenerator", {"slope": float("nan")}, "no finite number"),
    "infinity": ("gendistill.nets.gtn.GTNGenerator", {"slope": float("inf")}, "no finite number"),
    "an unknown word": (CONVNET, {"pooling": "os.system"}, "choose among"),
    "a text without end": (CONVNET, {"pooling": "a" * 10**6}, "a text of 1,000,000 characters"),
    "an unknown option": (CONVNET, {"widht": 1}, "did you mean 'width'"),
    "an option of the class's insides": (CONVNET, {"self": 1}, "no option 'self'"),
    "values without end": ("gendistill.nets.reordered.ReorderedGenerator", {"order": [0] * 200_000}, "more values"),
    "an order that is none": (
        "gendistill.nets.reordered.ReorderedGenerator",
        {"order": [1, 1], "network": {"class_path": DCGAN, "init_args": {"image_shape": [1, 8, 8]}}},
        "order of a generator",
    ),
    "another shape than the data's": (CONVNET, {"image_shape": [1, 16, 16]}, "where the network is to be used"),
    "other classes than the data's": (CONVNET, {"num_classes": 3}, "where the network is to be used"),
    "an image without end": (DCGAN, {"image_shape": [1, 2**16, 2**16]}, "of more than"),
    "a shape that is none": (CONVNET, {"image_shape": "1x8x8"}, "takes a list of 3"),
    "arguments that are none": (CONVNET, [1, 2], "no keys and values"),
    "bytes": (CONVNET, {"width": b"8"}, "no file holds"),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments_of_a_file_are_looked_at_before_anything_is_built(case: str) -> None:
    path, arguments, sentence = ARGUMENTS[case]
    base = Generator if any(word in path for word in ("dcgan", "gtn", "reordered")) else Learner
    started = time.process_time()
    with pytest.raises(UserError, match=sentence) as caught:
        build(UntrustedSpec({"class_path": path, "init_args": arguments}, "the file's network"), base, **SIZES)
    assert time.process_time() - started < 20.0
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_a_hook_of_the_bounds_stays_nowhere() -> None:
    hooks = torch.nn.modules.module._global_module_registration_hooks
    before = len(hooks)
    with pytest.raises(UserError):
        build_learner(UntrustedSpec({"class_path": CONVNET, "init_args": {"width": 2**20}}, "it"), **SIZES)
    build_learner(UntrustedSpec(CONVNET, "it"), **SIZES)
    assert len(hooks) == before
    assert pytorch_fid.inception.InceptionV3.__module__ in sys.modules


def test_looking_changes_no_weight() -> None:
    with initialisation(3, "x"):
        plain = build(CONVNET, nn.Module, **SIZES)
    with initialisation(3, "x"):
        named = build_learner(UntrustedSpec(CONVNET, "it"), **SIZES)
    assert all(torch.equal(value, named.state_dict()[name]) for name, value in plain.state_dict().items())


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"class_path": "gendistill.nets.reordered.ReorderedGenerator",
                 "init_args": {"network": value, "order": [0]}}  # fmt: skip
    return value


@pytest.mark.parametrize("depth", [10, 900])
def test_specs_nested_without_end_are_refused(depth: int) -> None:
    with pytest.raises(UserError, match="nested more than 16 deep"):
        UntrustedSpec(nested(depth), "the file's network")


@pytest.mark.parametrize("spec", [None, 5, [], ["a.B"], {}, {"class_path": 5}, {"init_args": {}}, {"class": "a.B"}])
def test_what_is_no_spec_is_refused(spec: Any) -> None:
    with pytest.raises(UserError, match="the file's network does not name a class"):
        UntrustedSpec(spec, "the file's network")


LEARNERS = [CONVNET, "gendistill.nets.learners.MLP", "gendistill.nets.resnet.ResNet", "gendistill.nets.cells.CellNet",
            DCGAN, "gendistill.nets.gtn.GTNGenerator", "gendistill.nets.reordered.ReorderedGenerator",
            f"{__name__}.Own", "os.system", "trap_module.Net", "gendistill.nets.learners.Learner"]  # fmt: skip
OPTIONS = ["width", "depth", "cells", "stages", "kernel_size", "pooling", "normalisation", "nz", "ngf", "hidden",
           "channels", "image_shape", "num_classes", "network", "order", "slope", "more", "self",
           "class_path"]  # fmt: skip
LEAVES = (
    st.integers(-3, 40)
    | st.integers()
    | st.floats()
    | st.booleans()
    | st.none()
    | st.text(max_size=4)
    | st.sampled_from(["none", "batch", CONVNET, DCGAN, "trap_module.Net", 2**16, 2**20, 10**9])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(OPTIONS), inner, max_size=3)
        | st.fixed_dictionaries({"class_path": st.sampled_from(LEARNERS)}, optional={"init_args": inner})
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(path=st.sampled_from(LEARNERS), arguments=st.dictionaries(st.sampled_from(OPTIONS), VALUES, max_size=3))
def test_any_spec_of_a_file_is_built_small_or_refused_in_a_sentence(path: str, arguments: dict[str, Any]) -> None:
    try:
        found = UntrustedSpec({"class_path": path, "init_args": arguments}, "the file")
        made = build(found, Generator if "dcgan" in path or "gtn" in path else Learner, **SIZES)
    except UserError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert isinstance(made, Learner | Generator | Own)
        assert sum(p.numel() for p in made.parameters()) <= untrusted.VALUES
    assert "trap_module" not in sys.modules


# -- commands ----------------------------------------------------------------------------------------------------------


def stored(path: Path, /, **metadata: Any) -> Path:
    """Write stored images of digits whose metadata say what is given."""
    data = load("digits")
    index = torch.cat([(data.train.labels == label).nonzero()[:2, 0] for label in range(10)])
    images, labels = data.train.batch(index, data.description.normalisation)
    teacher = StoredImages(
        images, labels, data.description, order="fixed", batch_size=10, learning_rates=torch.tensor([0.1, 0.1])
    )
    teacher.metadata = {"seed": 0} | metadata
    save(teacher, path)
    return path


def generator(path: Path, change: Callable[[dict[str, Any]], Any] = lambda header: None) -> Path:
    """Write a generator of digits, its metadata changed as a stranger could, checksum included."""
    data = load("digits")
    with initialisation(0, "test"):
        network = build({"class_path": DCGAN, "init_args": {"nz": 4, "ngf": 4}}, nn.Module, image_shape=(1, 8, 8))
    teacher = GeneratorTeacher(network, data.description, metadata={"seed": 0})
    save(teacher, path)
    with safetensors.safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()[files.KEY])
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    change(header)
    header["sha256"] = files._digest(header, tensors)
    path.write_bytes(safetensors.torch.save(tensors, {files.KEY: json.dumps(header)}))
    return path


TRAPS = ("trap_module.Net", "antigravity.X", "os.system", "gendistill.nets.learners.default_learner",
         "gendistill.evaluation.inception.InceptionExtractor")  # fmt: skip
FIRST = {"fixed_layers": 1, "seed": 0, "name": "x", "weights": "torch", "norm": 1.0}
PLAN = {"source": {"name": "digits"}, "training": {"updates": 1, "lr": 0.1}, "networks": 2, "first_seed": 5,
        "initial": None, "learner": {"class_path": CONVNET, "init_args": {"width": 4, "depth": 1}}}  # fmt: skip


def hostile_metadata(path: str) -> dict[str, dict[str, Any]]:
    """Return every entry of a teacher's metadata in which something can be named, naming ``path``."""
    spec = {"class_path": path, "init_args": {}}
    return {
        "learner": {"learner": spec, "poisoned": {"source": 7, "target": 1, "weight": 1.0}},
        "learner as text": {"learner": path, "poisoned": {"source": 7, "target": 1, "weight": 1.0}},
        "poison": {"poisoned": {"class_path": path}},
        "first weights": {"initialisation": FIRST | {"learner": spec}},
        "networks of another data set": {"pretraining": PLAN | {"learner": spec}},
        "their first weights": {"pretraining": PLAN | {"initial": FIRST | {"learner": spec}}},
    }


COMMANDS = {
    "evaluate": (["evaluate", "t.safetensors", "--no-fidelity", *QUICK], ["first weights"]),
    "compare": (["compare", "t.safetensors", "real:ipc=1", "--no-fidelity", *QUICK], ["first weights"]),
    "poison": (["poison", "t.safetensors", "--no-detect", *QUICK], ["learner", "learner as text", "poison"]),
    "poison of first weights": (
        ["poison", "t.safetensors", "--attack", "7:1", "--no-detect", *QUICK],
        ["first weights"],
    ),
    "adapt": (
        ["adapt", "t.safetensors", "--networks", "1", "--device", "cpu"],
        ["networks of another data set", "their first weights"],
    ),
    "verify": (["verify", "t.safetensors", "--dataset", "digits", "--seeds", "2"], ["first weights"]),
}
CASES = [(command, entry, path) for command, (_, entries) in COMMANDS.items() for entry in entries for path in TRAPS]


@pytest.mark.parametrize(("command", "entry", "path"), CASES)
def test_no_command_imports_what_a_teacher_names(
    command: str, entry: str, path: str, trap: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(tmp_path / "t.safetensors", **hostile_metadata(path)[entry])
    assert main(COMMANDS[command][0]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: ") and "the teacher's '" in said and "Traceback" not in said


@pytest.mark.parametrize("path", TRAPS)
@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "t.safetensors", *QUICK],
        ["compare", "t.safetensors", *QUICK],
        ["latent-search", "t.safetensors", "--run.steps", "1"],
        ["export", "t.safetensors", "--count", "10", "--output", "out"],
        ["nas", "real:ipc=1", "--found", "t.safetensors", "--output", "nas"],
        ["condensation", "t.safetensors", "--device", "cpu"],
        ["poison", "t.safetensors", "--attack", "7:1", *QUICK],
        ["adapt", "t.safetensors"],
        ["tokens", "t.safetensors"],
        ["diagnose", "t.safetensors", "--device", "cpu"],
    ],
    ids=lambda words: words[0],
)
def test_no_command_builds_a_generator_that_is_none(
    words: list[str], path: str, trap: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generator(tmp_path / "t.safetensors", lambda header: header["network"].update(class_path=path))
    assert main(words) == 2
    assert "the file's generator names the class" in capsys.readouterr().err.splitlines()[-1]


GENERATORS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a learner": (lambda h: h["network"].update(class_path=CONVNET, init_args={}), "not a subclass"),
    "far wider than its weights": (lambda h: h["network"]["init_args"].update(ngf=2**18), "far larger"),
    "far deeper than its weights": (lambda h: h["network"]["init_args"].update(nz=2**20), "far larger"),
    "a wider one": (lambda h: h["network"]["init_args"].update(ngf=5), "must have shape"),
    "images without end": (
        lambda h: (
            h["description"].update(image_shape=[1, 2**16, 2**16]),
            h["network"]["init_args"].pop("image_shape"),
        ),
        "at most",
    ),
    "images of another shape": (lambda h: h["description"].update(image_shape=[1, 16, 16]), "makes images of shape"),
    "no arguments": (lambda h: h["network"].update(init_args=5), "no keys and values"),
    "more keys": (lambda h: h["network"].update(factory="os.system"), "other keys"),
    "a name of another kind": (lambda h: h["network"].update(class_path=["a"]), "does not name a class"),
}


@pytest.mark.parametrize("case", GENERATORS)
def test_a_generator_is_no_larger_than_the_weights_beside_it(case: str, tmp_path: Path) -> None:
    change, sentence = GENERATORS[case]
    path = generator(tmp_path / "t.safetensors", change)
    started = time.process_time()
    with pytest.raises(UserError, match=sentence):
        load_teacher(path)
    assert time.process_time() - started < 20.0


def test_a_curriculum_makes_no_batch_without_end(tmp_path: Path) -> None:
    """Latents of a few bytes are images of many: 8 MB of them would be 512 MB at once, and more within the network."""
    save(load_teacher(generator(tmp_path / "t.safetensors")), tmp_path / "t.safetensors")
    taught = load_teacher(tmp_path / "t.safetensors")
    assert isinstance(taught, GeneratorTeacher)
    taught.latents = torch.zeros(1, 2**21 + 1, 4)
    taught.labels = taught.conditions = torch.zeros(1, 2**21 + 1, dtype=torch.int64)
    save(taught, tmp_path / "t.safetensors")
    started = time.process_time()
    with pytest.raises(UserError, match="batches of 2,097,153 images"):
        load_teacher(tmp_path / "t.safetensors")
    assert time.process_time() - started < 20.0


@pytest.mark.parametrize("form", ["png", "pt", "safetensors", "mtt"])
def test_an_export_is_trusted_no_more_than_a_teacher(
    form: str, trap: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(tmp_path / "t.safetensors", **hostile_metadata("trap_module.Net")["learner"])
    assert main(["export", "t.safetensors", "--format", form, "--output", "out"]) == 0
    assert main(["import", "out", "--dataset", "digits", "--output", "again.safetensors"]) == 0
    for name in ("out", "again.safetensors"):
        assert main(["poison", name, "--no-detect", *QUICK]) == 2
        assert "the teacher's 'learner' names the class 'trap_module.Net'" in capsys.readouterr().err


def test_a_run_is_trusted_no_more_than_its_teacher_file(
    trap: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run's directory may be a stranger's, its config too: judging it builds nothing that the config names."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("trainer: {class_path: trap_module.Net}\n")
    stored(tmp_path / "run" / "teacher.safetensors", **hostile_metadata("trap_module.Net")["first weights"])
    for words in (["evaluate", "run", "--no-fidelity", *QUICK], ["poison", "run", "--attack", "7:1", *QUICK]):
        assert main(words) == 2
        assert "the teacher's 'initialisation' names the class 'trap_module.Net'" in capsys.readouterr().err


def test_a_learner_that_the_user_names_is_his(tmp_path: Path) -> None:
    """The same spec as the teacher's, typed by the user, is built as he wants it, with the teacher's first weights."""
    learner = {"class_path": f"{__name__}.Own"}
    path = stored(tmp_path / "t.safetensors", initialisation=FIRST | {"fixed_layers": 0, "norm": 0, "learner": learner})
    taught, data = load_teacher(path), load("digits")
    found = learning_curve(taught, data, learner=learner, updates=[0], seeds=1, lr=0.1)
    assert found["learner"] == learner and found["initialisation"] is not None


def test_what_a_file_says_becomes_nothing_of_the_users_by_being_said_twice(tmp_path: Path) -> None:
    """The learner and the first weights of one file, equal to each other, are trusted no more than each of them."""
    learner = {"class_path": CONVNET, "init_args": {"width": 4, "depth": 1}}
    first = Initial.of(load_teacher(stored(tmp_path / "t.safetensors", initialisation=FIRST | {"learner": learner})))
    assert first is not None and isinstance(first.learner, UntrustedSpec)
    again, own = first.for_learner(UntrustedSpec(learner, "it")), first.for_learner(learner)
    assert again is not None and isinstance(again.learner, UntrustedSpec) and own is not None and own.learner == learner
    assert first.for_learner({"class_path": CONVNET}) is None


# -- metadata of other kinds -------------------------------------------------------------------------------------------

ENTRIES: dict[str, tuple[dict[str, Any], str, str]] = {
    "poison of numbers that are none": ({"poisoned": {"source": "7", "target": 1}}, "poison", "no source"),
    "poison that is a list": ({"poisoned": [7, 1]}, "poison", "no source"),
    "poison of a class that is not there": ({"poisoned": {"source": 7, "target": 70}}, "poison", "class 70"),
    "poison of a class below zero": ({"poisoned": {"source": -7, "target": 1}}, "poison", "whole number from 0"),
    "poison of no weight": ({"poisoned": {"source": 7, "target": 1, "weight": "x"}}, "poison", "weight"),
    "learner of a wrong kind": ({"learner": 5, "poisoned": {"source": 7, "target": 1}}, "poison", "does not name"),
    "learner without end": (
        {"learner": {"class_path": CONVNET, "init_args": {"depth": 10**9, "pooling": "none"}},
         "poisoned": {"source": 7, "target": 1}},
        "poison",
        "no size of a network",
    ),
    "first weights as text": ({"initialisation": "x"}, "evaluate", "cannot be read"),
    "first weights of many layers": ({"initialisation": FIRST | {"fixed_layers": -1}}, "evaluate", "fixed_layers"),
    "first weights of no norm": ({"initialisation": FIRST | {"norm": "1"}}, "evaluate", "norm"),
    "first weights of no seed": ({"initialisation": FIRST | {"seed": None}}, "evaluate", "seed"),
    "first weights of an unknown kind": ({"initialisation": FIRST | {"weights": "x"}}, "evaluate", "weights"),
    "first weights of a learner without end": (
        {"initialisation": FIRST | {"learner": {"class_path": CONVNET, "init_args": {"width": 2**19}}}},
        "evaluate",
        "far larger",
    ),
    "a plan as text": ({"pretraining": "x"}, "adapt", "cannot be read"),
    "a plan without end": ({"pretraining": PLAN | {"training": {"updates": 10**12, "lr": 0.1}}}, "adapt", "updates"),
    "a plan of no rate": ({"pretraining": PLAN | {"training": {"updates": 1, "lr": "x"}}}, "adapt", "lr"),
    "a plan of no networks": ({"pretraining": PLAN | {"networks": 1.5}}, "adapt", "networks"),
    "a plan of a seed below zero": ({"pretraining": PLAN | {"first_seed": -1}}, "adapt", "first_seed"),
    "a plan of a folder": ({"pretraining": PLAN | {"source": {"name": "folder:/etc"}}}, "adapt", "chooses no folders"),
    "a plan of a path": ({"pretraining": PLAN | {"source": {"name": "/etc"}}}, "adapt", "chooses no folders"),
    "a plan of a folder here": ({"pretraining": PLAN | {"source": {"name": "./pics"}}}, "adapt", "chooses no folders"),
    "a plan of texts": ({"pretraining": PLAN | {"source": {"name": "text"}}}, "adapt", "chooses no folders"),
    "a plan of a root": ({"pretraining": PLAN | {"source": {"name": "digits", "root": "/etc"}}}, "adapt", "than its"),
    "a plan of a download": ({"pretraining": PLAN | {"source": {"name": "cifar100"}}}, "adapt", "starts no download"),
    "a plan of an unknown key": ({"pretraining": PLAN | {"source": {"name": "digits", "x": 1}}}, "adapt", "source"),
    "batches as text": ({"condensation": "x"}, "condensation", "do not say which"),
    "batches of no size": ({"condensation": {"sizes": "ab", "batches": 2}}, "condensation", "make it again"),
    "batches without end": ({"condensation": {"sizes": [10**9, 5], "batches": 2}}, "condensation", "make it again"),
    "many batches": ({"condensation": {"sizes": [10, 5], "batches": 10**12}}, "condensation", "make it again"),
    "work below zero": (
        {"condensation": {"sizes": [10, 5], "batches": 2, "image_gradients": -1}},
        "condensation",
        "image_gradients",
    ),
    "an architecture without end": ({"architecture": "convnet-d9999-w9-k3-none-relu-none"}, "nas", "more layers"),
    "an architecture of many digits": ({"architecture": f"mlp-d{'9' * 5000}-w9-relu"}, "nas", "names no"),
    "an architecture that is none": ({"architecture": {"class_path": "trap_module.Net"}}, "nas", "found no arch"),
}  # fmt: skip
WORDS = {
    "evaluate": ["evaluate", "t.safetensors", "--no-fidelity", *QUICK],
    "poison": ["poison", "t.safetensors", "--no-detect", *QUICK],
    "adapt": ["adapt", "t.safetensors", "--networks", "1", "--device", "cpu"],
    "condensation": ["condensation", "t.safetensors", "--device", "cpu"],
    "nas": ["nas", "real:ipc=1", "--found", "t.safetensors", "--output", "nas", "--device", "cpu"],
}


@pytest.mark.parametrize("case", ENTRIES)
def test_metadata_of_a_wrong_kind_get_a_sentence(
    case: str, trap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GENDISTILL_DATA", str(tmp_path / "data"))
    entries, command, sentence = ENTRIES[case]
    stored(tmp_path / "t.safetensors", **entries)
    started = time.process_time()
    assert main(WORDS[command]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and sentence in error and len(error) < 700
    assert time.process_time() - started < 20.0
    assert not (tmp_path / "data").exists()


ODD: dict[str, Any] = {
    "warnings": 5, "source": ["x"], "data": "x", "classes": [1], "optimizer": {"a": 1}, "seed": "x", "notes": 5,
    "path": {"step": "x"}, "augmentation": [], "config": "x", "architecture": 3, "generator": 5,
}  # fmt: skip


VERIFY = ["verify", "t.safetensors", "--dataset", "digits", "--seeds", "2", "--suspects", "none"]


@pytest.mark.parametrize(
    "words",
    [WORDS["evaluate"], VERIFY, ["export", "t.safetensors", "--output", "out"]],
    ids=lambda words: words[0],
)
def test_free_metadata_of_any_kind_are_passed_over(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    stored(tmp_path / "t.safetensors", **ODD)
    code = main(words)
    assert code in (0, 2) and "Traceback" not in capsys.readouterr().err


# -- places ------------------------------------------------------------------------------------------------------------


def test_adapt_takes_the_source_that_the_user_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    stored(tmp_path / "t.safetensors", pretraining=PLAN | {"source": {"name": "folder:/somewhere"}})
    assert main([*WORDS["adapt"], "--source", "digits", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["source"] == "digits"


def results(**teacher: Any) -> dict[str, Any]:
    learning = {"updates": [1], "accuracy": {"mean": [0.5], "std": [None], "runs": [[0.5]]}, "seeds": [0]}
    return {"teachers": [{"name": "x", "dataset": "digits", "learning": learning,
                          "teacher": {"kind": "stored-images", "images": 20, "bytes": 10} | teacher}]}  # fmt: skip


SEEN = {part: {"images": 2, "sha256": "0" * 16} for part in ("train", "validation", "test")}


@pytest.mark.parametrize("noted", [{}, SEEN], ids=["nothing", "a guess"])
@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "t.safetensors", "--output", "out.json", *QUICK],
        ["compare", "t.safetensors", "real:ipc=1", "--output", "out.json", "--report", "out.html", *QUICK],
        ["verify", "t.safetensors", "--seeds", "2", "--output", "out.json"],
        ["diagnose", "t.safetensors", "--output", "out.json", "--page", "out.html"],
        ["latent-search", "t.safetensors", "--run.steps", "1"],
        ["poison", "t.safetensors", "--attack", "0:1", "--output", "out.json"],
        ["adapt", "t.safetensors", "--output", "out.json"],
        ["nas", "t.safetensors", "--output", "out"],
        ["report", "results.json"],
    ],
    ids=lambda words: words[0],
)
def test_no_command_shows_pictures_of_a_folder_that_a_file_names(
    words: list[str], noted: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / "private" / name).mkdir(parents=True)
        for place in range(4):
            Image.new("L", (8, 8), 40 * place).save(tmp_path / "private" / name / f"{place}.png")
    data = {"options": {"name": "private"}} | noted
    stored(tmp_path / "t.safetensors", data=data)
    found = results(path="real:ipc=1")
    found["teachers"][0] |= {"dataset": "private", "data": data}
    (tmp_path / "results.json").write_text(json.dumps(found))
    assert main(words) == (0 if words[0] == "report" else 2)
    said = capsys.readouterr().err.splitlines()[-1]
    assert ("are not those that" if noted else "a file alone chooses no place") in said
    assert re.search(r"--(dataset|data\.name) private", said)
    assert not [path for path in tmp_path.glob("out*") if "private" in path.read_text()]
    if words[0] == "report":
        assert "data:image/png" not in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("dataset", ["folder:private", "private", "cifar100", "text", "../private", "mnist"])
def test_a_report_loads_no_data_that_results_name(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENDISTILL_DATA", str(tmp_path / "data"))
    found = results(path="real:ipc=1")
    found["teachers"][0]["dataset"] = dataset
    (tmp_path / "results.json").write_text(json.dumps(found))
    assert main(["report", "results.json"]) == 0
    assert "no images of x in the report: the file names the data set" in capsys.readouterr().err
    assert not (tmp_path / "data").exists() and "data:image/png" not in (tmp_path / "report.html").read_text()


def test_a_report_opens_no_teacher_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("private", "here/given/kept", "here/pictures/0"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    secret = stored(tmp_path / "private" / "t.safetensors")
    inside = stored(tmp_path / "here" / "given" / "kept" / "t.safetensors")
    shown = {}
    for reference in (str(secret), "../private/t.safetensors", "pictures", str(inside), "real:ipc=1"):
        (tmp_path / "here" / "given" / "results.json").write_text(json.dumps(results(path=reference)))
        assert main(["report", "given"]) == 0
        shown[reference] = "data:image/png" in (tmp_path / "here" / "given" / "report.html").read_text()
        assert shown[reference] or "a file chooses no place" in capsys.readouterr().err
    assert list(shown.values()) == [False, False, False, True, True]
    (tmp_path / "here" / "given" / "results.json").write_text(json.dumps(results(path=str(secret))))
    assert main(["report", "given", "--teachers", str(tmp_path / "private")]) == 0
    assert "data:image/png" in (tmp_path / "here" / "given" / "report.html").read_text()


@pytest.mark.parametrize("name", ["../outside.png", "/etc/hostname", "0/../../outside.png", "link/x.png"])
def test_an_export_lists_no_picture_outside_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stored(tmp_path / "t.safetensors")
    assert main(["export", "t.safetensors", "--output", "out"]) == 0
    first = sorted((tmp_path / "out").glob("0_*/*.png"))[0]
    (tmp_path / "outside.png").write_bytes(first.read_bytes())
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.png").write_bytes(first.read_bytes())
    (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere")
    table = (tmp_path / "out" / "metadata.csv").read_text().replace(f"{first.parent.name}/{first.name}", name, 1)
    (tmp_path / "out" / "metadata.csv").write_text(table)
    assert main(["evaluate", "out", "--no-fidelity", *QUICK]) == 2


# -- the mechanism -----------------------------------------------------------------------------------------------------


@cache
def house() -> list[tuple[Path, ast.Module]]:
    """Return every file of the house with what is written in it."""
    paths = (*HOUSE.glob("gendistill/**/*.py"), *HOUSE.glob("trainers/**/*.py"))
    return [(path, ast.parse(path.read_text())) for path in paths]


def test_no_reader_of_files_passes_on_a_plain_spec() -> None:
    """Metadata are plain values; whoever takes a learner, a poison or a plan out of them goes through these."""
    readers = {"gendistill/initial.py", "gendistill/poison.py", "gendistill/evaluation/pretraining.py",
               "gendistill/teacher/base.py", "gendistill/teacher/fit.py"}  # fmt: skip
    guarded = {"learner", "poisoned", "initialisation", "pretraining", "network", "KEY"}
    found = set()
    for path, tree in house():
        for node in ast.walk(tree):
            call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get"
            owner = node.func.value if call else node.value if isinstance(node, ast.Subscript) else None  # type: ignore[attr-defined,union-attr]
            if not (isinstance(owner, ast.Attribute) and owner.attr == "metadata"):
                continue
            key: Any = node.args[0] if call else node.slice  # type: ignore[attr-defined,union-attr]
            name = key.value if isinstance(key, ast.Constant) else getattr(key, "id", None)
            if name in guarded or name == "key":
                found.add(path.relative_to(HOUSE).as_posix())
    # The ablation copies the entry as it is, for another teacher's metadata; the card writes it down as text. A private
    # teacher's promise, KEY in two more, is numbers and words.
    others = {"evaluation/ablation.py", "teacher/card.py", "evaluation/private_teachers.py", "evaluation/audit.py"}
    others |= {"evaluation/architectures.py"}  # compares the names of learners, and builds none
    assert found - {f"gendistill/{name}" for name in others} <= readers


def test_nothing_evaluates_text() -> None:
    """No ``eval``, ``exec``, ``compile`` of text, no shell and no pickle of others anywhere in the house."""
    forbidden = {"eval", "exec", "compile", "__import__"}
    assert all(hasattr(builtins, name) for name in forbidden)
    for path, tree in house():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in forbidden, path
            if isinstance(node, ast.keyword) and node.arg in ("shell", "weights_only"):
                allowed = node.arg == "weights_only"
                assert isinstance(node.value, ast.Constant) and node.value.value is allowed, path
