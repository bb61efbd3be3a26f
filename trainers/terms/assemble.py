"""The terms of one trainer: made from their specs, given their places, and looked at once for what they move."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gendistill.errors import UserError
from gendistill.objects import build, locate
from trainers.batch import Batch
from trainers.terms.own_function import OwnFunction
from trainers.terms.term import GANHost, Term, TermHost

INERT = (
    "the term '{name}' is added to the discriminator's loss but does not depend on the discriminator's weights, so it "
    "changes nothing there, whatever its weight: use apply_to: generator, or a probe of kind 'trunk'"
)


def build_terms(specs: Sequence[Any]) -> list[Term]:
    """Make the terms that a config names.

    Args:
        specs: One ``{"class_path": ..., "init_args": {...}}`` a term, or the dotted path alone. The path of a function
            ``function(real, fake, **init_args)`` will do; its ``weight`` then stands beside ``class_path``.

    Raises:
        UserError: Not a list, an unknown class or argument, or a value that the term refuses.
    """
    if isinstance(specs, str) or not isinstance(specs, Sequence):
        raise UserError(f"terms is {specs!r}; give a list, each of its items with class_path and init_args")
    return [_term(spec) for spec in specs]


def _term(spec: Any) -> Term:
    path = spec.get("class_path") if isinstance(spec, Mapping) else spec
    if isinstance(path, str) and "." in path:
        found = locate(path)
        if callable(found) and not isinstance(found, type):
            given = {} if isinstance(spec, str) else dict(spec)
            if unknown := set(given) - {"class_path", "init_args", "weight"}:
                raise UserError(
                    f"the term '{path}' has {', '.join(sorted(map(str, unknown)))}; a function takes class_path, "
                    "init_args and weight"
                )
            return OwnFunction(found, given.get("init_args") or {}, given.get("weight", 1.0))
    if not isinstance(spec, str | Mapping):
        raise UserError(f"a term is {spec!r}; give its dotted path, or class_path and init_args")
    # The class is the user's own word (see objects.build); mypy cannot build an abstract class.
    return build(spec, Term)  # type: ignore[type-abstract]


def attach_terms(terms: Sequence[Term], trainer: TermHost) -> None:
    """Give every term its name and streams, and let it make what it needs.

    Args:
        terms: The terms.
        trainer: Whose they are.

    Raises:
        UserError: A term needs labels and the generator has none, or something else that the trainer does not have.
    """
    names = [term.name for term in terms]
    for position, term in enumerate(terms):
        if names.count(names[position]) > 1:
            term.name = f"{names[position]}_{position}"
        term.key = f"terms/{position}/{names[position]}"
        _check_fits(term, trainer)
        if term.needs_labels and not getattr(trainer, "labelled", True):
            raise UserError(
                f"the term '{term.name}' needs generated images with labels; use ConditionalGANTrainer, not "
                f"{type(trainer).__name__}"
            )
        term.attach(trainer)
        term.remember()


def _check_fits(term: Term, trainer: TermHost) -> None:
    """Refuse a term that uses what the trainer does not have."""
    kind, lacking = type(trainer).__name__, [name for name in term.needs if not hasattr(trainer, name)]
    if lacking:
        raise UserError(
            f"the term '{term.name}' uses the trainer's {' and '.join(lacking)}, which {kind} does not have; choose "
            "another term, such as trainers.terms.gradients.GradientDifference"
        )
    if term.apply_to != "generator" and not hasattr(trainer, "discriminator"):
        raise UserError(f"the term '{term.name}' has apply_to '{term.apply_to}', but {kind} has one loss; leave it out")


def with_terms(
    trainer: GANHost,
    terms: Sequence[Term],
    loss: Tensor,
    network: str,
    real: Batch | None,
    fake: Batch,
    *,
    term_only: bool = False,
) -> Tensor:
    """Return a network's loss with the terms that apply to it; with ``term_only`` these replace the loss.

    Args:
        trainer: Whose terms; each is recorded as ``term/<name>`` before its weight.
        terms: All of them.
        loss: The adversarial loss, a scalar.
        network: ``generator`` or ``discriminator``: whose loss it is.
        real: The real batch of this update; ``None`` outside of a step, where terms are left out.
        fake: The generated batch.
        term_only: Leave the adversarial loss out.
    """
    terms = [term for term in terms if term.acts_on(network)]
    if not terms or real is None:
        return loss
    total = torch.zeros_like(loss) if term_only else loss
    for term in terms:
        value = term.value(real, fake)
        trainer.record(f"term/{term.name}", value)
        if network == "discriminator" and not term.examined:
            term.examined = True
            if not reaches(value, trainer.discriminator.parameters()):
                warnings.warn(INERT.format(name=term.name), stacklevel=2)
        total = total + term.weight * value
    return total


def reaches(value: Tensor, parameters: Iterable[Tensor]) -> bool:
    """Return whether a scalar depends on any of the parameters, as autograd sees it; its graph is kept."""
    if not value.requires_grad:
        return False
    wanted = [parameter for parameter in parameters if parameter.requires_grad]
    gradients = torch.autograd.grad(value, wanted, retain_graph=True, allow_unused=True)
    return any(gradient is not None for gradient in gradients)
