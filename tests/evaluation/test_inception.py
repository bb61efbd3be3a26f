"""FID's network: the same features as pytorch-fid, weights that are checked first, and sentences where they are not."""

from __future__ import annotations

import hashlib
import pickle
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch

from gendistill.data.description import Normalisation, symmetric
from gendistill.errors import UserError
from gendistill.evaluation import inception
from gendistill.evaluation.inception import FILE_NAME, URL, InceptionExtractor, fid_network, find_weights
from gendistill.seeds import initialisation, stream


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with initialisation(0, "inception"):
        network = fid_network()
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(network.state_dict(), path)
    return path


def test_random_weights_give_the_features_of_pytorch_fid(random_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = InceptionExtractor(random_weights, allow_unverified_weights=True)
    assert extractor.score_name("FD") == "FD[Inception with unverified weights]"
    state = torch.load(random_weights, weights_only=True)
    peer = pytest.importorskip("pytorch_fid.inception")
    monkeypatch.setattr(peer, "load_state_dict_from_url", lambda *args, **kwargs: state)
    reference = peer.InceptionV3().eval()
    grey = torch.randint(0, 256, (2, 1, 9, 9), generator=stream(0, "pixels"), dtype=torch.uint8)
    normalisation = Normalisation((0.3,), (0.2,))
    with torch.no_grad():
        features = extractor.features(normalisation.apply(grey), normalisation)
        expected = reference(grey.expand(-1, 3, -1, -1) / 255)[0].flatten(1)
        probabilities = extractor.probabilities(features)
    assert features.shape == (2, 2048)
    # Averages of a random network come out almost alike; what distinguishes the two images must agree as well.
    difference = (expected[0] - expected[1]).abs().max()
    assert float((features - expected).abs().max()) < 1e-3 * float(difference)
    torch.testing.assert_close(probabilities, (features @ state["fc.weight"].T).softmax(1))
    with pytest.raises(UserError, match="1 or 3 channels, got 2"):
        extractor.features(torch.zeros(1, 2, 4, 4), symmetric(2))


def test_only_the_published_weights_are_called_fid(random_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="SHA-256 starts with .* not 6726825d; get the file anew from https"):
        InceptionExtractor(random_weights)
    digest = hashlib.sha256(random_weights.read_bytes()).hexdigest()
    monkeypatch.setattr(inception, "HASH_PREFIX", digest[:8])
    extractor = InceptionExtractor(random_weights)
    assert (extractor.score_name("FD"), extractor.score_name("KID")) == ("FID", "KID")
    assert extractor.id == f"Inception/{digest[:16]}"


def test_the_hash_is_checked_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the file was loaded")

    (tmp_path / FILE_NAME).write_bytes(b"something else")
    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(UserError, match="is not pytorch-fid's weights"):
        InceptionExtractor(tmp_path / FILE_NAME)


@pytest.mark.parametrize("kind", ["pickle", "garbage", "other network"])
def test_files_that_are_no_weights_give_one_sentence(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "weights.pth"
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"fc.weight": Path("x")}))
    elif kind == "garbage":
        path.write_bytes(b"\x00" * 100)
    else:
        torch.save({"fc.weight": torch.zeros(3)}, path)
    with pytest.raises(UserError, match="does not hold weights of FID's Inception network") as caught:
        InceptionExtractor(path, allow_unverified_weights=True)
    assert "\n" not in str(caught.value)


def test_offline_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: Any, **kwargs: Any) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(UserError) as caught:
        find_weights()
    expected = tmp_path / "hub" / "checkpoints" / FILE_NAME
    assert URL in str(caught.value) and str(expected) in str(caught.value)
    expected.write_bytes(b"there")
    assert find_weights() == expected
    with pytest.raises(UserError, match="there is no Inception weights file"):
        find_weights(tmp_path / "nothing.pth")


def test_weights_with_a_hole_of_terabytes_are_not_summed(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    with path.open("wb") as file:
        file.truncate(10**13)
    with pytest.raises(UserError, match="would take 10 TB of memory"):
        find_weights(path)


def test_torch_fidelitys_file_of_the_same_weights_gives_the_same_features(random_weights: Path, tmp_path: Path) -> None:
    state = torch.load(random_weights, weights_only=True)
    # That file is of a time before batches were counted, and in another order.
    twin = {name: value for name, value in reversed(state.items()) if not name.endswith("num_batches_tracked")}
    torch.save(twin, file := tmp_path / inception.TWIN)
    theirs, ours = InceptionExtractor(file), InceptionExtractor(random_weights, allow_unverified_weights=True)
    # Its sum is not published: nobody can tell whose weights they are.
    assert not theirs.verified and theirs.score_name("FD") == "FD[Inception of torch-fidelity]"
    assert theirs.id != ours.id
    pixels = torch.rand(2, 3, 9, 9, generator=stream(0, "pixels"))
    with torch.no_grad():
        features = [one.features(pixels * 2 - 1, symmetric(3)) for one in (theirs, ours)]
    assert torch.equal(*features)
    for name in ("weights.pth", inception.TWIN):
        torch.save({"fc.weight": torch.zeros(2)}, other := tmp_path / name)
        with pytest.raises(UserError, match="is not pytorch-fid's weights|does not hold weights of FID's Inception"):
            InceptionExtractor(other)


def test_torch_fidelitys_network_has_the_names_and_shapes_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    monkeypatch.setattr(peer, "load_state_dict_from_url", lambda *args, **kwargs: fid_network().state_dict())
    theirs = peer.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]).state_dict()
    shapes = {name: value.shape for name, value in fid_network().state_dict().items()}
    assert {name: value.shape for name, value in theirs.items()} == shapes
