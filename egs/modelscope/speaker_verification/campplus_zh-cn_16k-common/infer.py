#!/usr/bin/env python3
"""Embeddings of a wav.scp (whole, or what split made of it), a URL or a recording: OUTPUT_DIR/xvector.scp.

Runs in any working directory with a Python that has the requirements; where CUDA_VISIBLE_DEVICES shows a GPU
it runs there. Exits 1 if a recording cannot be used, after the others are written. Commands in a list
("... |") run only if its name ends in .scp or .scp.NUMBER.

Example: ./infer.py splits/wav.scp.00 outputs/wav.scp.00
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[4]))
from speakerlab.bin import entry, session_arguments
from speakerlab.errors import DataError

MODEL = "iic/speech_campplus_sv_zh-cn_16k-common"
NGPU = 1  # 0 runs on the CPU even where there is a GPU


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("audio_in", help="wav.scp, URL or recording")
    parser.add_argument("output_dir", type=Path, help="where xvector.ark and xvector.scp are written")
    parser.add_argument("--model", default=MODEL, help="bundle, other toolkit's model, or model id")
    parser.add_argument("--ngpu", type=int, default=NGPU, help="1: a GPU if there is one; 0: the CPU")
    parser.add_argument("--batch-size", type=int, default=1, help="utterances per network call")
    session_arguments.add(parser)
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Write the embeddings, and say which recordings have none."""
    from speakerlab.pipeline import pipeline

    inference = pipeline(
        task="speaker-verification",
        model=arguments.model,
        ngpu=arguments.ngpu,
        batch_size=arguments.batch_size,
        output_dir=arguments.output_dir,
        running=session_arguments.config(arguments),
        allow_commands=True,
    )
    result = inference(audio_in=arguments.audio_in)
    utterances = [result] if "spk_embedding" in result else list(result.values())
    errors = [found["error"] for found in utterances if "error" in found]
    if errors:
        counts = f"{len(errors)} of {len(utterances)} have no embedding, see failures.tsv"
        raise DataError(arguments.output_dir, counts, errors[0])
    print(f"{arguments.output_dir / 'xvector.scp'}: {len(utterances)} embeddings")


if __name__ == "__main__":
    entry.run(main, options())
