"""Extract embeddings of a share of a data dir (worker of steps/extract_embeddings.sh).

Writes parts below OUT_DIR/parts; speakerlab.bin.merge_parts checks them and publishes embeddings.scp.

Example: python -m speakerlab.bin.extract_embeddings --model exp/first/model data/test exp/first/embeddings
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from speakerlab import logs
from speakerlab.bin import entry
from speakerlab.data.datadir import DataDir
from speakerlab.data.fingerprint import fingerprint
from speakerlab.embed.extractor import Extractor
from speakerlab.embed.inputs import UtteranceInputs
from speakerlab.errors import AudioError
from speakerlab.hub.load import load_model
from speakerlab.io.parts import PartStore
from speakerlab.types import Float32Array, Utterance


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("data_dir", type=Path, help="Kaldi data dir")
    parser.add_argument("out_dir", type=Path, help="where parts are written")
    parser.add_argument("--model", required=True, help="bundle, other toolkit's model, or model id")
    parser.add_argument("--batch-size", type=int, default=1, help="utterances per network call")
    parser.add_argument("--feats-type", choices=("raw", "fbank"), default="raw", help="audio or feats.scp")
    parser.add_argument("--use-vad", action="store_true", help="only frames that vad.scp calls speech")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    entry.add_job_options(parser)
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Write the parts of this job that are not there yet."""
    data = DataDir.load(arguments.data_dir)
    loaded = load_model(arguments.model)
    inputs_from = ["wav.scp", "segments"] if arguments.feats_type == "raw" else ["feats.scp"]
    inputs_from += ["vad.scp"] if arguments.use_vad else []
    made_from = {"model": loaded.content_hash, **fingerprint(arguments.data_dir, inputs_from)}
    store = PartStore(arguments.out_dir, "embeddings", data.utt_ids, made_from)
    store.check_or_claim()
    extractor = Extractor.of_bundle(loaded, arguments.device)
    inputs = UtteranceInputs(data, extractor, feats_type=arguments.feats_type, use_vad=arguments.use_vad)
    utterances = {str(utterance.utt_id): utterance for utterance in data.utterances}
    parts = store.pending(arguments.job, arguments.num_jobs)
    for part in logs.progress(parts, "parts", len(parts)):
        members = [utterances[key] for key in part.keys]
        store.write(part, embed(members, inputs, extractor, arguments.batch_size))


def embed(
    utterances: Sequence[Utterance], inputs: UtteranceInputs, extractor: Extractor, batch_size: int
) -> Iterator[tuple[str, Float32Array | AudioError]]:
    """The embedding [E] of each utterance, or the reason why it has none."""
    batch: list[tuple[str, torch.Tensor]] = []
    for utterance in utterances:
        try:
            batch.append((utterance.utt_id, inputs[utterance]))
        except AudioError as error:
            yield utterance.utt_id, error
        if len(batch) == batch_size:
            yield from _flush(batch, extractor)
            batch = []
    if batch:
        yield from _flush(batch, extractor)


def _flush(
    batch: Sequence[tuple[str, torch.Tensor]], extractor: Extractor
) -> Iterator[tuple[str, Float32Array | AudioError]]:
    matrix = extractor.embed_features([feats for _, feats in batch])
    for (utt_id, _), embedding in zip(batch, matrix, strict=True):
        yield utt_id, embedding


if __name__ == "__main__":
    entry.run(main, options())
