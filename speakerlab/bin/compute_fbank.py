"""Compute the features of a data dir (worker of steps/compute_fbank.sh): parts of OUT_DIR/feats.scp.

The front end is that of the experiment settings. Features are stored as computed, without mean
normalisation, as Kaldi does. ``python -m speakerlab.bin.merge_parts --name feats`` publishes them.

Example: python -m speakerlab.bin.compute_fbank --config conf/config.yaml data/train exp/feats/train
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speakerlab import config, logs
from speakerlab.bin import entry
from speakerlab.data import sources
from speakerlab.data.datadir import DataDir
from speakerlab.data.fingerprint import fingerprint
from speakerlab.errors import AudioError
from speakerlab.frontend.framing import without_dither
from speakerlab.io import audio
from speakerlab.io.parts import Part, PartStore
from speakerlab.io.retry import retried
from speakerlab.train.experiment import ExperimentConfig
from speakerlab.types import Float32Array, Recording, Segment

# samples [S] in [-1, 1] -> something per frame: [T, F] or [T]
Compute = Callable[[torch.Tensor], torch.Tensor]


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """What every worker takes that turns the audio of a data dir into frames."""
    parser.add_argument("data_dir", type=Path, help="Kaldi data dir")
    parser.add_argument("out_dir", type=Path, help="where parts are written")
    parser.add_argument("--config", type=Path, default=Path("conf/config.yaml"), help="experiment settings")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting")
    entry.add_job_options(parser)


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    add_data_options(parser)
    return parser


def read_samples(recording: Recording, segment: Segment, sample_rate: int) -> Float32Array:
    """The samples of ``segment``, read again where a read error may pass."""
    return retried(lambda: audio.read(recording, segment, sample_rate)).samples


def write_frames(
    arguments: argparse.Namespace, name: str, frontend: Any, compute: Compute, settings: Mapping[str, Any]
) -> None:
    """Write this job's parts of ``name``: ``compute`` of every utterance of the data dir.

    Args:
        arguments: ``add_data_options``.
        name: of the parts and of the scp.
        frontend: says the sample rate and the number of frames.
        compute: of the samples of one utterance.
        settings: what the numbers depend on besides the audio; parts made with others are refused.
    """
    data = DataDir.load(arguments.data_dir)
    segments = {utterance.utt_id: utterance.segment for utterance in data.utterances}

    def results(part: Part) -> Iterator[tuple[str, Float32Array | AudioError]]:
        for utt_id in part.keys:
            segment = segments[utt_id]  # type: ignore[index]
            try:
                samples = read_samples(data.recordings[segment.rec_id], segment, frontend.sample_rate)
                if not frontend.num_frames(len(samples)):
                    raise AudioError(utt_id, f"{len(samples)} samples are shorter than one frame")
                values = compute(torch.from_numpy(samples)).numpy()
                if not np.isfinite(values).all():
                    raise AudioError(utt_id, f"NaN or Inf {name}")
            except AudioError as error:
                yield utt_id, error
            else:
                yield utt_id, values

    made_from = {**fingerprint(arguments.data_dir), **{key: str(value) for key, value in settings.items()}}
    store = PartStore(arguments.out_dir, name, data.utt_ids, made_from, [sources.audio(data)])
    store.check_or_claim()
    todo = store.pending(arguments.job, arguments.num_jobs)
    for part in logs.progress(todo, name, total=len(todo)):
        store.write(part, results(part))


def main(arguments: argparse.Namespace) -> None:
    """Compute this job's share."""
    section = without_dither(config.load(ExperimentConfig, arguments.config, arguments.set).frontend)
    settings = {f"frontend.{key}": value for key, value in config.to_mapping(section).items()}
    frontend = section.build()
    write_frames(arguments, "feats", frontend, frontend, settings)


if __name__ == "__main__":
    entry.run(main, options())
