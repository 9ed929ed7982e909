"""The back-end as one thing and one file: transforms of embeddings, then a scorer.

``backend = Backend.load(path)``; ``table = backend.transform(read_embeddings(scp))``; a score is the inner
product of a row of ``backend.scorer.enroll_factors(...)`` with a row of ``backend.scorer.test_factors(...)``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from speakerlab.backend.cosine import Cosine
from speakerlab.backend.plda import Plda
from speakerlab.backend.scoring import Factors
from speakerlab.backend.transforms import Centre, LengthNorm, Part, Projection, Transform
from speakerlab.errors import DataError
from speakerlab.io import array_file
from speakerlab.types import EmbeddingTable, Float64Array

KIND = "back-end"
FIX = "write it with steps/train_backend.sh"


class Scorer(Part, Protocol):
    """A comparison written as an inner product."""

    def enroll_factors(self, matrix: npt.ArrayLike, counts: npt.ArrayLike) -> Factors:
        """Factors [M, K] of speaker models, in the precision they are to be multiplied in.

        Args:
            matrix: [M, D], the mean of each model's transformed enrolment embeddings.
            counts: [M], how many embeddings each row is the mean of.
        """

    def test_factors(self, matrix: npt.ArrayLike) -> Factors:
        """Factors [N, K] of transformed test embeddings ``matrix`` [N, D]."""


PARTS: dict[str, type[Any]] = {
    "centre": Centre,
    "projection": Projection,
    "length_norm": LengthNorm,
    "cosine": Cosine,
    "plda": Plda,
}
_NAMES = {part: name for name, part in PARTS.items()}


@dataclass(frozen=True, eq=False)
class Backend:
    """All that is done between embeddings and scores.

    Attributes:
        transforms: applied to every embedding, in this order.
        scorer: what compares the results.
        source: what it was trained on, in words.

    Raises:
        DataError: parts whose sizes do not fit.
    """

    transforms: tuple[Transform, ...]
    scorer: Scorer
    source: str = ""

    @classmethod
    def default(cls) -> Backend:
        """Without training: cosine of length-normalised embeddings, no mean subtracted."""
        return cls((LengthNorm(),), Cosine(), "nothing")

    def __post_init__(self) -> None:
        matrix = np.zeros((1, self.dim or 1))
        for part in self.parts:
            if part.dim not in {None, matrix.shape[1]}:
                why = f"{part.describe()} takes size {part.dim}, what comes before leaves {matrix.shape[1]}"
                raise DataError("back-end", why)
            if part is not self.scorer:
                matrix = cast(Transform, part).apply(matrix)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The transforms, then the scorer."""
        return (*self.transforms, self.scorer)

    def describe(self) -> str:
        """One line that names all that is done."""
        return ", ".join(part.describe() for part in self.parts)

    @property
    def dim(self) -> int | None:
        """The size of embeddings it takes; None if any."""
        return next((part.dim for part in self.parts if part.dim is not None), None)

    def transform(self, table: EmbeddingTable) -> EmbeddingTable:
        """The embeddings in ``table``, ready for the scorer; computed in float64, kept in float32.

        Raises:
            DataError: they have another size; one is zero where lengths are normalised.
        """
        return EmbeddingTable(table.ids, self.rows(table).astype(np.float32), table.name)

    def rows(self, table: EmbeddingTable) -> Float64Array:
        """What ``transform`` makes of the rows of ``table``, in float64."""
        self.check_size(table)
        matrix = table.matrix.astype(np.float64)
        for step, part in enumerate(self.transforms):
            if isinstance(part, LengthNorm):
                self._check_direction(table, matrix, step)
            matrix = part.apply(matrix)
        return matrix

    def check_size(self, table: EmbeddingTable) -> None:
        """Whether the embeddings in ``table`` have the size that the back-end takes.

        Raises:
            DataError: they have not.
        """
        size = table.matrix.shape[1]
        if self.dim not in {None, size}:
            why = f"{size}-d embeddings but the back-end takes {self.dim}-d"
            raise DataError(table.name, why, "train the back-end on embeddings of the same model")

    def _check_direction(self, table: EmbeddingTable, matrix: Float64Array, step: int) -> None:
        """No row of ``matrix``, what the first ``step`` transforms made of ``table``, may be zero."""
        zero = np.flatnonzero(~matrix.any(axis=1))
        if len(zero):
            done = ", ".join(part.describe() for part in self.transforms[:step])
            after = f" after: {done}" if done else ""
            raise DataError(table.name, f"{table.ids[zero[0]]} is zero{after} ({len(zero)} such embeddings)")

    def save(self, path: Path) -> None:
        """Publish as ``path``, every number exactly."""
        content = {
            "describe": self.describe(),
            "source": self.source,
            "transforms": [_fields(part) for part in self.transforms],
            "scorer": _fields(self.scorer),
        }
        array_file.write(path, KIND, content)

    @classmethod
    def load(cls, path: Path) -> Backend:
        """The back-end in ``path``.

        Raises:
            DataError: it cannot be read, is damaged, or not a back-end file of this version.
        """
        content = array_file.read(path, KIND, FIX)
        try:
            transforms = tuple(_part(fields) for fields in content["transforms"])
            return cls(transforms, _part(content["scorer"]), content["source"])
        except (KeyError, TypeError) as error:
            raise DataError(path, f"not a back-end of this version ({error})", FIX) from error


def _fields(part: Part) -> dict[str, Any]:
    """The part by name, with all it is made of."""
    values = {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}  # type: ignore[arg-type]
    return {"part": _NAMES[type(part)], **values}


def _part(fields: dict[str, Any]) -> Any:
    return PARTS[fields["part"]](**{name: value for name, value in fields.items() if name != "part"})
