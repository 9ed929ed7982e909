"""The pipeline API: ``from speakerlab.pipeline import pipeline``."""

from speakerlab.pipeline.verification import Pipeline, pipeline

__all__ = ["Pipeline", "pipeline"]
