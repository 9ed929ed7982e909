"""Speaker recognition: Kaldi-style recipes on a small, typed Python library.

Importing this package is light: torch is imported by the modules that compute with it.
"""

__version__ = "0.1.0"
