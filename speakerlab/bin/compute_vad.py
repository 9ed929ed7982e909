"""Mark frames of speech by energy, Kaldi's rule (worker of steps/compute_vad.sh): parts of OUT_DIR/vad.scp.

Frames are those of the front end in the experiment settings; decisions are a vector of 0 and 1 per utterance.
``python -m speakerlab.bin.merge_parts --name vad`` publishes them.

Example: python -m speakerlab.bin.compute_vad --config conf/config.yaml data/train exp/vad/train
"""

from __future__ import annotations

import argparse
from functools import partial

from speakerlab import config
from speakerlab.bin import entry
from speakerlab.bin.compute_fbank import add_data_options, write_frames
from speakerlab.frontend.vad import VadConfig, compute_vad
from speakerlab.train.experiment import ExperimentConfig

FRAMING = ("sample_rate", "frame_length_ms", "frame_shift_ms", "snip_edges")


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    add_data_options(parser)
    rule = parser.add_argument_group("rule (speech is louder than threshold + scale * mean log energy)")
    default = VadConfig()
    rule.add_argument("--energy-threshold", type=float, default=default.energy_threshold, help="threshold")
    rule.add_argument("--energy-mean-scale", type=float, default=default.energy_mean_scale, help="scale")
    rule.add_argument(
        "--frames-context", type=int, default=default.frames_context, help="frames looked at on each side"
    )
    rule.add_argument(
        "--proportion-threshold",
        type=float,
        default=default.proportion_threshold,
        help="share of them that must be loud",
    )
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Compute this job's share."""
    rule_keys = config.to_mapping(VadConfig())
    rule = config.from_mapping(VadConfig, {key: getattr(arguments, key) for key in rule_keys}, "options")
    section = config.load(ExperimentConfig, arguments.config, arguments.set).frontend
    settings = {
        **{f"frontend.{key}": getattr(section.config, key) for key in FRAMING},
        **{f"vad.{key}": value for key, value in config.to_mapping(rule).items()},
    }
    decide = partial(compute_vad, framing=section.config, config=rule)
    write_frames(arguments, "vad", section.build(), decide, settings)


if __name__ == "__main__":
    entry.run(main, options())
