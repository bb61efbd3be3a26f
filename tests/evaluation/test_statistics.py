"""Statistics of the real images: kept, found again, and refused when they belong to something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from gendistill.data.description import Normalisation
from gendistill.data.fingerprint import split_fingerprint
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.evaluation import statistics
from gendistill.evaluation.cache import read_tensors, write_tensors
from gendistill.evaluation.extractors import Extractor, extract
from gendistill.evaluation.frechet import frechet_distance, frechet_distance_from_features, moments
from gendistill.evaluation.pairs import RealPairs
from gendistill.evaluation.statistics import RealStatistics, real_pairs, real_statistics


class Pooled(Extractor):
    name = "pooled"
    scale: Tensor

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale))
        self.calls = 0

    def features(self, images: Tensor, normalisation: Normalisation) -> Tensor:
        self.calls += 1
        return normalisation.invert(images).mean((1, 3)) * self.scale


def test_cache_holds_what_was_computed(tiny_data: RealData, tmp_path: Path) -> None:
    extractor, normalisation = Pooled(), tiny_data.description.normalisation
    first = real_statistics(tiny_data.train, normalisation, extractor, folder=tmp_path)
    again = real_statistics(tiny_data.train, normalisation, extractor, folder=tmp_path)
    assert extractor.calls == 1
    features = extract(extractor, tiny_data.train.images, normalisation)
    mean, covariance = moments(features)
    for found in (first, again):
        assert found.count == 96
        assert torch.equal(found.mean, mean) and torch.equal(found.covariance, covariance)
        assert torch.equal(found.features, features)
        assert torch.equal(found.classes, tiny_data.train.labels) and found.shares.tolist() == [1 / 3] * 3
    real_statistics(tiny_data.test, normalisation, extractor, folder=tmp_path)
    real_statistics(tiny_data.train, normalisation, Pooled(2.0), folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_large_sets_keep_a_part_of_the_features_and_all_of_the_moments(
    tiny_data: RealData, monkeypatch: pytest.MonkeyPatch
) -> None:
    normalisation = tiny_data.description.normalisation
    extractor = Pooled()
    monkeypatch.setattr(statistics, "KEPT_FEATURES", 40)
    kept = statistics.compute_statistics(tiny_data.train, normalisation, extractor)
    everything = extract(extractor, tiny_data.train.images, normalisation)
    assert kept.features.shape == (40, 8) and kept.count == 96
    other = extract(extractor, tiny_data.test.images, normalisation)
    assert kept.frechet_distance(other) == pytest.approx(frechet_distance(*moments(other), *moments(everything)))
    assert kept.frechet_distance(other) != pytest.approx(frechet_distance_from_features(other, kept.features))
    few = other[:5]
    assert kept.frechet_distance(few) == pytest.approx(frechet_distance_from_features(few, everything), rel=1e-7)


def test_statistics_of_something_else_are_refused(tiny_data: RealData, tmp_path: Path) -> None:
    extractor, normalisation = Pooled(), tiny_data.description.normalisation
    found = statistics.compute_statistics(tiny_data.train, normalisation, extractor)
    path = tmp_path / "statistics.safetensors"
    found.save(path)
    fingerprint = split_fingerprint(tiny_data.train)
    assert RealStatistics.load(path, dataset=fingerprint, extractor=extractor.id).count == 96
    with pytest.raises(UserError, match="of dataset .* not of"):
        RealStatistics.load(path, dataset=split_fingerprint(tiny_data.test), extractor=extractor.id)
    with pytest.raises(UserError, match="of extractor .* not of"):
        RealStatistics.load(path, dataset=fingerprint, extractor=Pooled(2.0).id)
    path.write_bytes(b"{}")
    with pytest.raises(UserError, match="not a readable safetensors file"):
        RealStatistics.load(path, dataset=fingerprint, extractor=extractor.id)


def test_fingerprints_see_every_change(tiny_data: RealData) -> None:
    split = tiny_data.train
    images, labels = split.images.clone(), split.labels.clone()
    images[5, 0, 3, 3] += 1
    labels[7] = (labels[7] + 1) % 3
    prints = {
        split_fingerprint(split),
        split_fingerprint(Split(images, split.labels)),
        split_fingerprint(Split(split.images, labels)),
        split_fingerprint(Split(split.images.reshape(96, 1, 4, 16), split.labels)),
    }
    assert len(prints) == 4
    assert split_fingerprint(Split(split.images.clone(), split.labels.clone())) == split_fingerprint(split)


@pytest.mark.parametrize("damage", ["nothing", "another file", "an old one", "not finite", "other numbers", "a bit"])
def test_a_file_that_cannot_be_used_is_made_anew(
    tiny_data: RealData, tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    extractor, normalisation = Pooled(), tiny_data.description.normalisation
    made = real_statistics(tiny_data.train, normalisation, extractor, folder=tmp_path)
    (path,) = tmp_path.iterdir()
    tensors, metadata = read_tensors(path)
    if damage == "nothing":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "another file":
        write_tensors(path, tensors, metadata | {"dataset": "0"})
    elif damage == "an old one":
        write_tensors(path, tensors, metadata | {"format": "1"})
    elif damage == "not finite":
        write_tensors(path, {**tensors, "features": tensors["features"] * torch.nan}, metadata)
    elif damage == "a bit":
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        path.write_bytes(content)
    else:
        write_tensors(path, {**tensors, "classes": tensors["classes"] + 5}, metadata)
    again = real_statistics(tiny_data.train, normalisation, extractor, folder=tmp_path)
    assert torch.equal(again.features, made.features) and again.count == 96
    kept, _ = read_tensors(path)
    assert torch.equal(kept["classes"], made.classes)
    assert "it is made anew" in capsys.readouterr().err


def test_a_file_without_a_checksum_is_read_and_every_flipped_bit_of_one_with_it_found(tmp_path: Path) -> None:
    path = tmp_path / "kept.safetensors"
    tensors, metadata = {"a": torch.arange(6.0), "b": torch.ones(2, dtype=torch.int64)}, {"key": "value"}
    save_file(tensors, path, metadata)
    assert read_tensors(path)[1] == metadata
    write_tensors(path, tensors, metadata)
    assert read_tensors(path)[1] == metadata
    good = path.read_bytes()
    for place in range(len(good)):
        damaged = bytearray(good)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            found = read_tensors(path)
        except UserError:
            continue
        # What is left are the letters of the checksum's own name, and blanks.
        assert torch.equal(found[0]["a"], tensors["a"]) and found[1]["key"] == "value"


def test_pairs_of_real_images_are_kept_by_what_they_depend_on(
    tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    normalisation = tiny_data.description.normalisation
    made = [0]

    def counted(*given: Any) -> RealPairs:
        made[0] += 1
        return computed(*given)

    computed = RealPairs.of
    monkeypatch.setattr(RealPairs, "of", counted)
    real = real_statistics(tiny_data.train, normalisation, Pooled(), folder=tmp_path)
    first = real_pairs(real, 3, 5, folder=tmp_path)
    again = real_pairs(real, 3, 5, folder=tmp_path)
    assert made == [1]
    assert torch.equal(first.within.sums, again.within.sums) and torch.equal(first.balls.reach, again.balls.reach)
    assert not torch.equal(real_pairs(real, 3, 2, folder=tmp_path).balls.reach, first.balls.reach)
    real_pairs(real_statistics(tiny_data.train, normalisation, Pooled(2.0), folder=tmp_path), 3, 5, folder=tmp_path)
    assert made == [3]
    for path in tmp_path.iterdir():
        path.write_bytes(b"damaged")
    assert torch.equal(real_pairs(real, 3, 5, folder=tmp_path).balls.reach, first.balls.reach)
    assert made == [4]


def test_one_real_image_is_no_distribution(tiny_data: RealData) -> None:
    one = Split(tiny_data.train.images[:1], tiny_data.train.labels[:1])
    with pytest.raises(UserError, match="at least 2"):
        statistics.compute_statistics(one, tiny_data.description.normalisation, Pooled())
