"""The ways that the benchmark of the latent search compares make the same step."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "latent_step.py"
spec = importlib.util.spec_from_file_location("benchmark_latent_step", PATH)
assert spec is not None and spec.loader is not None
latent_step = importlib.util.module_from_spec(spec)
spec.loader.exec_module(latent_step)


def test_ways_agree_and_are_timed() -> None:
    found = latent_step.measure(latents=(1, 2), width=4, real_batch=3, generator=4, rounds=1)
    for objective, ways in latent_step.WAYS.items():
        assert list(found["latents_a_class"][objective]) == ["1", "2"]
        for one in found["latents_a_class"][objective].values():
            assert list(one["seconds_a_step"]) == list(ways)
            assert set(one["relative_distance_of_gradients"]) == set(ways) - {"obvious"}
            assert max(one["relative_distance_of_gradients"].values()) < 1e-4
            times = one["seconds_a_step"]
            ratio = times["obvious"]["seconds"] / times["ours"]["seconds"]
            assert one["times_as_fast_as_obvious"]["ours"]["seconds"] == pytest.approx(ratio)


@pytest.mark.parametrize("objective", list(latent_step.WAYS))
def test_a_loop_moves_latents_as_the_trainer_does(objective: str, tmp_path: Path) -> None:
    data = latent_step.random_data(6, latent_step.SHAPE)
    path = latent_step.make_generator(data, str(tmp_path), 4)
    moved = {}
    for way in ("obvious", "loop", "ours"):
        trainer = latent_step.make(data, str(tmp_path), path, way, objective, latents=2, width=4, real_batch=3)
        start = trainer.latents.detach().clone()
        if way == "ours":
            latent_step.ours(trainer)
        else:
            latent_step.class_by_class(trainer, objective, spare=way == "loop")
        moved[way] = trainer.latents.detach() - start
    assert moved["ours"].norm() > 1e-2
    for way in ("obvious", "loop"):
        # Adam's first step turns every entry of the gradient into its sign; the smallest may differ in it.
        cosine = torch.cosine_similarity(moved[way].flatten(), moved["ours"].flatten(), dim=0)
        assert cosine > 0.99


def test_ways_that_differ_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = latent_step.random_data(6, latent_step.SHAPE)
    path = latent_step.make_generator(data, str(tmp_path), 4)

    def make_one(way: str) -> object:
        real = 2 if way == "ours" else 3
        return latent_step.make(data, str(tmp_path), path, way, "feature_matching", latents=1, width=4, real_batch=real)

    with pytest.raises(AssertionError, match="not make the same step"):
        latent_step.agreement(make_one, "feature_matching")
