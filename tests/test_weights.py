"""Weights from files: names below wrappers, and values that are no numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from gendistill.data.description import Description, Normalisation, symmetric
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.evaluation.cache import read_tensors, write_tensors
from gendistill.evaluation.choice import choose_extractor
from gendistill.evaluation.extractors import Extractor
from gendistill.evaluation.inception import _load, fid_network
from gendistill.experts.files import read_snapshot, write_expert
from gendistill.mimicry import Checkpoint, read_checkpoint, write_checkpoint
from gendistill.mimicry.convert import _layers
from gendistill.nets.sngan import SNGANGenerator
from gendistill.objects import build
from gendistill.teacher import GeneratorTeacher, load, open_teacher, save
from gendistill.teacher.mimicry import generator_teacher
from gendistill.weights import bare, below_shared, checked, unwrapped

COLOUR = Description("colour", ("a", "b", "c"), (3, 32, 32), symmetric(3))
PREFIXES = ("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "netG.", "model.module.")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)))


@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_wrapper_is_recognised(prefix: str) -> None:
    state = network().state_dict()
    wrapped = {prefix + name: value for name, value in state.items()}
    assert list(unwrapped(wrapped, state.keys())) == list(state)
    assert below_shared(wrapped) == state


def test_wrappers_of_parts_and_averages_are_recognised() -> None:
    inner = network()
    state = inner.state_dict()
    compiled = {name.replace("1.", "1._orig_mod.", 1): value for name, value in state.items()}
    assert compiled.keys() != state.keys() and unwrapped(compiled, state.keys()).keys() == state.keys()
    average = torch.optim.swa_utils.AveragedModel(inner)
    assert unwrapped(average.state_dict(), state.keys()).keys() == state.keys()
    assert unwrapped(nn.DataParallel(inner).state_dict()).keys() == state.keys()
    assert unwrapped(torch.compile(inner).state_dict()).keys() == state.keys()  # type: ignore[attr-defined]
    for made in (average, nn.DataParallel(inner), torch.compile(nn.DataParallel(inner))):
        assert type(bare(made)) is nn.Sequential


@given(
    st.lists(
        st.lists(st.sampled_from(["module", "model", "_orig_mod", "a", "b", "0"]), min_size=1, max_size=4).map(
            ".".join
        ),
        min_size=1,
        max_size=6,
        unique=True,
    )
)
def test_names_that_fit_are_left_alone_and_no_weight_is_ever_lost(names: list[str]) -> None:
    state = {name: place for place, name in enumerate(names)}
    assert unwrapped(state, names) == state
    for wanted in (None, ["else.where"]):
        assert list(unwrapped(state, wanted).values()) == list(state.values())


def test_a_layer_that_is_called_like_a_wrapper_stays() -> None:
    inner = nn.ModuleDict({"module": nn.Linear(2, 2)})
    assert unwrapped(inner.state_dict(), inner.state_dict().keys()).keys() == inner.state_dict().keys()
    assert bare(inner) is inner
    both = {"a._orig_mod.weight": 1, "a.weight": 2}
    assert unwrapped(both) == both


def test_weights_that_are_no_numbers_are_refused_by_name() -> None:
    state = network().state_dict() | {"1.1.running_var": torch.tensor([1.0, math.inf, 1.0, 1.0])}
    with pytest.raises(UserError, match=r"'x.pth' cannot be used: '1.1.running_var' holds values that are NaN"):
        checked(state, "x.pth")
    with pytest.raises(UserError, match="'epoch', which is no tensor but int"):
        checked({"epoch": 3}, "x.pth")


# -- the loaders ------------------------------------------------------------------------------------------------------


def mimicry_state() -> dict[str, Tensor]:
    """Return weights under torch-mimicry's names, of a generator for 32x32 images."""
    torch.manual_seed(0)
    ours = SNGANGenerator(image_shape=(3, 32, 32), nz=5, ngf=6)
    names = _layers(ours)
    found = {}
    for name, value in ours.state_dict().items():
        layer = max((one for one in names if name.startswith(f"{one}.")), key=len)
        found[name.replace(layer, names[layer], 1)] = value
    return found


def checkpoint(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict) -> Path:
    return write_checkpoint(folder, "netG", Checkpoint(change(mimicry_state()), None, 5))


def filled(name: str, value: float) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda state: state | {name: torch.full_like(state[name], value)}


@pytest.mark.parametrize("prefix", ["", *PREFIXES])
def test_a_wrapped_checkpoint_of_torch_mimicry_is_the_bare_one(prefix: str, tmp_path: Path) -> None:
    plain = generator_teacher(checkpoint(tmp_path / "plain"), COLOUR)
    path = checkpoint(tmp_path / "wrapped", lambda state: {prefix + name: value for name, value in state.items()})
    wrapped = generator_teacher(path, COLOUR)
    latents, labels = torch.randn(3, 5), torch.arange(3)
    assert torch.equal(plain.generate(latents, labels), wrapped.generate(latents, labels))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["l1.weight", "b5.running_var", "c5.bias"])
def test_a_checkpoint_of_torch_mimicry_with_nan_is_refused_on_opening(name: str, value: float, tmp_path: Path) -> None:
    path = checkpoint(tmp_path, filled(name, value))
    split = Split(torch.zeros(3, 3, 32, 32, dtype=torch.uint8), torch.arange(3))
    with pytest.raises(UserError, match=f"'{path}' cannot be used: '{name}' holds values that are NaN or infinite"):
        open_teacher(path, RealData(COLOUR, split, split, split))
    with pytest.raises(UserError, match=name):
        read_checkpoint(path)


def test_finite_weights_that_make_no_numbers_are_refused_on_opening(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, filled("b5.running_var", -1.0))
    with pytest.raises(UserError, match="makes images that are NaN or infinite"):
        generator_teacher(path, COLOUR)
    path = checkpoint(tmp_path, filled("l1.weight", 3e38))
    with pytest.raises(UserError, match="makes images that are NaN or infinite"):
        generator_teacher(path, COLOUR)


def generator(**more: Any) -> GeneratorTeacher:
    spec = {"class_path": "gendistill.nets.sngan.SNGANGenerator", "init_args": {"nz": 5, "ngf": 6}}
    torch.manual_seed(0)
    return GeneratorTeacher(build(spec, nn.Module, image_shape=(3, 32, 32)), COLOUR, **more)


def test_a_compiled_generator_is_kept_as_the_network_itself(tmp_path: Path) -> None:
    teacher = generator()
    wrapped = GeneratorTeacher(torch.compile(teacher.network), COLOUR)  # type: ignore[arg-type]
    for name, one in (("plain", teacher), ("wrapped", wrapped)):
        save(one, tmp_path / name)
    assert (tmp_path / "plain").read_bytes() == (tmp_path / "wrapped").read_bytes()


def test_a_teacher_file_with_wrapped_names_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = generator()
    own = teacher.tensors
    monkeypatch.setattr(
        teacher,
        "tensors",
        lambda: {name.replace("network.", "network.module._orig_mod."): v for name, v in own().items()},
    )
    save(teacher, tmp_path / "wrapped")
    again = load(tmp_path / "wrapped")
    assert isinstance(again, GeneratorTeacher)
    assert again.network.state_dict().keys() == teacher.network.state_dict().keys()


def test_a_generator_whose_images_are_nan_is_refused_at_first_use() -> None:
    teacher = generator()
    with torch.no_grad():
        for parameter in teacher.network.parameters():
            parameter.fill_(3e38)
    with pytest.raises(UserError, match="SNGANGenerator makes images that are NaN or infinite"):
        teacher.sample(2, torch.Generator())


def test_cached_tensors_and_snapshots_of_experts_are_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "cached.safetensors"
    write_tensors(path, {"mean": torch.tensor([0.0, math.nan])}, {})
    with pytest.raises(UserError, match=r"mean' holds values that are NaN or infinite; delete the file"):
        read_tensors(path)
    write_expert(tmp_path / "expert", {"weight": torch.tensor([[0.0], [math.inf]])}, {}, 0, None)
    assert read_snapshot(tmp_path / "expert", 0)["weight"].tolist() == [0.0]
    with pytest.raises(UserError, match=r"weight' holds values that are NaN or infinite; delete the file"):
        read_snapshot(tmp_path / "expert", 1)


class Broken(Extractor):
    name = "broken"

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([math.nan]))

    def features(self, images: Tensor, normalisation: Normalisation) -> Tensor:
        return images.flatten(1) * self.scale


def test_networks_that_judge_are_looked_at(tmp_path: Path, tiny_data: RealData) -> None:
    with pytest.raises(UserError, match=r"'broken: scale' holds values that are NaN or infinite"):
        choose_extractor(Broken(), tiny_data)
    network = fid_network()
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    torch.save(state, tmp_path / "inception.pth")
    _load(network, tmp_path / "inception.pth")
    state["module.fc.bias"] = torch.full_like(state["module.fc.bias"], math.nan)
    torch.save(state, tmp_path / "inception.pth")
    with pytest.raises(UserError, match="'module.fc.bias' holds values"):
        _load(network, tmp_path / "inception.pth")


def test_a_normalisation_is_made_of_numbers() -> None:
    for mean, std in (((math.nan,), (1.0,)), ((0.0,), (math.nan,)), ((0.0,), (math.inf,))):
        with pytest.raises(UserError, match="one mean and one positive std"):
            Normalisation(mean, std)
    with pytest.raises(UserError, match="one mean and one positive std"):
        Normalisation.from_dict(json.loads('{"mean": [NaN], "std": [1]}'))
