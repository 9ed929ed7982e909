"""Waveform to feature matrix; voice activity; mean normalisation."""
