"""Moved."""
from speakerlab.torchaudio_import import functional, kaldi
__all__ = ["functional", "kaldi"]
