"""Make a back-end of Kaldi's plda, mean.vec and transform.mat, or these files of a back-end.

Example: python -m speakerlab.bin.convert_backend --mean exp/xvectors/mean.vec
    --transform exp/xvectors/transform.mat exp/xvectors/plda exp/a/backend.json
Example: python -m speakerlab.bin.convert_backend exp/a/backend.json exp/a/kaldi
"""

from __future__ import annotations

import argparse
from pathlib import Path

from speakerlab.backend.chain import Backend
from speakerlab.backend.kaldi_recipe import from_kaldi, to_kaldi
from speakerlab.backend.plda import LENGTH_NORMS, Plda
from speakerlab.bin import entry
from speakerlab.io import kaldi_plda
from speakerlab.io.ark import read_array


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("--mean", type=Path, help="Kaldi's mean.vec, if one is subtracted")
    parser.add_argument("--transform", type=Path, help="Kaldi's transform.mat, if there is one")
    parser.add_argument(
        "--length-norm",
        choices=LENGTH_NORMS,
        default="kaldi",
        help="inside Kaldi's plda: kaldi is the default of ivector-plda-scoring, kaldi-simple its "
        "--simple-length-normalization, none its --normalize-length=false",
    )
    parser.add_argument("source", type=Path, help="Kaldi's binary plda, or a back-end file")
    parser.add_argument("out", type=Path, help="back-end file to write, or folder for Kaldi's files")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Write the back-end, or Kaldi's files.

    Raises:
        DataError: files that cannot be read or do not fit, or a back-end that Kaldi cannot express.
    """
    if kaldi_plda.is_plda(arguments.source):
        _import(arguments)
    else:
        _export(arguments)


def _import(arguments: argparse.Namespace) -> None:
    plda = Plda(*kaldi_plda.read(arguments.source), "Kaldi", arguments.length_norm)
    mean = read_array(arguments.mean, 1) if arguments.mean else None
    transform = read_array(arguments.transform, 2) if arguments.transform else None
    backend = from_kaldi(plda, mean, transform, str(arguments.source))
    backend.save(arguments.out)
    print(f"{arguments.out}: {backend.describe()}")


def _export(arguments: argparse.Namespace) -> None:
    mean, transform, plda = to_kaldi(Backend.load(arguments.source))
    kaldi_plda.write_array(arguments.out / "mean.vec", mean)
    kaldi_plda.write_array(arguments.out / "transform.mat", transform)
    kaldi_plda.write(arguments.out / "plda", plda.mean, plda.transform, plda.psi)
    flags = {
        "none": "--normalize-length=false",
        "kaldi": "--normalize-length=true",
        "kaldi-simple": "--simple-length-normalization=true",
    }
    print(f"{arguments.out}/plda: score with ivector-plda-scoring {flags[plda.length_norm]}")
    print(f"{arguments.out}/mean.vec, transform.mat: before, and ivector-normalize-length after them")


if __name__ == "__main__":
    entry.run(main, options())
