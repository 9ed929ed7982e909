"""What the settings of all perturbations share: a probability, and ranges that are drawn from.

``class NoiseConfig(Perturbation): min_snr_db: float = 0.0; max_snr_db: float = 15.0``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Perturbation:
    """Base of the settings: ``probability`` that a crop is perturbed, 0 being off.

    A pair of fields ``min_x`` and ``max_x`` is a range; ``draw("x", rng)`` draws from it.
    """

    probability: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability: must be 0 to 1, not {self.probability}")
        values = vars(self)
        for name in values:
            other = name.replace("min_", "max_", 1)
            if name.startswith("min_") and other in values and values[name] > values[other]:
                raise ValueError(f"{name}: {values[name]} exceeds {other} {values[other]}")

    def draw(self, name: str, rng: np.random.Generator) -> float:
        """A number evenly distributed from ``min_<name>`` to ``max_<name>``."""
        return float(rng.uniform(getattr(self, f"min_{name}"), getattr(self, f"max_{name}")))
