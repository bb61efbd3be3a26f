from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gendistill.data.real import RealData
from gendistill.decodes import Decode, Formation, Palette
from gendistill.errors import UserError
from gendistill.evaluation.epochs import one_epoch
from gendistill.teacher import RealSubset, StoredImages, describe, export, load, open_teacher, save
from gendistill.teacher.decoded import teacher_of
from gendistill.teacher.files import KEY, _canonical, _digest
from gendistill.teacher.imports import describe_source, import_teacher


@pytest.fixture
def sheets(tiny_data: RealData) -> StoredImages:
    """Six sheets of 2 x 2 images, two of a class."""
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(6, 1, 8, 8, generator=generator), torch.arange(3).repeat(2)
    return StoredImages(images, labels, tiny_data.description, decode=Formation(2))


def test_the_budget_is_of_what_is_stored_and_learners_see_all(sheets: StoredImages) -> None:
    assert sheets.budget() == {
        "images": 6, "distinct_images": 6, "decoded_images": 24, "bytes": 6 * 64 * 4 + 6 * 8,
        "image_bytes": 6 * 64 * 4, "label_bytes": 6 * 8, "labeller_bytes": 0,
    }  # fmt: skip
    assert sheets.label_counts == [2, 2, 2]
    images, labels = sheets.everything()
    assert sheets.decode is not None
    assert torch.equal(images, sheets.decode(sheets.images, sheets.labels)) and images.shape == (24, 1, 8, 8)
    assert torch.equal(labels, sheets.labels.repeat_interleave(4))
    assert torch.equal(sheets.pick(torch.tensor([5, 23]))[0], images[[5, 23]])
    epoch = one_epoch(sheets, 8, 96)
    assert (epoch.images, epoch.updates) == (24, 3)
    seen = [batch for batch, _, _ in sheets.batches(3, 8, torch.Generator().manual_seed(1))]
    assert torch.equal(torch.cat(seen).flatten(1).sort(0).values, images.flatten(1).sort(0).values)
    # Decoded batch by batch, or once where they come again: the same.
    again = [batch for batch, _, _ in sheets.batches(9, 8, torch.Generator().manual_seed(1))][:3]
    assert all(torch.equal(one, other) for one, other in zip(seen, again, strict=True))


def test_a_fixed_order_shows_the_images_of_a_step_together(tiny_data: RealData) -> None:
    values, labels = torch.randn(6, 1, 8, 8), torch.arange(3).repeat(2)
    decode = Formation(2).prepare(tiny_data.description)
    teacher = teacher_of(decode, values, labels, tiny_data.description, order="fixed", batch_size=3)
    batches = list(teacher.batches(2, 99, torch.Generator()))
    assert torch.equal(batches[1][0], decode(values[3:], labels[3:]))
    assert batches[1][1].tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_a_file_keeps_what_is_stored_and_says_so(sheets: StoredImages, tmp_path: Path) -> None:
    save(sheets, tmp_path / "t.safetensors")
    noted = describe(tmp_path / "t.safetensors")
    assert noted["format_version"] == 4 and noted["images"] == 6 and noted["decoded_images"] == 24
    assert noted["decode"] == {"class_path": "gendistill.decodes.formation.Formation", "init_args": {"factor": 2}}
    assert noted["tensors"]["images"]["shape"] == [6, 1, 8, 8]
    found = load(tmp_path / "t.safetensors")
    assert torch.equal(found.everything()[0], sheets.everything()[0]) and found.budget() == sheets.budget()


def test_teachers_without_a_decode_are_written_as_ever(tiny_data: RealData, tmp_path: Path) -> None:
    save(RealSubset.all(tiny_data.train, tiny_data.description), tmp_path / "t.safetensors")
    noted = describe(tmp_path / "t.safetensors")
    assert noted["format_version"] == 1 and "decode" not in noted and "decoded_images" not in noted


def test_bytes_of_a_palette_are_one_a_pixel_and_its_colours(tiny_data: RealData, tmp_path: Path) -> None:
    decode = Palette(4).attach(tiny_data, torch.device("cpu"))
    images, labels = tiny_data.train.batch(torch.arange(6), tiny_data.description.normalisation)
    teacher = teacher_of(decode, images, labels, tiny_data.description)
    assert teacher.budget()["image_bytes"] == 6 * 64 + 4 * 4
    save(teacher, tmp_path / "t.safetensors")
    found = load(tmp_path / "t.safetensors")
    assert torch.equal(found.everything()[0], decode.unpacked(decode.packed(images)))


def test_real_sheets_stay_bytes(tiny_data: RealData, tmp_path: Path) -> None:
    decode = Formation(2).prepare(tiny_data.description)
    index = tiny_data.train.labels.argsort(stable=True)[:8]
    sheets = decode.encode(tiny_data.train.images[index])
    teacher = RealSubset(sheets, torch.zeros(2, dtype=torch.int64), tiny_data.description, decode=Formation(2))
    save(teacher, tmp_path / "t.safetensors")
    found = load(tmp_path / "t.safetensors")
    assert isinstance(found, RealSubset) and found.budget()["image_bytes"] == 2 * 64
    expected = decode(tiny_data.description.normalisation.apply(sheets), teacher.labels)
    assert torch.equal(found.everything()[0], expected)


def hostile(path: Path, change: Any) -> None:
    """Write a file with another header, and with the right checksum."""
    header, tensors = describe(path), load_file(path)
    header.pop("tensors"), header.pop("sha256")
    change(header, tensors)
    header["sha256"] = _digest(header, tensors)
    from safetensors.torch import save_file

    save_file(tensors, path, {KEY: _canonical(header)})


def factor_of(number: Any) -> Any:
    return lambda header, tensors: header["decode"]["init_args"].update(factor=number)


def named(path: str, **arguments: Any) -> Any:
    return lambda header, tensors: header.update(decode={"class_path": path, "init_args": arguments})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (factor_of(1000), "is 1000; images of 'bands' are 8x8 pixels"),
        (factor_of(10**9), "beyond 1,048,576"),
        (factor_of(3), "decoded_images 24"),
        (factor_of("2"), "takes a whole number"),
        (factor_of([2]), "takes a whole number"),
        (factor_of(0), "give a whole number from 1"),
        (named("os.path.Formation"), "outside this project|has no"),
        (named("gendistill.teacher.stored.StoredImages"), "a file names no other class"),
        (named("gendistill.teacher.generated.Generated", generator="/etc/passwd"), "a file names no other class"),
        (named("gendistill.decodes.formation.Formation", size=2), "has no option 'size'"),
        (lambda header, tensors: header.update(decode="Formation"), "does not name a class by a dotted path"),
        (lambda header, tensors: tensors.update({"decode.x": torch.zeros(1)}), "keeps no tensors, the file has x"),
        (
            lambda header, tensors: (header.pop("decode"), tensors.update({"decode.x": torch.zeros(1)})),
            "does not name it",
        ),
        (lambda header, tensors: header.update(decoded_images=6), "say decoded_images 6, its tensors 24"),
    ],
)  # fmt: skip
def test_what_a_strange_file_names_is_refused_in_one_sentence(
    sheets: StoredImages, tmp_path: Path, change: Any, message: str
) -> None:
    path = tmp_path / "t.safetensors"
    save(sheets, path)
    hostile(path, change)
    with pytest.raises(UserError, match=message):
        load(path)


def test_a_decode_must_give_images(tiny_data: RealData) -> None:
    class Cuts(Formation):
        def cell(self, values: torch.Tensor, places: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return super().cell(values, places, labels)[..., 1:]

    with pytest.raises(UserError, match=r"Cuts must give finite images of shape \(1, 8, 8\), it gives \(1, 8, 7\)"):
        StoredImages(torch.randn(3, 1, 8, 8), torch.arange(3), tiny_data.description, decode=Cuts(2))


@pytest.mark.parametrize("form", ["png", "pt", "dc", "mtt"])
def test_exports_hold_the_decoded_images_and_say_so(
    sheets: StoredImages, tiny_data: RealData, tmp_path: Path, form: str
) -> None:
    result = export(sheets, tmp_path / "out", form)
    assert result["images"] == 24 and result["images_per_class"] == [8, 8, 8]
    assert any("the 24 decoded images are written, not the 6 that are stored" in one for one in result["lost"])
    again = open_teacher(tmp_path / "out", tiny_data)
    assert again.images_stored == 24 and again.label_counts == [8, 8, 8]
    if form != "png":  # which clips
        own = tiny_data.description.normalisation
        shown = again.description.normalisation.convert(again.everything()[0], own)
        torch.testing.assert_close(shown, sheets.everything()[0], rtol=1e-4, atol=1e-5)


def test_idc_holds_the_sheets_as_pixels_and_comes_back(
    sheets: StoredImages, tiny_data: RealData, tmp_path: Path
) -> None:
    result = export(sheets, tmp_path / "out", "idc")
    assert any("give it to that code: --factor 2" in one for one in result["lost"])
    images, labels = torch.load(tmp_path / "out" / "data.pt", weights_only=True)
    torch.testing.assert_close(images, tiny_data.description.normalisation.invert(sheets.images))
    assert torch.equal(labels, sheets.labels)
    assert json.loads((tmp_path / "out" / "teacher.json").read_text())["decoded_images"] == 24
    assert "| shown | 24: each stored image shows 4" in (tmp_path / "out" / "README.md").read_text()
    for again in (open_teacher(tmp_path / "out", tiny_data), import_teacher(tmp_path / "out", tiny_data)):
        assert isinstance(again, StoredImages) and isinstance(again.decode, Formation) and again.images_stored == 6
        shown = again.description.normalisation.convert(again.everything()[0], tiny_data.description.normalisation)
        torch.testing.assert_close(shown, sheets.everything()[0], rtol=1e-4, atol=1e-5)


def test_safetensors_keeps_the_sheets(sheets: StoredImages, tiny_data: RealData, tmp_path: Path) -> None:
    assert export(sheets, tmp_path / "out", "safetensors")["images"] == 6
    again = open_teacher(tmp_path / "out", tiny_data)
    assert torch.equal(again.everything()[0], sheets.everything()[0])


def test_a_file_of_idc_is_taken_apart_where_the_factor_is_known(tiny_data: RealData, tmp_path: Path) -> None:
    pixels, labels = torch.rand(6, 1, 8, 8), torch.arange(3).repeat(2)
    for folder in ("conv3in_grad_mse_nd2000_cut_niter2000_factor2_lr0.005_mix_ipc2", "somewhere"):
        (tmp_path / folder).mkdir()
        torch.save([pixels, labels], tmp_path / folder / "data.pt")
    by_name = import_teacher(tmp_path / "conv3in_grad_mse_nd2000_cut_niter2000_factor2_lr0.005_mix_ipc2", tiny_data)
    unknown = import_teacher(tmp_path / "somewhere", tiny_data)
    said = import_teacher(tmp_path / "somewhere", tiny_data, factor=2)
    assert unknown.decode is None and "give it with --factor 2" in describe_source(unknown)
    assert "sheet of 2 x 2, by the folder's name" in describe_source(by_name)
    for teacher in (by_name, said):
        assert teacher.budget()["images"] == 6 and teacher.decoded_images == 24
        decode: Decode = Formation(2).prepare(teacher.description)
        assert torch.equal(teacher.everything()[0], decode(pixels, labels))
    whole = import_teacher(
        tmp_path / "conv3in_grad_mse_nd2000_cut_niter2000_factor2_lr0.005_mix_ipc2", tiny_data, factor=1
    )
    assert whole.decode is None
    with pytest.raises(UserError, match="which a factor up to 4 can share"):
        import_teacher(tmp_path / "somewhere", tiny_data, factor=5)


@pytest.mark.parametrize("form", ["safetensors", "hub"])
def test_an_export_in_bytes_is_a_quarter_and_says_by_how_much_values_moved(
    sheets: StoredImages, tiny_data: RealData, tmp_path: Path, form: str
) -> None:
    result = export(sheets, tmp_path / "out", form, bits=8)
    small, noted = load(tmp_path / "out/teacher.safetensors"), describe(tmp_path / "out/teacher.safetensors")
    assert noted["tensors"]["images"] == {"dtype": "U8", "shape": [6, 1, 8, 8]} and noted["format_version"] == 4
    assert noted["decode"]["class_path"] == "gendistill.decodes.eight_bit.EightBit"
    moved = float((small.unrounded().images - sheets.images).abs().max())  # type: ignore[attr-defined]
    said = next(one for one in result["lost"] if "rounded to 8 bits, by" in one)
    assert f"by {moved:.2g} standard deviations" in said and "1.6 kB become 440 B" in said
    assert result["images"] == (6 if form == "safetensors" else 24)
    with pytest.raises(UserError, match="8 bits a stored value go with safetensors and hub; format 'pt'"):
        export(sheets, tmp_path / "other", "pt", bits=8)
    # What holds values as floats is written of those that the bytes stand for.
    export(small, tmp_path / "idc", "idc")
    again = import_teacher(tmp_path / "idc", tiny_data)
    shown = again.description.normalisation.convert(again.everything()[0], tiny_data.description.normalisation)
    torch.testing.assert_close(shown, small.everything()[0], rtol=1e-4, atol=1e-5)


def test_a_card_says_how_values_are_stored_where_each_shows_one_image(tiny_data: RealData, tmp_path: Path) -> None:
    plain = StoredImages(torch.randn(3, 1, 8, 8), torch.arange(3), tiny_data.description).in_eight_bits()
    result = export(plain, tmp_path / "out", "pt")
    assert (
        "images are written, not what is stored of them (values of one byte); safetensors keeps that" in result["lost"]
    )
    export(plain, tmp_path / "own", "safetensors")
    assert "| stored as | values of one byte |" in (tmp_path / "own/README.md").read_text()


def test_a_file_of_bytes_with_a_damaged_scale_is_refused(sheets: StoredImages, tmp_path: Path) -> None:
    file = tmp_path / "t.safetensors"
    save(sheets.in_eight_bits(), file)
    tensors = load_file(file)
    header = describe(file)
    del header["tensors"]
    for change, said in (
        ({"decode.step": -tensors["decode.step"]}, "the step 0 or more"),
        ({"decode.low": torch.zeros(3), "decode.step": torch.ones(3)}, r"has the shape \(3,\)"),
        ({"images": tensors["images"].float()}, "must be torch.uint8"),
    ):
        changed = tensors | change
        header["sha256"] = _digest({key: value for key, value in header.items() if key != "sha256"}, changed)
        save_file(changed, file, {KEY: _canonical(header)})
        with pytest.raises(UserError, match=said):
            load(file)
