"""Train a speaker-embedding network on a Kaldi data dir (worker of steps/train.sh).

Leaves in EXP_DIR: config.yaml (resolved), provenance.json, speakers.txt, train.jsonl, checkpoints/ and
untrained/, a bundle of the network before the first step. A run that was stopped goes on.

Example: speakerlab train --config conf/config.yaml data/train exp/first
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from speakerlab import config as config_io
from speakerlab.augment.pipeline import Augmenter
from speakerlab.bin import entry
from speakerlab.data import sources
from speakerlab.embed.extractor import pick_device
from speakerlab.errors import ConfigError
from speakerlab.hub import bundle
from speakerlab.train import provenance, unused
from speakerlab.train.corpus import TrainCorpus, identity, load_waveforms
from speakerlab.train.dataset import CropDataset, CropSampler
from speakerlab.train.experiment import ExperimentConfig
from speakerlab.train.loop import LOG, Trainer
from speakerlab.train.validation import ValidationSet
from speakerlab.types import Float32Array


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("train_data", type=Path, help="data dir with utt2spk")
    parser.add_argument("exp_dir", type=Path, help="where everything is written")
    parser.add_argument("--config", type=Path, default=Path("conf/config.yaml"), help="experiment settings")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting")
    parser.add_argument(
        "--valid-data", type=Path, help="data dir with a trial list; its EER is reported after every epoch"
    )
    parser.add_argument("--noise-data", type=Path, help="data dir of noises for augmentation")
    parser.add_argument("--rir-data", type=Path, help="data dir of room impulse responses")
    parser.add_argument("--feats-type", choices=("raw", "fbank"), default="raw", help="raw: on the fly")
    parser.add_argument("--use-vad", action="store_true", help="fbank: train on frames vad.scp calls speech")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--num-workers", type=int, default=1, help="processes that prepare crops")
    parser.add_argument(
        "--max-fail-rate", type=entry.rate, default=0.0, help="share of utterances that may be unusable"
    )
    parser.add_argument("--overwrite", action="store_true", help="discard a run with other settings")
    parser.add_argument("--json", action="store_true", help="print the last epoch's figures as a JSON object")
    return parser


def make_dataset(
    arguments: argparse.Namespace,
    config: ExperimentConfig,
    corpus: TrainCorpus,
    noises: Sequence[Float32Array],
    rirs: Sequence[Float32Array],
) -> CropDataset:
    """The crops the arguments ask for."""
    max_fail_rate = arguments.max_fail_rate
    if arguments.feats_type == "fbank":
        return corpus.feature_dataset(config, use_vad=arguments.use_vad, max_fail_rate=max_fail_rate)
    augmenter = Augmenter(config.augment, noises, rirs, config.frontend.config.sample_rate)
    return corpus.waveform_dataset(config, augmenter, max_fail_rate=max_fail_rate)


def refuse_unused(arguments: argparse.Namespace, config: ExperimentConfig) -> None:
    """Refuse what would be asked for and not done.

    Raises:
        ConfigError: options that others make useless.
    """
    problems = unused.options(
        config,
        feats_type=arguments.feats_type,
        use_vad=arguments.use_vad,
        has_noises=arguments.noise_data is not None,
        has_rirs=arguments.rir_data is not None,
        has_valid_data=arguments.valid_data is not None,
    )
    if problems:
        raise ConfigError(arguments.config, problems)


def describe_run(arguments: argparse.Namespace, config: ExperimentConfig) -> provenance.Run:
    """What decides the run, for the comparison with an earlier start."""
    corpus = TrainCorpus.load(arguments.train_data, tolerant=arguments.max_fail_rate > 0)
    use_vad = arguments.use_vad and arguments.feats_type == "fbank"  # with raw, in validation alone
    inputs = {
        "--feats-type": arguments.feats_type,
        "--use-vad": str(use_vad).lower(),
        "--noise-data": identity(arguments.noise_data),
        "--rir-data": identity(arguments.rir_data),
    }
    states = sources.inputs(corpus.data, feats_type=arguments.feats_type, use_vad=use_vad)
    return provenance.Run(config, corpus, inputs, states, arguments.max_fail_rate)


def main(arguments: argparse.Namespace) -> None:
    """Train to the last epoch."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    device = start_processes(arguments.device, world)
    config = config_io.load(ExperimentConfig, arguments.config, arguments.set)
    refuse_unused(arguments, config)
    run = describe_run(arguments, config)
    earlier = provenance.begun(arguments.exp_dir, run, overwrite=arguments.overwrite)
    corpus = run.corpus if earlier is None else earlier
    wait(world)  # all have looked before rank 0 changes anything
    torch.manual_seed(config.seed)
    waveforms = [
        load_waveforms(path, config.frontend.config.sample_rate) if path else []
        for path in (arguments.noise_data, arguments.rir_data)
    ]
    dataset = make_dataset(arguments, config, corpus, *waveforms)
    sampler = CropSampler(
        corpus.durations_s, config.sampling, config.train.batch_size, config.seed, rank=rank, world=world
    )
    trainer = Trainer(
        config,
        dataset,
        sampler,
        arguments.exp_dir,
        device,
        num_workers=arguments.num_workers,
        rank=rank,
        world=world,
    )
    torch.manual_seed(config.seed + rank)  # the networks are equal, what they drop out is not
    validate = None
    if rank == 0:  # only now: settings that cannot be built leave nothing behind
        provenance.claim(arguments.exp_dir, run, goes_on=earlier is not None)
        _publish_untrained(arguments.exp_dir, config, trainer)
        validate = validation(arguments, config)
    wait(world)  # nobody resumes from a run that is about to be discarded
    trainer.resume()
    trainer.run(validate)
    if rank == 0 and arguments.json:
        print((arguments.exp_dir / LOG).read_text(encoding="utf-8").splitlines()[-1])


def start_processes(device: str, world: int) -> torch.device:
    """Join the other processes of this training, if there are any; the device of this one."""
    chosen = pick_device(device)
    if world > 1:
        torch.distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
        if chosen.type == "cuda":
            chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(chosen)
    return chosen


def wait(world: int) -> None:
    """Go on when all processes are here."""
    if world > 1:
        torch.distributed.barrier()


def validation(
    arguments: argparse.Namespace, config: ExperimentConfig
) -> Callable[[torch.nn.Module], float] | None:
    """What gives the EER of a network on the validation data, where there are any."""
    if not arguments.valid_data:
        return None
    held_out = ValidationSet.load(
        arguments.valid_data,
        config.embedder,
        feats_type=arguments.feats_type,
        use_vad=arguments.use_vad,
        max_fail_rate=arguments.max_fail_rate,
    )
    return held_out.eer


def _publish_untrained(exp_dir: Path, config: ExperimentConfig, trainer: Trainer) -> None:
    facts = {**provenance.read(exp_dir), "epochs": 0}
    model, domain = trainer.model, facts.pop("domain", None)
    bundle.save(exp_dir / "untrained", model, config.embedder, trainer.feat_dim, facts, domain=domain)


if __name__ == "__main__":
    entry.run(main, options())
