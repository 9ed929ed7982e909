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

# Each with C_miss, C_fa, P_target and its plan; after "see" the code or page the figures were compared with,
# which for SRE24 is the only source there was.
PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        # 1, 1, 0.01: Nagrani et al., "VoxCeleb", 2017, section 5; see 3D-Speaker and WeSpeaker.
        "voxceleb": (OperatingPoint(0.01),),
        # 1, 1, 0.05: VoxSRC 2022, "Minimum detection cost"; see README.md of JaesungHuh/VoxSRC2022.
        "voxsrc": (OperatingPoint(0.05),),
        # 1, 1, 0.01: CNSRC 2022 plan, "Evaluation metrics"; see the CN-Celeb recipe of WeSpeaker.
        "cnceleb": (OperatingPoint(0.01),),
        # 10, 1, 0.01: NIST SRE 2008 plan, section 3; see R/zzz.R of davidavdav/ROC ("pre10").
        "sre08": (OperatingPoint(0.01, c_miss=10.0),),
        # 1, 1, 0.001 for the core test: NIST SRE 2010 plan (r6), section 3; see R/zzz.R of davidavdav/ROC.
        "sre10": (OperatingPoint(0.001),),
        # 1, 1, 0.01 and 0.001: NIST SRE 2012 plan (v17), section 3; see R/zzz.R of davidavdav/ROC. P_fa is
        # the mean over known and unknown non-target speakers (P_known = 0.5): equalise these two partitions.
        "sre12": (OperatingPoint(0.01), OperatingPoint(0.001)),
        # 1, 1, 0.01 and 0.005, partitions equalised: NIST SRE 2016 plan (v1.3), section 3; see NIST's scorer.
        "sre16": _CTS,
        # As SRE16: NIST SRE 2018 plan (v6), section 3.1; see egs/sre19-cmn2 of hyperion-ml/hyperion. The VAST
        # part has 0.05 (README.md of VoxSRC2022).
        "sre18-cmn2": _CTS,
        # As SRE16: NIST SRE 2019 CTS Challenge plan, section 3; see egs/sre19-cmn2 of hyperion-ml/hyperion.
        "sre19": _CTS,
        # 1, 1, 0.01 and 0.05, partitions equalised: NIST SRE 2021 plan, section 3; see score_sre21.py in
        # egs/sre21-av-a of hyperion-ml/hyperion.
        "sre21": (OperatingPoint(0.01), OperatingPoint(0.05)),
        # 1, 1, 0.01 and 0.005: NIST SRE 2024 plan, "Performance measurement"; see "prior-eval" in the fusion
        # script of the SRE24 recipe of hyperion-ml/hyperion. Compare with the plan before quoting C_primary.
        "sre24": _CTS,
    }
)
DEFAULT_PRESETS: Mapping[str, Preset] = MappingProxyType(
    {name: PRESETS[name] for name in ("voxceleb", "voxsrc")}
)


def points_of(presets: Mapping[str, Preset]) -> dict[str, OperatingPoint]:
    """The distinct points of ``presets`` by their text, in order; two evaluations may share one."""
    return {str(point): point for preset in presets.values() for point in preset}


DEFAULT_POINTS: Mapping[str, OperatingPoint] = MappingProxyType(points_of(DEFAULT_PRESETS))
