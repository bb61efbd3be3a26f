"""The base of methods whose real images must not be shared: private sums, and nothing else, tell of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, NoReturn, TypeVar

import torch
from torch import Tensor, nn

from gendistill.data.fingerprint import text_fingerprint
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.nets.modes import running_layers
from gendistill.plain import plain
from gendistill.privacy.ledger import FILE_NAME, Budget, Ledger
from gendistill.privacy.mechanism import PrivateSums
from gendistill.privacy.promise import KEY, promise
from gendistill.privacy.releases import FOLDER, Releases
from gendistill.privacy.stand_in import stand_in
from gendistill.runs.configuration import bound, differing
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.options import RunOptions
from trainers.batch import Batch
from trainers.trainer import Trainer

Records = TypeVar("Records", Split, RealData)


class Withheld(Generic[Records]):
    """Records on their way to the mechanism; not copied, so that no trial of speed trains on them."""

    def __init__(self, records: Records) -> None:
        self.records: Records = records

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        """Refuse to be copied or pickled."""
        raise TypeError("private records are neither copied nor written to a file")


def counted_in(
    directory: RunDirectory, budget: Budget, config: Mapping[str, Any] | None = None
) -> tuple[Ledger, Releases]:
    """Return a run's ledger, and where its sums are kept.

    A run that takes another one's place (``run.fresh``) spends from the same ledger; sums that were made by other
    settings are none of its own, and it keeps its sums in a folder beside.

    Args:
        directory: Of the run.
        budget: What may be spent.
        config: By which sums are made; None: not known.

    Raises:
        UserError: What was spent is not known.
    """
    path, settings = directory.path, bound(plain(config or {}))
    begun = directory.has_state or any(path.glob(f"{FOLDER}*/*.safetensors"))
    ledger = Ledger(path / FILE_NAME, budget, begun=begun)
    for place in itertools.count(1):
        releases = Releases(path / (FOLDER if place == 1 else f"{FOLDER}-{place}"), settings)
        if (known := releases.known()) is None or not differing(known, settings):
            break
    return ledger, releases


class PrivateTrainer(Trainer):
    """Give a method noisy sums of the training images, and grey images in the place of all real ones.

    What the run reads as its data is a stand-in (:mod:`gendistill.privacy.stand_in`): samplers, pictures, logs,
    checksums, terms and the teacher's metadata cannot see a private image. Validation and test images are not looked
    at. :attr:`sums` is the only way to the training images.

    Args:
        epsilon: Budget of privacy loss; every private sum of the run counts against it.
        delta: Chance that the promise fails; less than one over the number of images.
        adjacency: Neighbouring data sets differ in a record that is there or not (``add-remove``), or is another one
            (``replace-one``, which costs twice the noise).
        accountant: Who counts sums of samples: ``rdp`` or ``prv``; sums of all images have an exact formula.
        unit: What one record is; several images of one person are several records.
        **kwargs: See the method's other base.

    Raises:
        UserError: An option is out of range.
    """

    public: ClassVar[tuple[str, ...]] = ()
    """What the method treats as public, in words, beside what every one does."""
    declared: Sequence[str] = ()
    """What the run treats as public, beside it."""

    def __init__(
        self,
        *,
        epsilon: float = 1.0,
        delta: float = 1e-5,
        adjacency: str = "add-remove",
        accountant: str = "rdp",
        unit: str = "one image",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.budget = Budget(float(epsilon), float(delta), adjacency, accountant, unit)

    def known_of(self, data: RealData) -> RealData:
        """Keep the training images back, and return what the run may know."""
        known = stand_in(data, self.batch_size)
        self._withheld = Withheld(data.train)
        return known

    def attach(self, run: RunContext, data: RealData) -> None:
        """Take the run and the stand-in, open the ledger, and build."""
        if run.processes.world > 1:
            raise UserError(
                f"{run.processes.world} processes would each draw noise and samples of their own; private teachers are "
                "made by one process"
            )
        require_no_looks(run.options)
        # On whichever device a sum is made: noise is added on the CPU.
        records = self._withheld.records.to(run.device)
        described = data.description
        self.ledger, releases = counted_in(run.directory, self.budget, run.directory.read_config())
        self.sums = self.new_sums(records, described.num_classes, described.normalisation, self.ledger, releases)
        super().attach(run, data)

    def new_sums(self, *parts: Any) -> PrivateSums:
        """Return the mechanism for the arguments of :class:`~gendistill.privacy.mechanism.PrivateSums`."""
        return PrivateSums(*parts)

    def promised(self) -> dict[str, Any]:
        """Return the entries of a teacher's metadata that say what it promises; of the data nothing is said."""
        return {KEY: promise(self.ledger, [*self.public, *self.declared]), "data": {}}

    def tunable(self, device: torch.device) -> dict[str, tuple[Any, ...]]:
        """Return nothing: a trial of speed would make private sums, too."""
        return {}

    def draw_real(self, name: str, count: int) -> Batch:
        """Refuse: there are no real images for a loss."""
        raise UserError(f"draw_real('{name}') asks for real images, which are private; use sums.release")

    def draw_alike(self, name: str, labels: Tensor) -> Batch:
        """Refuse, see :meth:`draw_real`."""
        return self.draw_real(name, len(labels))


def sum_name(name: str, **public: Any) -> str:
    """Return a name for one sum that is that of no sum made in another way, after run.fresh with other options.

    Args:
        name: Of the sum, among those of the run.
        **public: All that the sum is made by, in plain values.
    """
    return f"{name}-{text_fingerprint(json.dumps(plain(public), sort_keys=True))}"


def require_no_statistics(network: nn.Module) -> None:
    """Refuse a network whose normalisation mixes records.

    Raises:
        UserError: It does.
    """
    if running_layers(network):
        raise UserError(
            f"{type(network).__name__} has batch norm, whose statistics are of several private images together; choose "
            "one with instance, layer or group norm, or none (norm: none of a discriminator)"
        )


def sample_rate(size: int, records: int, words: str) -> float:
    """Return the chance of a record to be in a sample, from public numbers.

    Args:
        size: Records that a sample has on average.
        records: About how many there are.
        words: How that number was given.

    Raises:
        UserError: A sample would be larger than the data.
    """
    if size > records:
        raise UserError(f"a sample of {size} records is more than {words} have; choose a smaller one")
    return size / records


def check_spare(spare: int) -> int:
    """Return how many sums the noise leaves room for beyond those that are planned.

    Raises:
        UserError: It is no whole number from 0.
    """
    if isinstance(spare, bool) or not isinstance(spare, int) or spare < 0:
        raise UserError(f"spare is {spare!r}; give a whole number from 0")
    return spare


def require_no_looks(options: RunOptions) -> None:
    """Refuse what a run would choose or tell by private validation or training images.

    Raises:
        UserError: Names the option.
    """
    if options.keep_best is not None:
        raise UserError(
            "run.keep_best chooses a step by validation images, which are private, too; leave it out: the last step is "
            "the teacher"
        )
    if options.evaluate_every:
        raise UserError(
            f"run.evaluate_every is {options.evaluate_every}, and it measures distances to training and validation "
            "images, which are private; set it to 0, and judge the teacher on test images when it is made"
        )


def check_class_size(class_size: int | None) -> int:
    """Return the public constant that sums are divided by.

    Raises:
        UserError: There is none.
    """
    if class_size is None or isinstance(class_size, bool) or not isinstance(class_size, int) or class_size < 1:
        raise UserError(
            f"class_size is {class_size!r}; give about how many images a class has (--trainer.class_size 5000). It is "
            "treated as public and goes into the file: a round number that you would tell anybody, not a count"
        )
    return class_size
