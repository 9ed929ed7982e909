"""What every loss says about its margin: the setting, and the value of the moment.

A loss with a margin derives from ``WithMargin`` and reads ``self.margin``; one without is a
``WithoutMargin``. ``loss.set_margin(0.1)`` is called by the training schedule at every step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn


@dataclass(frozen=True)
class MarginConfig:
    """Settings of a loss with a margin.

    Attributes:
        margin: m, 0 to ``MAX_MARGIN``; a training schedule may raise it from 0.
        scale: s, the factor of all cosines.
    """

    MAX_MARGIN: ClassVar[float] = 1.0
    margin: float = 0.2
    scale: float = 32.0

    def __post_init__(self) -> None:
        self.check_margin(self.margin)
        if self.scale <= 0:
            raise ValueError("scale: must be positive")

    def check_margin(self, margin: float) -> None:
        """Refuse a margin out of range.

        Raises:
            ValueError: not in [0, MAX_MARGIN].
        """
        if not 0 <= margin <= self.MAX_MARGIN:
            raise ValueError(f"margin: must be in [0, {self.MAX_MARGIN:.4g}], not {margin}")


@dataclass(frozen=True)
class SmoothedMarginConfig(MarginConfig):
    """Those of ``MarginConfig``, and label smoothing.

    Attributes:
        label_smoothing: share of the target's probability spread over all classes.
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.label_smoothing < 1:
            raise ValueError("label_smoothing: must be in [0, 1)")


class WithMargin(nn.Module):
    """A loss whose margin starts as configured."""

    config: MarginConfig

    def __init__(self, config: MarginConfig) -> None:
        super().__init__()
        self.config, self.margin = config, config.margin

    def set_margin(self, margin: float) -> None:
        """Use ``margin`` from now on; the training schedule calls this every step.

        Raises:
            ValueError: not in [0, MAX_MARGIN] of the configuration.
        """
        self.config.check_margin(margin)
        self.margin = margin


class WithoutMargin(nn.Module):
    """A loss that has no margin."""

    def set_margin(self, margin: float) -> None:
        """Accept 0, the margin of a loss that has none.

        Raises:
            ValueError: any other margin.
        """
        if margin != 0:
            raise ValueError(f"margin {margin}: this loss has none; use aam_softmax")
