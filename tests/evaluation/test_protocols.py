from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gendistill.data.augment import draw_parameters
from gendistill.data.description import Description
from gendistill.data.operations import Strength
from gendistill.errors import UserError
from gendistill.evaluation.evaluate import evaluate
from gendistill.evaluation.learning import learning_curve
from gendistill.evaluation.protocols import NOT_MIRRORED, PROTOCOLS, SUMMARIES, Protocol, expand, protocol, strategy
from gendistill.evaluation.rates import candidates
from gendistill.seeds import stream
from gendistill.teacher import RealSubset, StoredImages

CIFAR = Description("cifar10", tuple("abcdefghij"), (1, 32, 32))
DIGITS = Description("digits", tuple("abcdefghij"), (1, 8, 8))
NARROW = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 4, "depth": 1}}


@pytest.mark.parametrize("name", SUMMARIES)
def test_a_protocol_of_the_literature_is_an_instance_with_a_sentence(name) -> None:
    assert set(SUMMARIES) == set(PROTOCOLS) and isinstance(PROTOCOLS[name], Protocol)
    fitted = protocol(name, CIFAR)
    assert fitted == PROTOCOLS[name].of(CIFAR) and not any(map(callable, fitted.options().values()))
    small = {"condensation-datadam": 64, "condensation-idc": 64, "condensation-ncfm": 128, "rded": 50}
    assert fitted.batch_size == small.get(name, 256)


def test_a_protocol_is_a_value_or_a_name_and_fields_are_changed_beside_it(tiny_data) -> None:
    teacher = RealSubset.all(tiny_data.train, tiny_data.description)
    mine = replace(PROTOCOLS["shi-chen"], learner=NARROW, epochs=2)
    one = learning_curve(teacher, tiny_data, mine, seeds=1)
    other = learning_curve(teacher, tiny_data, "shi-chen", learner=NARROW, epochs=2, seeds=1)
    for result in (one, other):
        result.pop("seconds")
    assert one == other and one["schedule"] == "cosine" and one["epochs"] == 2
    with pytest.raises(UserError, match="did you mean 'epochs'"):
        learning_curve(teacher, tiny_data, "shi-chen", epoch=2)
    with pytest.raises(UserError, match="did you mean 'shi-chen'"):
        learning_curve(teacher, tiny_data, "shi-chan")


@pytest.mark.parametrize(
    ("name", "images", "updates", "first", "highest", "last"),
    [
        ("thesis", 50_000, 19_600, 0.0004, 0.01, 1e-6),
        ("condensation", 100, 300, 0.01, 0.01, 0.001),
        ("condensation-dsa", 500, 2000, 0.01, 0.01, 0.001),
        ("condensation-mnist", 100, 1000, 0.01, 0.01, 0.001),
        ("condensation-mtt", 100, 1000, 0.02, 0.02, 0.002),
        ("condensation-datadam", 100, 3600, 0.01, 0.01, 0.001),
        ("condensation-idc", 400, 7000, 0.01, 0.01, 0.0004),
        ("condensation-ncfm", 400, 8000, 0.001, 0.001, 0.001 / 16),
        ("rded", 100, 600, 0.001, 0.001, 0.0005),
        ("shi-chen", 100, 20, 0.01, 0.01, 0.01 * 0.5 * (1 - torch.cos(torch.tensor(torch.pi / 20)).item())),
    ],
)
def test_length_and_rates_are_the_published_ones(tiny_data, name, images, updates, first, highest, last) -> None:
    options = protocol(name, CIFAR).options()
    assert options["epochs"] * -(-images // options["batch_size"]) == updates
    # Only the protocol of MTT looks at the rate that was learned with the images.
    rates = torch.tensor([0.02])
    teacher = StoredImages(torch.zeros(3, 1, 8, 8), torch.arange(3), tiny_data.description, learning_rates=rates)
    wanted = {key: options[key] for key in ("optimizer", "momentum", "weight_decay", "schedule")}
    (made,) = candidates(options["lr"], teacher, updates, **wanted)
    assert made.rates[0] == pytest.approx(first)
    assert max(made.rates) == pytest.approx(highest, rel=1e-5)
    assert made.rates[-1] == pytest.approx(last, rel=1e-2 if name == "rded" else 1e-4)
    assert made.weight_decay == (0.01 if options["optimizer"] == "adamw" else 5e-4)
    assert made.momenta[-1] == pytest.approx(0.95 if name == "thesis" else 0.9)


def test_condensation_drops_the_rate_once_at_half(tiny_data) -> None:
    teacher = StoredImages(torch.zeros(3, 1, 8, 8), torch.arange(3), tiny_data.description)
    (made,) = candidates(0.01, teacher, 300, schedule=protocol("condensation", CIFAR).schedule)
    assert made.rates == pytest.approx((0.01,) * 150 + (0.001,) * 150)


def test_digits_are_shifted_by_four_pixels_or_turned_as_far_as_dc_does() -> None:
    options = protocol("condensation-mnist", Description("mnist", ("a", "b"), (1, 28, 28))).options()
    strength = Strength.of(options["augment_strength"])
    drawn = draw_parameters(options["augment"], 4000, (1, 28, 28), stream(0, "test"), mode="all", strength=strength)
    ((_, shifts), (_, scales), (_, angles)) = drawn.steps
    assert shifts.amin() == -4 and shifts.amax() == 4
    assert 44 < angles.rad2deg().abs().max() <= 45.01
    assert scales.amax() <= 1.2 and options["augment_mode"] == "each"


def test_signs_are_not_mirrored() -> None:
    assert protocol("thesis", CIFAR).augment == "crop_flip"
    assert protocol("thesis", DIGITS).augment == "crop"
    assert "flip" in str(protocol("condensation-dsa", CIFAR).augment).split("_")
    assert all("flip" not in strategy("flip_crop", Description(name, ("a", "b"), (1, 8, 8))) for name in NOT_MIRRORED)


def test_networks_fit_the_images() -> None:
    assert protocol("condensation", CIFAR).learner["init_args"] == {"width": 128, "depth": 3}
    assert protocol("condensation", DIGITS).learner["init_args"] == {"width": 128, "depth": 2}
    datadam = protocol("condensation-datadam", CIFAR).learner["init_args"]
    assert datadam == {"width": 128, "depth": 3, "normalisation": "batch"}
    assert protocol("rded", CIFAR).learner["init_args"] == datadam
    assert protocol("thesis", CIFAR).learner["class_path"] == "gendistill.nets.resnet.ResNet"


def test_options_override_a_protocol_and_the_result_names_it(tiny_data) -> None:
    teacher = RealSubset.all(tiny_data.train, tiny_data.description)
    learning = {"protocol": "thesis", "learner": NARROW, "epochs": 3, "batch_size": 40, "seeds": 1, "updates": (2, 99)}
    result = evaluate(teacher, tiny_data, learning=learning, fidelity=None)["learning"]
    assert result["protocol"] == "thesis" and result["schedule"] == "one-cycle"
    # 96 images in batches of 40: three updates an epoch. 99 updates lie beyond the end.
    assert result["epoch"] == {"images": 96, "updates": 3}
    assert result["updates"] == [2, 3, 6, 9]
    direct = learning_curve(teacher, tiny_data, **expand(learning, tiny_data.description))
    assert direct["accuracy"] == result["accuracy"]


def test_the_thesis_network_is_trained_alike_one_by_one_and_stacked(tiny_data) -> None:
    teacher = RealSubset.all(tiny_data.train, tiny_data.description)
    network = {"class_path": "gendistill.nets.resnet.ResNet", "init_args": {"width": 2}}
    learning = {"protocol": "thesis", "learner": network, "epochs": 3, "batch_size": 48, "seeds": 2}
    options = expand(learning, tiny_data.description)
    separate, stacked = (learning_curve(teacher, tiny_data, batched=batched, **options) for batched in (False, True))
    runs = [torch.tensor(one["accuracy"]["runs"]) for one in (separate, stacked)]
    torch.testing.assert_close(*runs, rtol=0, atol=0.04)


def test_mtts_protocol_is_that_of_dsa_at_the_learned_rate(tiny_data) -> None:
    images, labels = tiny_data.train.batch(torch.arange(12), tiny_data.description.normalisation)
    teacher = StoredImages(images, labels, tiny_data.description, learning_rates=torch.tensor([0.03]))
    short = {"learner": NARROW, "epochs": 4, "seeds": 2}
    mtt = evaluate(teacher, tiny_data, learning={"protocol": "condensation-mtt"} | short, fidelity=None)["learning"]
    dsa = {"protocol": "condensation-dsa", "lr": teacher.learning_rates[0].item()} | short
    fixed = evaluate(teacher, tiny_data, learning=dsa, fidelity=None)["learning"]
    assert mtt["accuracy"]["runs"] == fixed["accuracy"]["runs"]
    assert mtt["lr"] == ["learned"] and mtt["learned_rate"] == pytest.approx(0.03)
    assert fixed["learned_rate"] is None


def test_the_protocols_of_sheets_and_crops_augment_as_published() -> None:
    idc, ncfm, rded = (protocol(name, CIFAR) for name in ("condensation-idc", "condensation-ncfm", "rded"))
    for one in (idc, ncfm):  # cutout is left out where there is CutMix
        assert one.augment == "color_crop_flip_scale_rotate" and one.augment_mode == "idc" and one.cutmix == 0.5
    assert protocol("condensation-idc", DIGITS).augment == "color_crop_scale_rotate"
    assert (rded.augment, rded.cutmix, rded.epochs) == ("flip", 1.0, 300) and protocol("rded", DIGITS).augment == ""
    assert (idc.optimizer, ncfm.optimizer, rded.optimizer) == ("sgd", "adamw", "adamw")
    assert protocol("condensation-dsa", CIFAR).cutmix == 0.0


@pytest.mark.parametrize("name", ["condensation-idc", "condensation-ncfm", "rded"])
def test_they_are_trained_alike_one_by_one_and_stacked_and_teach(tiny_data, name) -> None:
    teacher = RealSubset.all(tiny_data.train, tiny_data.description)
    short = {"learner": NARROW, "epochs": 40, "seeds": 2, "batch_size": 32, "lr": 0.02}
    options = expand({"protocol": name} | short, tiny_data.description)
    separate, stacked = (learning_curve(teacher, tiny_data, batched=batched, **options) for batched in (False, True))
    runs = [torch.tensor(one["accuracy"]["runs"]) for one in (separate, stacked)]
    torch.testing.assert_close(*runs, rtol=0, atol=0.04)
    chance = 1 / tiny_data.description.num_classes
    assert runs[0].min() > 1.5 * chance and separate["cutmix"] == PROTOCOLS[name].cutmix


def test_where_no_rate_was_learned_mtts_protocol_says_what_to_give_and_real_images_have_the_papers(tiny_data) -> None:
    images, labels = tiny_data.train.batch(torch.arange(12), tiny_data.description.normalisation)
    short = {"learner": NARROW, "epochs": 2, "seeds": 1}
    with pytest.raises(UserError, match="give a number for lr"):
        options = expand({"protocol": "condensation-mtt"} | short, tiny_data.description)
        learning_curve(StoredImages(images, labels, tiny_data.description), tiny_data, **options)
    real = RealSubset.random(tiny_data.train, tiny_data.description, generator=stream(0, "test"), images_per_class=4)
    runs = [
        evaluate(real, tiny_data, learning={"protocol": name} | short, fidelity=None)["learning"]["accuracy"]["runs"]
        for name in ("condensation-mtt", "condensation-dsa")
    ]
    assert runs[0] == runs[1]


def test_an_unknown_protocol_is_explained(tiny_data) -> None:
    with pytest.raises(UserError, match="did you mean 'thesis'"):
        protocol("thesys", CIFAR)
    with pytest.raises(UserError, match="condensation-dsa"):
        evaluate(RealSubset.all(tiny_data.train, tiny_data.description), tiny_data, learning={"protocol": "x"})


def test_dsa_by_its_name_is_what_it_is_of_a_protocol(tiny_data) -> None:
    named = expand({"augment": "dsa"}, tiny_data.description)["augment"]
    assert named == expand({"protocol": "condensation-dsa"}, tiny_data.description)["augment"] != "dsa"
    assert expand({"protocol": "condensation", "augment": "dsa"}, tiny_data.description)["augment"] == named
    assert expand({"augment": "crop"}, tiny_data.description) == {"augment": "crop"}
