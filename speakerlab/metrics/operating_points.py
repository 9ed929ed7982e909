"""Applications that detection costs are computed for: priors, costs of errors, and presets by evaluation.

In: the name of an evaluation; out: its ``OperatingPoint`` tuple. ``PRESETS["sre16"]``; a plan that names
several points averages their normalised costs into its primary metric, C_primary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from speakerlab.types import Float64Array


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """An application: the prior of a target and the costs of the two errors.

    Raises:
        ValueError: a prior outside (0, 1), a cost that is not positive.
    """

    p_target: float
    c_miss: float = 1.0
    c_fa: float = 1.0

    def __post_init__(self) -> None:
        if not (0 < self.p_target < 1 and self.c_miss > 0 and self.c_fa > 0):
            raise ValueError(f"{self}: the prior must be within (0, 1) and the costs above 0")

    def __str__(self) -> str:
        """``0.01`` where both costs are 1, else ``0.01, 10:1`` with the costs of a miss and a false alarm."""
        costs = "" if self.c_miss == self.c_fa == 1 else f", {self.c_miss:g}:{self.c_fa:g}"
        return f"{self.p_target:g}{costs}"

    @property
    def log_odds(self) -> float:
        """Effective prior log-odds: what a single prior with both costs 1 would need to decide alike."""
        return math.log(self.c_miss * self.p_target) - math.log(self.c_fa * (1.0 - self.p_target))

    @property
    def bayes_threshold(self) -> float:
        """The log-likelihood ratio from which accepting costs less than rejecting, natural log."""
        return -self.log_odds

    def cost(self, p_miss: Float64Array, p_fa: Float64Array) -> Float64Array:
        """Detection cost over that of the better system that ignores the speech (NIST SRE16 plan, section 3).

        Args:
            p_miss: miss rates, any shape.
            p_fa: false-alarm rates, the same shape.
        """
        miss_weight, fa_weight = self.c_miss * self.p_target, self.c_fa * (1.0 - self.p_target)
        return (miss_weight * p_miss + fa_weight * p_fa) / min(miss_weight, fa_weight)


Preset = tuple[OperatingPoint, ...]

_CTS = (OperatingPoint(0.01), OperatingPoint(0.005))

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        # Nagrani et al., "VoxCeleb", 2017, section 5: C_miss = C_fa = 1, P_target = 0.01.
        "voxceleb": (OperatingPoint(0.01),),
        # VoxSRC 2019-2023 rules: 1, 1, 0.05 (compute_min_dcf.py of the challenges' toolkit).
        "voxsrc": (OperatingPoint(0.05),),
        # Fan et al., "CN-Celeb", 2020, and the CNSRC 2022 plan, "evaluation metrics": 1, 1, 0.01.
        "cnceleb": (OperatingPoint(0.01),),
        # NIST SRE 2008 plan, section 3, "Performance measure": 10, 1, 0.01.
        "sre08": (OperatingPoint(0.01, c_miss=10.0),),
        # NIST SRE 2010 plan (r6), section 3: 1, 1, 0.001 for the core and 8conv/core tests.
        "sre10": (OperatingPoint(0.001),),
        # NIST SRE 2012 plan (v17), section 3: mean over P_target-A1 = 0.01 and P_target-A2 = 0.001. Its P_fa
        # is the mean over known and unknown non-target speakers (P_known = 0.5): equalise these partitions.
        "sre12": (OperatingPoint(0.01), OperatingPoint(0.001)),
        # NIST SRE 2016 plan (v1.3), section 3: mean over 0.01 and 0.005, partitions equalised.
        "sre16": _CTS,
        # NIST SRE 2018 plan, section 3, CMN2 (telephone): as SRE16. Its VAST part has 0.05 instead.
        "sre18-cmn2": _CTS,
        # NIST SRE 2019 CTS Challenge plan, section 3: as SRE18 CMN2. The audio-visual part has 0.05 instead.
        "sre19": _CTS,
        # NIST SRE 2021 plan, section 3: mean over 0.01 and 0.05, partitions equalised.
        "sre21": (OperatingPoint(0.01), OperatingPoint(0.05)),
        # NIST SRE 2024 plan, section 3: as SRE21.
        "sre24": (OperatingPoint(0.01), OperatingPoint(0.05)),
    }
)
DEFAULT_PRESETS: Mapping[str, Preset] = MappingProxyType(
    {name: PRESETS[name] for name in ("voxceleb", "voxsrc")}
)


def points_of(presets: Mapping[str, Preset]) -> dict[str, OperatingPoint]:
    """The distinct points of ``presets`` by their text, in order; two evaluations may share one."""
    return {str(point): point for preset in presets.values() for point in preset}


DEFAULT_POINTS: Mapping[str, OperatingPoint] = MappingProxyType(points_of(DEFAULT_PRESETS))
