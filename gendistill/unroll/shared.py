"""Images that several learners share: made once, and their gradients pass through the generator once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gendistill.nets.again import Remembered

Generator = Callable[[Tensor, Tensor], Tensor]
Context = Callable[[], AbstractContextManager[object]]


class SharedImages:
    """What learners see in their first n steps, of which the last ones are differentiated.

    The generator is called once a step: its normalisation sees one step's batch. Where its graphs are made anew on the
    way back (``keep_graph=False``) it is called a second time, which gives the same images to the bit and leaves its
    buffers and the generators of random numbers alone (:class:`gendistill.nets.again.Remembered`): batch norm averages
    its statistics, and spectral norm makes its power iterations, as often as with ``keep_graph=True``.

    Args:
        generator: latents (B, nz), classes (B,) -> images (B, C, H, W).
        latents: (n, B, nz), with the graph that leads to what is trained, if any.
        conditions: (n, B) classes.
        labels: What learners are told, (n, B) or (n, B, K), with its graph.
        first: The first step that is differentiated.
        keep_graph: Keep the generator's graphs; otherwise they are made anew on the way back, one at a time.
        context: Entered around every call of the generator, such as autocast.

    Attributes:
        images: One batch a step. Backpropagate losses of one learner after another into them.
        labels: The labels, in the same way.
    """

    def __init__(
        self,
        generator: Generator,
        latents: Tensor,
        conditions: Tensor,
        labels: Tensor,
        *,
        first: int = 0,
        keep_graph: bool = True,
        context: Context = nullcontext,
    ) -> None:
        self.generator, self.conditions, self.context = generator, conditions, context
        self.first = first
        self._latents, self._labels = latents, labels
        # One node for all steps: a slice each would write a gradient of the size of all of them on the way back.
        self._batches = list(latents.unbind())
        if not keep_graph:
            # The way back comes here once a step, and what made the latents can be passed only once.
            self._batches = [batch.detach().requires_grad_(latents.requires_grad) for batch in self._batches]
        network = generator if isinstance(generator, nn.Module) else getattr(generator, "__self__", None)
        # Two caches: a weight that was cached without a graph would cut the generator off.
        with torch.no_grad(), parametrize.cached():
            before = [self._make(step) for step in range(first)]
        self._before: list[Remembered] = []
        with torch.set_grad_enabled(keep_graph), parametrize.cached():
            made = []
            for step in range(first, len(latents)):
                if not keep_graph:
                    self._before.append(Remembered(network, latents.device))
                made.append(self._make(step))
            self._made = torch.stack(made)
        self._shown = self._made.detach().requires_grad_()
        self.images = [*before, *self._shown.unbind()]
        self.labels = labels.detach().requires_grad_(labels.requires_grad)

    def _make(self, step: int) -> Tensor:
        with self.context():
            return self.generator(self._batches[step], self.conditions[step]).float()

    def differentiated(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return images, latents, classes and labels (n * B, ...) of the steps that are differentiated.

        A loss on them is backpropagated into what is trained and into :attr:`leaves`, before :meth:`backward`, which
        sends on what has gathered there.
        """
        latents, shown = torch.stack(self._batches[self.first :]), slice(self.first, None)
        columns = (self._shown, latents, self.conditions[shown], self.labels[shown])
        images, latents, classes, labels = (column.flatten(0, 1) for column in columns)
        return images, latents, classes, labels

    @property
    def leaves(self) -> list[Tensor]:
        """Where gradients of a loss on the images gather until :meth:`backward`."""
        return [tensor for tensor in (self._shown, self.labels, *self._batches) if tensor.is_leaf]

    @property
    def rows(self) -> list[slice]:
        """The rows of each step in what :meth:`differentiated` returns."""
        size = self._shown.shape[1]
        return [slice(first, first + size) for first in range(0, len(self._shown) * size, size)]

    def backward(self) -> None:
        """Send what has gathered in images and labels to everything that they were made from."""
        assert self._shown.grad is not None
        if self._made.requires_grad:
            self._made.backward(self._shown.grad)
        else:
            # Parametrised weights are made once, as on the way there; their graph is passed by every step.
            with parametrize.cached():
                for place, (before, gradient) in enumerate(zip(self._before, self._shown.grad, strict=True)):
                    with before.again():
                        made = self._make(self.first + place)
                    made.backward(gradient, retain_graph=True)
                    del made  # and with it the step's own graph
            if self._latents.requires_grad:
                rows = [torch.zeros_like(batch) if batch.grad is None else batch.grad for batch in self._batches]
                self._latents.backward(torch.stack(rows))
        if self.labels.grad is not None:
            self._labels.backward(self.labels.grad)
