"""Options that another option makes useless: without a word, something else would be trained than was asked.

``problems = unused.options(config, feats_type="fbank", use_vad=True, has_noises=False, ...)``: one line each.
"""

from __future__ import annotations

from dataclasses import fields

from speakerlab.augment.perturbation import Perturbation
from speakerlab.train.experiment import ExperimentConfig


def options(
    config: ExperimentConfig,
    *,
    feats_type: str,
    use_vad: bool,
    has_noises: bool,
    has_rirs: bool,
    has_valid_data: bool,
) -> list[str]:
    """What would have no effect, with the remedy; empty if all options count."""
    augment = config.augment
    if feats_type == "fbank":
        return _of_features(config, has_noises=has_noises, has_rirs=has_rirs)
    recorded = augment.reverb.probability > 0 and augment.reverb.simulated < 1
    found = {
        "--use-vad: training from audio uses every frame; give --feats-type fbank": use_vad
        and not has_valid_data,
        "--noise-data: augment.noise.probability is 0; raise it, or give no noises": has_noises
        and augment.noise.probability == 0,
        "--rir-data: augment.reverb asks for no recorded rooms; set its probability above 0 and simulated "
        "below 1, or give none": has_rirs and not recorded,
    }
    return [text for text, is_unused in found.items() if is_unused]


def _of_features(config: ExperimentConfig, *, has_noises: bool, has_rirs: bool) -> list[str]:
    """What cannot be done to stored features."""
    because = "stored features are used as they are"
    found = []
    if len(config.sampling.speeds) > 1:
        found.append(f"sampling.speeds: {because}; set [1.0]")
    for field in fields(config.augment):
        perturbation = getattr(config.augment, field.name)
        if isinstance(perturbation, Perturbation) and perturbation.probability > 0:
            found.append(f"augment.{field.name}.probability: {because}; set 0")
    if getattr(config.frontend.config, "dither", 0) > 0:
        found.append(f"frontend.dither: {because}; set 0")
    given = (("--noise-data", has_noises), ("--rir-data", has_rirs))
    return found + [f"{name}: {because}; leave it out" for name, is_given in given if is_given]
