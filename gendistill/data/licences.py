"""What the owners of known data sets say about their use, as far as they have published it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

UNKNOWN, OTHER = "unknown", "other"
"""What data hubs call a licence that nobody has published, and one that is none of the usual."""


@dataclass(frozen=True)
class Licence:
    """One data set's.

    Attributes:
        name: As data hubs write it.
        sentence: What there is to say beside it, and whose words these are; empty: nothing.
        classes: How many the data set has; a folder of that name with others is somebody else's.
    """

    name: str
    sentence: str = ""
    classes: int = 10

    def words(self) -> str:
        """Return name and sentence."""
        return f"{self.name}: {self.sentence}" if self.sentence else self.name


_NIST = (
    "its page names none, and others disagree (cc-by-sa-3.0, mit); it was made of images of NIST's special databases 1 "
    "and 3"
)
_CIFAR = "its page names none, and asks to cite Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"
LICENCES: Mapping[str, Licence] = {
    "digits": Licence("cc-by-4.0"),
    "stacked-digits": Licence("cc-by-4.0", "that of the digits it is made of", 1000),
    "fashion-mnist": Licence("mit"),
    "mnist": Licence(UNKNOWN, _NIST),
    "stacked-mnist": Licence(UNKNOWN, f"that of MNIST, which it is made of: {_NIST}", 1000),
    "cifar10": Licence(UNKNOWN, _CIFAR),
    "cifar100": Licence(UNKNOWN, _CIFAR, 100),
    "usps": Licence(UNKNOWN, "none was published with it"),
    "svhn": Licence(OTHER, "its page says that it is for non-commercial use only"),
    "tiny-imagenet-200": Licence(
        OTHER,
        "none of its own; its images are those of ImageNet, whose terms of access allow non-commercial research and "
        "education alone",
        200,
    ),
    "stl10": Licence(UNKNOWN, "its images are those of ImageNet; see its terms of access"),
}
"""By the name of a data set, as its owners' pages stood when this was written; of others a person says it."""


def licence_of(name: str, classes: int, read_from: object = None) -> Licence | None:
    """Return what is known of a data set's licence; None: nothing is.

    Args:
        name: What a teacher's description calls its data.
        classes: How many it has.
        read_from: The name under which the data was loaded, as a file notes it; None: it does not.
    """
    known = LICENCES.get(name)
    if known is None or known.classes != classes:
        return None
    # A person's own folder may have any name, and its images are not those of the set that is called so.
    own = isinstance(read_from, str) and read_from.lower() != name and name != "tiny-imagenet-200"
    return None if own else known
