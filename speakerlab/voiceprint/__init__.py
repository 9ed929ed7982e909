"""Enrolled people and their voiceprints."""
