"""Values of one byte: the scale, the error of half a step, and what a damaged scale does."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gendistill.data.description import Description, Normalisation
from gendistill.data.real import RealData
from gendistill.decodes import EightBit, Formation, Palette
from gendistill.decodes.choice import decode_of
from gendistill.errors import UserError
from gendistill.teacher import StoredImages
from gendistill.teacher.decoded import teacher_of


def described(channels: int = 3, side: int = 6) -> Description:
    normalisation = Normalisation((0.25,) * channels, (0.5,) * channels)
    return Description("sheets", ("a", "b", "c"), (channels, side, side), normalisation)


def test_by_hand() -> None:
    """Values 0 to 51 have steps of 0.2; one value alone has no step and comes back to the bit."""
    values = torch.tensor([0.0, 51.0, 0.29, 0.31]).view(1, 1, 2, 2).repeat(1, 2, 1, 1)
    values[:, 1] = 7.7
    decode = EightBit().prepare(described(2, 2)).fitted(values)
    stored = decode.packed(values)
    assert stored.dtype == torch.uint8 and stored[0, 0].flatten().tolist() == [0, 255, 1, 2]
    assert stored[0, 1].flatten().tolist() == [0] * 4
    torch.testing.assert_close(decode.unpacked(stored)[0, 0].flatten(), torch.tensor([0.0, 51.0, 0.2, 0.4]))
    assert torch.equal(decode.unpacked(stored)[0, 1], values[0, 1])


@given(st.integers(0, 99), st.floats(1e-6, 1e6), st.floats(-1e3, 1e3))
def test_no_value_moves_by_more_than_half_a_step(seed: int, spread: float, shift: float) -> None:
    values = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(seed)) * spread + shift
    decode = EightBit(2).prepare(described()).fitted(values)
    steps = (values.amax((0, 2, 3)) - values.amin((0, 2, 3))) / 255
    error = (decode.unpacked(decode.packed(values)) - values).abs().amax((0, 2, 3))
    rounding = values.abs().max() * 2**-22
    assert (error <= 0.5 * steps + rounding).all()
    # What is stored is what is packed again.
    again = decode.unpacked(decode.packed(values))
    assert torch.equal(decode.packed(again), decode.packed(values))


def test_it_is_asked_for_by_its_bits() -> None:
    assert isinstance(decode_of({"bits": 8}), EightBit) and decode_of("eight-bit").cells == 1
    assert decode_of({"factor": 2, "bits": 8}).built_by() == {
        "class_path": "gendistill.decodes.eight_bit.EightBit",
        "init_args": {"factor": 2},
    }
    for choice, said in (
        ({"bits": 4}, "decode.bits is 4; stored values have 8"),
        ({"bits": True}, "decode.bits is True"),
        ({"bits": 8, "colours": 3}, "goes with a formation's factor alone, not with colours"),
        ({"bits": 8, "factor": 0}, "the factor of a formation is 0"),
    ):
        with pytest.raises(UserError, match=said):
            decode_of(choice)


def test_a_scale_that_does_not_fit_is_refused() -> None:
    low, step = torch.zeros(3), torch.ones(3)
    for scale in (
        {},
        {"low": low},
        {"low": low, "step": step, "more": step},
        {"low": low, "step": -step},
        {"low": low.double(), "step": step},
        {"low": low, "step": step[:2]},
        {"low": low[None], "step": step[None]},
        {"low": low, "step": step * torch.nan},
    ):
        with pytest.raises(UserError, match=r"decode\.low.*decode\.step"):
            EightBit().load(scale)
    with pytest.raises(UserError, match="values that are not finite"):
        EightBit().load({"low": low, "step": step * 3e38})
    with pytest.raises(UserError, match=r"'decode\.low' has the shape \(3,\), and images of 'sheets' 1 channels"):
        EightBit().load({"low": low, "step": step}).prepare(described(1))
    with pytest.raises(UserError, match="need their scale"):
        StoredImages(torch.zeros(1, 3, 6, 6, dtype=torch.uint8), torch.tensor([0]), described(), decode=EightBit())


def test_a_teacher_in_bytes_and_back(tiny_data: RealData) -> None:
    images = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(3).repeat(2)
    for decode in (None, Formation(2)):
        teacher = StoredImages(images, labels, tiny_data.description, decode=decode, momenta=torch.tensor([0.5]),
                               learning_rates=torch.tensor([0.1]), order="fixed", batch_size=3)  # fmt: skip
        small = teacher.in_eight_bits()
        # A byte for four, and the scale.
        assert teacher.budget()["image_bytes"] - small.budget()["image_bytes"] == 6 * 64 * 3 - 8
        assert small.decoded_images == teacher.decoded_images and small.in_eight_bits() is small
        assert (small.everything()[0] - teacher.everything()[0]).abs().max() < 0.5 * 8 / 255
        assert (small.order, small.batch_size, small.learning_rates) == ("fixed", 3, teacher.learning_rates)
        floats = small.unrounded()
        assert floats.images.dtype == torch.float32 and type(floats.decode) is (Formation if decode else type(None))
        assert torch.equal(floats.everything()[0], small.everything()[0]) and floats.unrounded() is floats
    coloured = teacher_of(Palette(4).attach(tiny_data, torch.device("cpu")), images, labels, tiny_data.description)
    assert isinstance(coloured, StoredImages)
    with pytest.raises(UserError, match="pixels of 4 colours"):
        coloured.in_eight_bits()
    assert torch.equal(coloured.unrounded().everything()[0], coloured.everything()[0])
