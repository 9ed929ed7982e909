"""Are two recordings alike? python embed.py libspeaker_engine.so MODEL.onnx FIRST.wav SECOND.wav."""

import ctypes
import sys

library, model_path, *recordings = (text.encode() for text in sys.argv[1:])
engine = ctypes.CDLL(library.decode())
engine.speaker_open.restype = ctypes.c_void_p
engine.speaker_open.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
engine.speaker_dim.restype = ctypes.c_size_t
engine.speaker_dim.argtypes = engine.speaker_close.argtypes = [ctypes.c_void_p]
engine.speaker_last_error.restype = ctypes.c_char_p
engine.speaker_cosine.restype = ctypes.c_double
engine.speaker_cosine.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
engine.speaker_embed_file.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t]


def embedded(model: int, path: bytes) -> ctypes.Array[ctypes.c_float]:
    """The embedding of the recording ``path``."""
    values = (ctypes.c_float * engine.speaker_dim(model))()
    if engine.speaker_embed_file(model, path, values, len(values)):
        sys.exit(engine.speaker_last_error().decode())
    return values


opened = engine.speaker_open(model_path, None)
if not opened:
    sys.exit(engine.speaker_last_error().decode())
first, second = (embedded(opened, path) for path in recordings)
print(f"{engine.speaker_cosine(first, second, len(first)):g}")  # noqa: T201
engine.speaker_close(opened)
