"""Train a speaker-embedding network on a Kaldi data dir (worker of steps/train.sh).

Leaves in EXP_DIR: config.yaml (resolved), provenance.json, speakers.txt, train.jsonl, checkpoints/ and
untrained/, a bundle of the network before the first step. A run that was stopped goes on.

Example: speakerlab train --config conf/config.yaml data/train exp/first
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from speakerlab import config as config_io
from speakerlab.augment.pipeline import Augmenter
from speakerlab.bin import entry
from speakerlab.embed.extractor import pick_device
from speakerlab.hub import bundle
from speakerlab.train import provenance
from speakerlab.train.corpus import TrainCorpus, load_waveforms
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
    parser.add_argument("--overwrite", action="store_true", help="discard a run with other settings")
    parser.add_argument("--json", action="store_true", help="print the last epoch's figures as a JSON object")
    return parser


def make_dataset(arguments: argparse.Namespace, config: ExperimentConfig, corpus: TrainCorpus) -> CropDataset:
    """The crops the arguments ask for."""
    if arguments.feats_type == "fbank":
        return corpus.feature_dataset(config, use_vad=arguments.use_vad)
    sample_rate = config.frontend.config.sample_rate

    def waveforms(path: Path | None) -> list[Float32Array]:
        return load_waveforms(path, sample_rate) if path else []

    noises, rirs = waveforms(arguments.noise_data), waveforms(arguments.rir_data)
    return corpus.waveform_dataset(config, Augmenter(config.augment, noises, rirs, sample_rate))


def main(arguments: argparse.Namespace) -> None:
    """Train to the last epoch."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    device = pick_device(arguments.device)
    if world > 1:
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
    config = config_io.load(ExperimentConfig, arguments.config, arguments.set)
    corpus = TrainCorpus.load(arguments.train_data)
    torch.manual_seed(config.seed)
    dataset = make_dataset(arguments, config, corpus)
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
        provenance.claim(arguments.exp_dir, config, corpus, overwrite=arguments.overwrite)
        _publish_untrained(arguments.exp_dir, config, trainer)
        if arguments.valid_data:
            validate = ValidationSet.load(
                arguments.valid_data,
                config.embedder,
                feats_type=arguments.feats_type,
                use_vad=arguments.use_vad,
            ).eer
    if world > 1:  # nobody resumes from a run that is about to be discarded
        torch.distributed.barrier()
    trainer.resume()
    trainer.run(validate)
    if rank == 0 and arguments.json:
        print((arguments.exp_dir / LOG).read_text(encoding="utf-8").splitlines()[-1])


def _publish_untrained(exp_dir: Path, config: ExperimentConfig, trainer: Trainer) -> None:
    facts = {**provenance.read(exp_dir), "epochs": 0}
    model, domain = trainer.model, facts.pop("domain", None)
    bundle.save(exp_dir / "untrained", model, config.embedder, trainer.feat_dim, facts, domain=domain)


if __name__ == "__main__":
    entry.run(main, options())
