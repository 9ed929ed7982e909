"""People and their voiceprints in a folder, one JSON file a person: readable, exact, safe to copy.

``folder = VoiceprintFolder(Path("voiceprints"), bundle.content_hash)``; ``folder.add("ann", voiceprint)``;
``folder.models(average)`` -> an ``EmbeddingTable``, one speaker model a person. Several
processes may write at once.
"""

from __future__ import annotations

import fcntl
import json
import unicodedata
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from speakerlab.errors import DataError
from speakerlab.io import atomic
from speakerlab.types import EmbeddingTable, Float32Array, Float64Array

MAX_NAME_BYTES = 240  # of the file name a person's name becomes; file systems allow 255
AGAIN = "enrol this person again"


@dataclass(frozen=True)
class Voiceprint:
    """One enrolled recording.

    Attributes:
        embedding: float32 [E], as the network gave it.
        source: where the recording came from.
        speech_s: seconds of speech in it; None where only features were known.
    """

    embedding: Float32Array
    source: str
    speech_s: float | None


class VoiceprintFolder:
    """The people enrolled with one model.

    Args:
        path: the folder; made by the first ``add``.
        model_hash: ``content_hash`` of the bundle; embeddings of another network cannot be compared. None
            where nothing is compared: to count and to remove.
    """

    def __init__(self, path: Path, model_hash: str | None = None) -> None:
        self.path, self._model_hash = path, model_hash

    def counts(self) -> dict[str, int]:
        """How many voiceprints each person has, of whatever model, in order of the names.

        Raises:
            DataError: a file that is damaged.
        """
        found = [self._read(file) for file in self.path.glob("*.json")]
        return dict(sorted((name, len(voiceprints)) for name, _, voiceprints in found))

    def people(self) -> dict[str, list[Voiceprint]]:
        """Everybody's voiceprints by name, in order of the names.

        Raises:
            DataError: a file that is damaged, or of another model.
        """
        return {name: self._of_model(self._file(name)) for name in self.counts()}

    def models(self, average: Callable[[Float32Array], Float64Array]) -> EmbeddingTable:
        """One row a person, float32 [P, E] of length 1.

        Args:
            average: from the embeddings [N, E] of a person to a direction [E].

        Raises:
            DataError: nobody is enrolled, or as ``people``.
        """
        people = self.people()
        if not people:
            raise DataError(self.path, "nobody is enrolled here", "run: speakerlab enroll NAME AUDIO")
        rows = [_direction(average, voiceprints) for voiceprints in people.values()]
        return EmbeddingTable(tuple(people), np.stack(rows), str(self.path))

    def add(self, name: str, voiceprints: Sequence[Voiceprint]) -> int:
        """Enrol ``voiceprints`` beside those that ``name`` has; returns how many there are now.

        Raises:
            DataError: a name that is empty or too long, embeddings that are not finite or of another size,
                or as ``people``.
        """
        file = self._file(name)
        if not voiceprints:
            raise DataError(file, "no recording to enrol")
        with self._lock():
            known = self._of_model(file) if file.exists() else []
            together = [*known, *voiceprints]
            sizes = {voiceprint.embedding.shape for voiceprint in together}
            if len(sizes) != 1 or not all(np.isfinite(v.embedding).all() for v in voiceprints):
                raise DataError(file, "embeddings must be finite and of one size", AGAIN)
            self._write(file, name, together)
        return len(together)

    def remove(self, name: str) -> bool:
        """Forget ``name``; whether there was such a person."""
        file = self._file(name)
        if not file.exists():
            return False
        with self._lock(), atomic.writing(file):
            existed = file.exists()
            file.unlink(missing_ok=True)
        return existed

    def _file(self, name: str) -> Path:
        """The file of ``name``: percent-encoded, so that no name leaves the folder."""
        quoted = urllib.parse.quote(_normalised(name), safe=" ")
        if not name.strip() or len(quoted) > MAX_NAME_BYTES:
            raise DataError(self.path, f"'{name}' cannot be a name", "use 1 to 80 letters")
        return self.path / f"{quoted}.json"

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One writer at a time: two that enrol the same person both count."""
        with atomic.writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            stream = (self.path / ".lock").open("w")
        with stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _of_model(self, file: Path) -> list[Voiceprint]:
        _, model_hash, voiceprints = self._read(file)
        if model_hash != self._model_hash:
            why = "was enrolled with another model, whose voiceprints cannot be compared with this one's"
            raise DataError(file, why, f"{AGAIN}, in another folder or after removing it")
        return voiceprints

    def _read(self, file: Path) -> tuple[str, str, list[Voiceprint]]:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            name, model_hash = str(content["name"]), str(content["model"])
            voiceprints = [
                Voiceprint(np.array(v["embedding"], dtype=np.float32), str(v["source"]), v["speech_s"])
                for v in content["voiceprints"]
            ]
            intact = self._file(name) == file and all(
                v.embedding.ndim == 1 and np.isfinite(v.embedding).all() for v in voiceprints
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(file, "is not an intact voiceprint file", f"remove it and {AGAIN}") from error
        if not (intact and voiceprints):
            raise DataError(file, "is not an intact voiceprint file", f"remove it and {AGAIN}")
        return name, model_hash, voiceprints

    def _write(self, file: Path, name: str, voiceprints: Sequence[Voiceprint]) -> None:
        rows = [{**asdict(v), "embedding": v.embedding.tolist()} for v in voiceprints]
        content = {"name": _normalised(name), "model": self._model_hash, "voiceprints": rows}
        atomic.write_text(file, json.dumps(content, ensure_ascii=False) + "\n")


def _normalised(name: str) -> str:
    """One spelling of a name that keyboards compose differently (Unicode NFC), without outer spaces."""
    return unicodedata.normalize("NFC", name.strip())


def _direction(
    average: Callable[[Float32Array], Float64Array], voiceprints: Sequence[Voiceprint]
) -> Float32Array:
    mean = average(np.stack([voiceprint.embedding for voiceprint in voiceprints]))
    direction: Float32Array = (mean / np.linalg.norm(mean)).astype(np.float32)
    return direction
