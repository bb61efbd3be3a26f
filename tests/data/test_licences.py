"""Licences: what owners have published, never a guess, and nothing of a folder that only has the name."""

from __future__ import annotations

import pytest

from gendistill.data.licences import LICENCES, licence_of
from gendistill.data.load import load
from gendistill.data.sources import SOURCES


@pytest.mark.parametrize("name", ["digits", "stacked-digits"])
def test_the_numbers_of_classes_are_those_of_the_data(name: str) -> None:
    description = load(name).description
    assert licence_of(description.name, description.num_classes, name) == LICENCES[name]


def test_every_official_set_has_a_word() -> None:
    assert set(SOURCES) <= set(LICENCES)
    for name in ("mnist", "cifar10", "usps"):
        assert LICENCES[name].name == "unknown" and LICENCES[name].sentence
    assert LICENCES["svhn"].name == "other" and "non-commercial" in LICENCES["svhn"].words()
    assert licence_of("cifar100", 100).words().startswith("unknown: its page names none")


def test_a_folder_of_that_name_is_somebody_elses() -> None:
    assert licence_of("digits", 10, "/home/me/digits") is None and licence_of("digits", 10, "folder:digits") is None
    assert licence_of("digits", 3) is None and licence_of("my pictures", 10) is None
    assert licence_of("tiny-imagenet-200", 200, "data/tiny-imagenet-200").name == "other"
