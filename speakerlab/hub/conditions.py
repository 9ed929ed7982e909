"""The recordings that a calibration holds for: ranges of speech, level and bandwidth of those it was made on.

In: what ``embed.speech_check`` measured; out: in words, why a recording lies outside.
``Conditions.of(checks).outside(check)`` -> ``("its speech reaches 4.6 kHz, the calibration's 7.0 kHz",)``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from speakerlab import logs
from speakerlab.embed import speech_check
from speakerlab.embed.speech_check import SpeechCheck
from speakerlab.errors import AudioError
from speakerlab.io import audio

if TYPE_CHECKING:
    from speakerlab.data.datadir import DataDir

SHARE = 0.01  # of the recordings, that lie below a range, and above it
LEVEL_MARGIN_DB = 20.0  # normalisation removes a level itself: only what comes with far other levels counts
MAX_HEARD = 1000  # utterances; ranges need no more
# Speech to 4 kHz reaches 3.8 kHz in a file of 8 kHz and 4.6 kHz in one of 16 kHz. A band is 1.237 wide:
# speech that reaches 5.7 kHz is no such as reaches 7 kHz.
BAND_MARGIN = 1.22


@dataclass(frozen=True, slots=True)
class Conditions:
    """Ranges, lowest and highest, without the extreme hundredth on either side.

    Attributes:
        speech_s: seconds of speech in a recording.
        level_db: RMS of the loud frames, dB over full scale.
        bandwidth_hz: how far the spectrum of the speech reaches.

    Raises:
        ValueError: a range that is not finite, or ends below its beginning.
    """

    speech_s: tuple[float, float]
    level_db: tuple[float, float]
    bandwidth_hz: tuple[float, float]

    def __post_init__(self) -> None:
        for low, high in (self.speech_s, self.level_db, self.bandwidth_hz):
            if not (math.isfinite(low) and math.isfinite(high) and low <= high):
                raise ValueError(f"{low}..{high} is no range")

    @classmethod
    def of(cls, checks: Iterable[SpeechCheck]) -> Conditions:
        """The ranges of ``checks`` of waveforms, at least one."""
        rows = [(check.speech_s, check.level_db, check.bandwidth_hz) for check in checks]
        low, high = np.quantile(np.array(rows, dtype=np.float64), (SHARE, 1 - SHARE), axis=0).tolist()
        speech_s, level_db, bandwidth_hz = zip(low, high, strict=True)
        return cls(speech_s, level_db, bandwidth_hz)

    @classmethod
    def of_data(cls, data: DataDir, utt_ids: Collection[str]) -> Conditions | None:
        """The ranges of the utterances ``utt_ids`` of ``data`` in which there is speech; None without any.

        Of more than ``MAX_HEARD`` utterances, as many at equal distances. What cannot be read
        is left out: a calibration is of embeddings, which may outlive the audio.
        """
        chosen = [one for one in data.utterances if one.utt_id in utt_ids]
        chosen = chosen[:: math.ceil(len(chosen) / MAX_HEARD)] if chosen else []
        checks, failed = [], 0
        for one in logs.progress(chosen, "recordings", len(chosen)):
            try:
                found = speech_check.check(audio.read(data.recordings[one.segment.rec_id], one.segment))
            except AudioError:
                failed += 1
                continue
            checks += [] if found.reasons else [found]
        if failed:
            logging.warning("%s: %d of %d recordings cannot be read", data.path, failed, len(chosen))
        return cls.of(checks) if checks else None

    @classmethod
    def from_content(cls, content: Mapping[str, Any]) -> Conditions:
        """The conditions of which ``dataclasses.asdict`` made ``content``, in JSON or out of it.

        Raises:
            TypeError, ValueError: there are none.
        """
        return cls(**{name: (float(low), float(high)) for name, (low, high) in content.items()})

    def outside(self, check: SpeechCheck) -> tuple[str, ...]:
        """Why the recording of ``check`` lies outside; empty where it does not, or only features are known.

        Seconds of speech are no limit: more than in any of them make an embedding better, and less than one
        is a reason of ``speech_check`` already.
        """
        found = []
        reach, (low, high) = check.bandwidth_hz, self.bandwidth_hz
        if reach is not None and not low / BAND_MARGIN <= reach <= high * BAND_MARGIN:
            found.append(
                f"its speech reaches {reach / 1000:.1f} kHz, the calibration's {_range_khz(low, high)}"
            )
        level, (low, high) = check.level_db, self.level_db
        if level is not None and not low - LEVEL_MARGIN_DB <= level <= high + LEVEL_MARGIN_DB:
            found.append(f"its level is {level:.0f} dB, the calibration's {low:.0f} to {high:.0f} dB")
        return tuple(found)


def _range_khz(low: float, high: float) -> str:
    first, last = f"{low / 1000:.1f}", f"{high / 1000:.1f}"
    return f"{last} kHz" if first == last else f"{first} to {last} kHz"
