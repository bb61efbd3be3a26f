"""Words as vectors: the table through which networks see sentences, and the way back to the nearest words."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal, Self, get_args

import torch
from torch import Tensor

from gendistill.errors import UserError, did_you_mean

PAD, UNKNOWN = "<pad>", "<unk>"
"""The first two words of every table: what fills a short sentence, and what stands for a word that is not there."""

Metric = Literal["euclidean", "cosine"]
METRICS: tuple[Metric, ...] = get_args(Metric)
VECTORS, WORDS = "embedding.vectors", "embedding.words"
"""Tensors of a teacher's file that hold a table."""
DISTANCES = 2**24
"""Distances (64 MiB) computed at a time."""


class Embedding:
    """A frozen table of word vectors; equal when all words and numbers are.

    Args:
        words: V different words, the first two :data:`PAD` and :data:`UNKNOWN`. A token is a place in this list.
        vectors: (V, D) float, one a word; that of the padding is zero.

    Raises:
        UserError: The sizes do not belong together, a word is there twice, or a value is not finite.
    """

    def __init__(self, words: Sequence[str], vectors: Tensor) -> None:
        if vectors.ndim != 2 or len(vectors) != len(words) or len(words) < 3 or not vectors.shape[1]:
            raise UserError(
                f"an embedding needs three or more words and vectors (V, D) for them, got {len(words)} words and "
                f"{tuple(vectors.shape)}"
            )
        if tuple(words[:2]) != (PAD, UNKNOWN) or len(set(words)) != len(words) or any("\n" in word for word in words):
            raise UserError(f"the words of an embedding are {PAD}, {UNKNOWN} and others, each once and on one line")
        if not vectors.is_floating_point() or not bool(vectors.isfinite().all()) or bool(vectors[0].any()):
            raise UserError(f"vectors of an embedding are finite numbers, and that of {PAD} is zero")
        self.words = tuple(words)
        self.vectors = vectors.detach().to("cpu", torch.float32).contiguous()
        digest = hashlib.sha256("\n".join(self.words).encode())
        digest.update(self.vectors.numpy().tobytes())
        self.sha256 = digest.hexdigest()
        self._placed: dict[torch.device, Tensor] = {}

    @classmethod
    def scaled(cls, words: Sequence[str], vectors: Tensor) -> Self:
        """Return a table whose numbers, but for the padding's, have a mean square of 1.

        All vectors are multiplied by one number, which changes no angle: standard normal noise, from which distillation
        may start, then is as long as words are.

        Args:
            words: V words without the padding; the first is :data:`UNKNOWN`.
            vectors: (V, D).
        """
        scale = vectors.double().square().mean().sqrt().clamp(min=1e-12)
        return cls((PAD, *words), torch.cat((torch.zeros_like(vectors[:1]), vectors / scale)))

    @property
    def size(self) -> int:
        """Numbers of a vector, D."""
        return self.vectors.shape[1]

    def apply(self, tokens: Tensor) -> Tensor:
        """Return embedded sentences (N, 1, L, D) float32 of tokens (N, 1, L, 1)."""
        return self._on(tokens.device)[tokens.squeeze(-1).long()]

    def nearest(self, vectors: Tensor, count: int = 1, metric: str = "euclidean") -> tuple[Tensor, Tensor]:
        """Return the tokens nearest to vectors, nearest first.

        Args:
            vectors: (..., D).
            count: Tokens for each, 1..V.
            metric: ``euclidean`` distance, or ``cosine``: 1 - cos. The angle of the padding, whose vector is zero, is
                with none but a zero vector, to which it is nearest.

        Returns:
            Tokens (..., count) int64 and their distances (..., count).

        Raises:
            UserError: Unknown metric, a count out of range, or vectors of another size.
        """
        if metric not in METRICS:
            hint = did_you_mean(metric, METRICS)
            raise UserError(f"metric is '{metric}'; {hint}choose one of: {', '.join(METRICS)}")
        if not 1 <= count <= len(self.words):
            raise UserError(f"{count} nearest words were asked for; this embedding has 1..{len(self.words)}")
        if vectors.shape[-1] != self.size:
            raise UserError(f"vectors have {vectors.shape[-1]} numbers, those of this embedding {self.size}")
        table = self._on(vectors.device)
        measure = _cosine if metric == "cosine" else _euclidean
        found = [
            measure(part, table).topk(count, largest=False)
            for part in vectors.detach().float().reshape(-1, self.size).split(max(1, DISTANCES // len(table)))
        ]
        shape = (*vectors.shape[:-1], count)
        return torch.cat([one.indices for one in found]).view(shape), torch.cat([one.values for one in found]).view(
            shape
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return what a file needs to hold the table: the vectors, and the words as UTF-8 with line ends between."""
        text = "\n".join(self.words).encode()
        return {VECTORS: self.vectors, WORDS: torch.frombuffer(bytearray(text), dtype=torch.uint8).clone()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Build the table from what :meth:`tensors` gave.

        Raises:
            UserError: The words cannot be read, or do not fit the vectors.
        """
        try:
            words = tensors[WORDS].cpu().numpy().tobytes().decode().split("\n")
        except UnicodeDecodeError as error:
            raise UserError(f"the words of the embedding cannot be read ({error}); make the teacher again") from error
        return cls(words, tensors[VECTORS])

    def _on(self, device: torch.device) -> Tensor:
        if device not in self._placed:
            self._placed[device] = self.vectors.to(device)
        return self._placed[device]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Embedding) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __repr__(self) -> str:
        return f"Embedding({len(self.words)} words, {self.size}, {self.sha256[:16]})"


def _euclidean(vectors: Tensor, table: Tensor) -> Tensor:
    # Not by products, whose rounding would give a word's own vector a distance from itself.
    return torch.cdist(vectors, table, compute_mode="donot_use_mm_for_euclid_dist")


def _cosine(vectors: Tensor, table: Tensor) -> Tensor:
    distances = 1 - torch.nn.functional.normalize(vectors, dim=-1) @ torch.nn.functional.normalize(table, dim=-1).T
    distances[:, 0] = torch.where(vectors.any(-1), torch.inf, 0.0)
    return distances
