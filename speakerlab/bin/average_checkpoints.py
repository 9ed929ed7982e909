"""Average the last checkpoints of a training run into a model bundle (steps/average_checkpoints.sh).

Example: python -m speakerlab.bin.average_checkpoints exp/first exp/first/model
"""

from __future__ import annotations

import argparse
from pathlib import Path

from speakerlab import config as config_io
from speakerlab.bin import entry
from speakerlab.errors import DataError
from speakerlab.hub import bundle
from speakerlab.train import checkpoint, provenance
from speakerlab.train.experiment import ExperimentConfig


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("exp_dir", type=Path, help="what speakerlab.bin.train left")
    parser.add_argument("model_dir", type=Path, help="bundle to write")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Write the bundle.

    Raises:
        DataError: the training is not finished.
    """
    exp_dir = arguments.exp_dir
    if not (exp_dir / "config.yaml").exists():
        raise DataError(exp_dir / "config.yaml", "missing", "train first: steps/train.sh")
    config = config_io.load(ExperimentConfig, exp_dir / "config.yaml")
    paths = checkpoint.finished(exp_dir)[-config.train.average :]
    last = checkpoint.epoch_of(paths[-1]) if paths else 0
    if last != config.train.epochs or len(paths) != config.train.average:
        raise DataError(
            exp_dir, f"training stands at epoch {last} of {config.train.epochs}", "finish it: steps/train.sh"
        )
    paths = checkpoint.intact(paths)
    feat_dim = int(config.frontend.build().dim)
    model = config.model.build(feat_dim=feat_dim)
    model.load_state_dict(checkpoint.average(paths))
    facts = {
        **provenance.read(exp_dir),
        "epochs": checkpoint.epoch_of(paths[-1]),
        "averaged": [path.name for path in paths],
    }
    domain = facts.pop("domain", None)
    bundle.save(arguments.model_dir, model, config.embedder, feat_dim, facts, domain=domain)
    epochs = [str(checkpoint.epoch_of(path)) for path in paths]
    num_params = sum(p.numel() for p in model.parameters())
    print(f"{arguments.model_dir}: mean of epochs {', '.join(epochs)}, {num_params:,} parameters")


if __name__ == "__main__":
    entry.run(main, options())
