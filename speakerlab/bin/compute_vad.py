"""Mark frames of speech (worker of steps/compute_vad.sh): parts of OUT_DIR/vad.scp.

By energy, Kaldi's rule, or with the network of Silero VAD. Frames are those of the front end in the
experiment settings; decisions are a vector of 0 and 1 per utterance.
``python -m speakerlab.bin.merge_parts --name vad`` publishes them.

Example: python -m speakerlab.bin.compute_vad --config conf/config.yaml data/train exp/vad/train
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from speakerlab import config
from speakerlab.bin import entry
from speakerlab.bin.compute_fbank import Compute, add_data_options, write_frames
from speakerlab.errors import SpeakerLabError
from speakerlab.frontend.framing import FrameGrid, without_dither
from speakerlab.frontend.silero_vad import SileroConfig, SileroVad
from speakerlab.frontend.vad import VadConfig, compute_vad
from speakerlab.train.experiment import ExperimentConfig

RULES: dict[str, type[Any]] = {"energy": VadConfig, "silero": SileroConfig}


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    add_data_options(parser)
    parser.add_argument("--vad", choices=RULES, default="energy", help="what decides; silero needs the extra")
    energy = {
        "energy_threshold": "threshold",
        "energy_mean_scale": "scale",
        "frames_context": "frames looked at on each side",
        "proportion_threshold": "share of them that must be loud",
    }
    silero = {
        "threshold": "probability that starts speech",
        "neg_threshold": "probability below which it may end",
        "min_speech_s": "shorter speech is dropped",
        "min_silence_s": "shorter pauses belong to the speech around them",
        "pad_s": "what speech grows by on both sides",
    }
    add_rule(
        parser, "energy (speech is louder than threshold + scale * mean log energy)", VadConfig(), energy
    )
    add_rule(parser, "silero", SileroConfig(), silero)
    return parser


def add_rule(
    parser: argparse.ArgumentParser, title: str, default: VadConfig | SileroConfig, helps: Mapping[str, str]
) -> None:
    """One option for each field of ``default``."""
    group = parser.add_argument_group(title)
    for field, text in helps.items():
        value = getattr(default, field)
        group.add_argument(f"--{field.replace('_', '-')}", type=type(value), default=value, help=text)


def decider(rule: VadConfig | SileroConfig, sample_rate: int, grid: FrameGrid) -> Compute:
    """What makes the decisions for the frames of one utterance.

    Raises:
        SpeakerLabError: the front end has no frames but samples.
    """
    if grid.length == 1:
        raise SpeakerLabError("the front end gives samples, not frames to mark; leave --use-vad false")
    if isinstance(rule, VadConfig):
        return partial(compute_vad, grid=grid, config=rule)
    return partial(SileroVad(rule, sample_rate).decisions, grid=grid)


def main(arguments: argparse.Namespace) -> None:
    """Compute this job's share."""
    cls = RULES[arguments.vad]
    chosen = {key: getattr(arguments, key) for key in config.to_mapping(cls())}
    rule = config.from_mapping(cls, chosen, "options")
    frontend = without_dither(config.load(ExperimentConfig, arguments.config, arguments.set).frontend).build()
    settings = {
        "frontend.sample_rate": frontend.sample_rate,
        **{f"frames.{key}": value for key, value in asdict(frontend.grid).items()},
        "vad": arguments.vad,
        **{f"vad.{key}": value for key, value in chosen.items()},
    }
    decide = decider(rule, frontend.sample_rate, frontend.grid)
    write_frames(arguments, "vad", frontend, decide, settings)


if __name__ == "__main__":
    entry.run(main, options())
