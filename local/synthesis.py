"""Speech from text by eSpeak NG, loaded from the wheel ``espeakng-loader`` through ctypes.

eSpeak NG is GPL-3: it is used to make the demo corpus and by nothing else. It keeps noise and phase from one
sentence to the next, so the same calls in a fresh process give the same samples, and only those do.
Example: ``with synthesizer() as speech: samples = speech.say("Good morning.", voice)``.
"""

from __future__ import annotations

import ctypes
import importlib.util
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.signal import firwin, resample_poly
from voices import Voice

from speakerlab.errors import DataError, MissingExtraError

SAMPLE_RATE = 16000
ESPEAK_SAMPLE_RATE = 22050
# Values of speak_lib.h: espeak_AUDIO_OUTPUT, espeakINITIALIZE flags, espeak_PARAMETER, encodings.
AUDIO_OUTPUT_SYNCHRONOUS = 2
INITIALIZE_DONT_EXIT = 0x8000
PARAMETER_RATE, PARAMETER_VOLUME = 1, 2
CHARS_UTF8 = 1
UP, DOWN = 320, 441  # 22050 Hz to 16000 Hz
LOW_PASS = firwin(20 * DOWN + 1, 1 / DOWN, window=("kaiser", 5.0))
VOLUME = 50  # of 100: Klatt voices clip above it

Samples = npt.NDArray[np.float64]
Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def require_espeak() -> None:
    """Check that the wheel is there.

    Raises:
        MissingExtraError: it is not installed.
    """
    if importlib.util.find_spec("espeakng_loader") is None:
        raise MissingExtraError("espeakng-loader", "demo")


@contextmanager
def synthesizer() -> Iterator[Synthesizer]:
    """A synthesiser with a temporary folder for its voice files."""
    require_espeak()
    with tempfile.TemporaryDirectory() as folder:
        yield Synthesizer(Path(folder))


class Synthesizer:
    """eSpeak NG in this process.

    Args:
        folder: an empty folder with a short path: eSpeak NG keeps paths in buffers of 160 bytes, so that its
            data are linked from there.

    Raises:
        DataError: eSpeak NG does not start.
    """

    def __init__(self, folder: Path) -> None:
        import espeakng_loader  # type: ignore[import-untyped]  # the wheel has no stubs

        self._data = folder / "espeak-ng-data"
        self._data.symlink_to(espeakng_loader.get_data_path())
        self._voice_file = folder / "voice"
        self._chunks: list[bytes] = []
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        rate = self._library.espeak_Initialize(
            AUDIO_OUTPUT_SYNCHRONOUS, 0, bytes(folder), INITIALIZE_DONT_EXIT
        )
        if rate != ESPEAK_SAMPLE_RATE:
            raise DataError(
                self._data, f"eSpeak NG does not start (status {rate})", "reinstall espeakng-loader"
            )
        self._callback = Callback(self._collect)  # kept: the library holds only a pointer to it
        self._library.espeak_SetSynthCallback(self._callback)

    def _collect(self, samples: ctypes._Pointer[ctypes.c_short], num_samples: int, _events: object) -> int:
        if samples and num_samples > 0:
            self._chunks.append(ctypes.string_at(samples, 2 * num_samples))
        return 0

    def say(self, text: str, voice: Voice) -> Samples:
        """``text`` spoken by ``voice``, without the silence around it.

        Returns:
            float64 [S] in [-1, 1] at ``SAMPLE_RATE``.

        Raises:
            DataError: eSpeak NG refuses the voice or says nothing.
        """
        accent_text = (self._data / "lang" / "gmw" / voice.accent).read_text(encoding="utf-8")
        self._voice_file.write_text(voice.definition(accent_text), encoding="utf-8")
        self._chunks.clear()
        encoded = text.encode() + b"\0"
        library = self._library
        failed = (
            library.espeak_SetVoiceByFile(bytes(self._voice_file))
            or library.espeak_SetParameter(PARAMETER_RATE, round(voice.words_per_minute), 0)
            or library.espeak_SetParameter(PARAMETER_VOLUME, VOLUME, 0)
            or library.espeak_Synth(encoded, len(encoded), 0, 1, 0, CHARS_UTF8, None, None)
            or library.espeak_Synchronize()
        )
        samples = np.frombuffer(b"".join(self._chunks), dtype=np.int16) / 32768
        if failed or not np.any(samples):
            raise DataError(self._voice_file, f"eSpeak NG says nothing for {text!r} (status {failed})")
        return trim(resample_poly(samples, UP, DOWN, window=LOW_PASS))


def trim(samples: Samples) -> Samples:
    """``samples`` from the first to the last that reaches a hundredth of the peak."""
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
    return samples[loud[0] : loud[-1] + 1]
