"""Learners for sentences: the classifiers that teachers of text are judged by.

A sentence is an "image" of one channel whose L rows are its words, each a vector of D numbers of a frozen embedding
(:mod:`gendistill.data.embedding`); short sentences end in rows of zeros. All can be differentiated twice.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.nets.learners import Learner


def words_of(x: Tensor) -> Tensor:
    """Return the word vectors (N, L, C * D) of sentences (N, C, L, D)."""
    return x.transpose(1, 2).flatten(2)


class TextConvNet(Learner):
    """Filters over three, four and five words, each with its largest answer in the sentence.

    Words before and after the sentence are zeros, so that a sentence may be shorter than a filter. There is no dropout,
    which would make the gradient of a distillation depend on chance.

    Args:
        num_classes: Number of classes K, at least 2.
        image_shape: (C, L, D) of the sentences.
        width: Filters of each size, at least 1; the paper has 100.
        sizes: Words that filters look at, each at least 1.

    Raises:
        UserError: A number under 1.

    Source:
        Kim 2014, "Convolutional Neural Networks for Sentence Classification", Sec. 2 (CNN-static).
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: tuple[int, int, int],
        width: int = 100,
        sizes: tuple[int, ...] = (3, 4, 5),
    ) -> None:
        super().__init__(num_classes, image_shape)
        if width < 1 or not sizes or min(sizes) < 1:
            raise UserError(f"width is {width} and sizes {list(sizes)}; filters have a width and sizes of at least 1")
        channels, _, values = self.image_shape
        self.filters = nn.ModuleList([nn.Conv1d(channels * values, width, size, padding=size // 2) for size in sizes])
        self.classifier = nn.Linear(width * len(sizes), num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the largest answer of every filter (N, F) for sentences (N, C, L, D), none below zero."""
        words = words_of(x).transpose(1, 2)
        return F.relu(torch.cat([convolution(words).amax(2) for convolution in self.filters], dim=1))


class BagOfWords(Learner):
    """The mean of the word vectors, then one hidden layer: order does not matter to it.

    Args:
        num_classes: Number of classes K, at least 2.
        image_shape: (C, L, D) of the sentences.
        width: Units of the hidden layer, at least 1.

    Raises:
        UserError: A number under 1.

    Source:
        Iyyer et al. 2015, "Deep Unordered Composition Rivals Syntactic Methods for Text Classification" (one layer).
    """

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int], width: int = 64) -> None:
        super().__init__(num_classes, image_shape)
        if width < 1:
            raise UserError(f"width is {width}; the hidden layer needs at least 1 unit")
        self.hidden = nn.Linear(self.image_shape[0] * self.image_shape[2], width)
        self.classifier = nn.Linear(width, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the hidden layer (N, width) for sentences (N, C, L, D)."""
        # Scaled by the root: the mean of L independent vectors is shorter than one of them.
        length = x.shape[2]
        return F.relu(self.hidden(words_of(x).mean(1) * length**0.5))


class TextGRU(Learner):
    """A gated recurrent unit that reads the sentence from its first word to its last.

    Written out step by step: torch's own keeps its weights in a list that other weights cannot be put into.

    Args:
        num_classes: Number of classes K, at least 2.
        image_shape: (C, L, D) of the sentences.
        width: Units of the state, at least 1.

    Raises:
        UserError: A number under 1.

    Source:
        Cho et al. 2014, "Learning Phrase Representations using RNN Encoder-Decoder", as ``torch.nn.GRU`` has it. The
        classifier sees the mean of the states.
    """

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int], width: int = 64) -> None:
        super().__init__(num_classes, image_shape)
        if width < 1:
            raise UserError(f"width is {width}; the state needs at least 1 unit")
        self.width = width
        self.word = nn.Linear(self.image_shape[0] * self.image_shape[2], 3 * width)
        self.state = nn.Linear(width, 3 * width)
        self.classifier = nn.Linear(width, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the mean over the words of the states (N, width) for sentences (N, C, L, D)."""
        return self.states(x).mean(1)

    def states(self, x: Tensor) -> Tensor:
        """Return the state after every word (N, L, width)."""
        words = self.word(words_of(x))  # (N, L, 3 width)
        state = words.new_zeros(len(words), self.width)
        passed = []
        for word in words.unbind(1):
            reset, update, new = word.chunk(3, dim=1)
            own_reset, own_update, own_new = self.state(state).chunk(3, dim=1)
            update = torch.sigmoid(update + own_update)
            new = torch.tanh(new + torch.sigmoid(reset + own_reset) * own_new)
            state = (1 - update) * new + update * state
            passed.append(state)
        return torch.stack(passed, 1)
