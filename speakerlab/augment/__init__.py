"""Waveform and feature perturbations for training."""
