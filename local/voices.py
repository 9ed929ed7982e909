"""Who speaks: seeded voices, their session-to-session variation and their eSpeak NG voice files.

A voice is a point in a space of pitch, vocal-tract and glottis settings; ``draw_voices`` spreads the points
so that no two speakers sound alike. Example: ``voice, *others = draw_voices(80, np.random.default_rng(0))``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

# Accents of English: file names in espeak-ng-data/lang/gmw.
ACCENTS = (
    "en-US",
    "en",
    "en-GB-scotland",
    "en-029",
    "en-GB-x-gbclan",
    "en-GB-x-gbcwmd",
    "en-GB-x-rp",
    "en-US-nyc",
)
CANDIDATES = 12  # voices drawn for each one kept: the farthest from those already there
KLATT_SHARE = 0.3  # of the voices use the Klatt source and resonators instead of eSpeak's harmonics


@dataclass(frozen=True)
class Voice:
    """What stays with a speaker.

    Attributes:
        gender: ``m`` or ``f``.
        accent: one of ``ACCENTS``.
        pitch_hz: lowest pitch of a sentence.
        pitch_range: highest over lowest pitch.
        words_per_minute: speaking rate.
        formants: frequency factors of formants 0 to 8, 1 being eSpeak's own.
        strengths: amplitude factors of the same formants.
        widths: bandwidth factors of the same formants.
        flutter: pitch wobble, eSpeak's scale.
        roughness: cycle-to-cycle irregularity, 0 to 7.
        voicing: loudness of voiced sounds in per cent.
        klatt: 0, or which Klatt voice source, 1 to 4.
    """

    gender: str
    accent: str
    pitch_hz: float
    pitch_range: float
    words_per_minute: float
    formants: tuple[float, ...]
    strengths: tuple[float, ...]
    widths: tuple[float, ...]
    flutter: int
    roughness: int
    voicing: int
    klatt: int

    def definition(self, accent_text: str) -> str:
        """An eSpeak NG voice file: the accent's own file ``accent_text``, then this voice's settings."""
        lines = [accent_text, f"pitch {self.pitch_hz:.0f} {self.pitch_hz * self.pitch_range:.0f}"]
        for number, factors in enumerate(zip(self.formants, self.strengths, self.widths, strict=True)):
            percents = " ".join(f"{100 * factor:.0f}" for factor in factors)
            lines.append(f"formant {number} {percents}")
        lines += [f"flutter {self.flutter}", f"roughness {self.roughness}", f"voicing {self.voicing}"]
        if self.klatt:
            lines.append(f"klatt {self.klatt}")
        return "\n".join(lines) + "\n"

    def position(self) -> np.ndarray:
        """Where the voice lies, float64 [7], in units of about one just clearly audible step."""
        first, second, third = self.formants[1:4]
        return np.array(
            [
                np.log(self.pitch_hz) / 0.10,
                np.log(first) / 0.05,
                np.log(second) / 0.05,
                np.log(third) / 0.05,
                self.pitch_range / 0.20,
                np.log(self.words_per_minute) / 0.15,
                2.0 * bool(self.klatt),
            ]
        )

    def in_session(self, rng: np.random.Generator) -> Voice:
        """The same speaker on another day: pitch, liveliness and rate move, the vocal tract hardly does."""
        pitch, liveliness, rate, tract = np.exp(rng.normal(0.0, (0.05, 0.04, 0.07, 0.008)))
        return replace(
            self,
            pitch_hz=self.pitch_hz * pitch,
            pitch_range=1.0 + (self.pitch_range - 1.0) * liveliness,
            words_per_minute=self.words_per_minute * rate,
            formants=tuple(tract * factor for factor in self.formants),
        )


def draw_voice(gender: str, rng: np.random.Generator) -> Voice:
    """One random voice; women have higher pitch and shorter vocal tracts, with an overlap."""
    pitch_hz, tract = (165.0, 1.15) if gender == "f" else (92.0, 0.98)
    length = tract * np.exp(rng.normal(0.0, 0.06))
    return Voice(
        gender=gender,
        accent=str(rng.choice(ACCENTS)),
        pitch_hz=float(pitch_hz * np.exp(rng.normal(0.0, 0.17))),
        pitch_range=float(rng.uniform(1.2, 1.8)),
        words_per_minute=float(rng.uniform(140, 200)),
        formants=tuple(float(length * factor) for factor in np.exp(rng.normal(0.0, 0.05, 9))),
        strengths=tuple(float(factor) for factor in np.exp(rng.normal(0.0, 0.25, 9))),
        widths=tuple(float(factor) for factor in np.exp(rng.normal(0.1, 0.25, 9))),
        flutter=int(rng.integers(0, 12)),
        roughness=int(rng.integers(0, 5)),
        voicing=int(rng.integers(60, 140)),
        klatt=int(rng.integers(1, 5)) if rng.random() < KLATT_SHARE else 0,
    )


def draw_voices(num_voices: int, rng: np.random.Generator) -> list[Voice]:
    """Voices of alternating gender, each the farthest of some candidates from all before it.

    Source: best-candidate sampling (Mitchell, Spectrally optimal sampling, SIGGRAPH 1991).
    """
    voices: list[Voice] = []
    for number in range(num_voices):
        candidates = [draw_voice("mf"[number % 2], rng) for _ in range(CANDIDATES)]
        distances = [nearest_distance(candidate, voices) for candidate in candidates]
        voices.append(candidates[int(np.argmax(distances))])
    return voices


def nearest_distance(voice: Voice, others: list[Voice]) -> float:
    """Distance from ``voice`` to the nearest of ``others``, infinite when there are none."""
    return min((float(np.linalg.norm(voice.position() - o.position())) for o in others), default=np.inf)
