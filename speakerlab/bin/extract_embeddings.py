"""Extract embeddings of a share of a data dir (worker of steps/extract_embeddings.sh).

Writes parts below OUT_DIR/parts; speakerlab.bin.merge_parts checks them and publishes embeddings.scp.

Example: python -m speakerlab.bin.extract_embeddings --model exp/first/model data/test exp/first/embeddings
"""

from __future__ import annotations

import argparse
from pathlib import Path

from speakerlab import logs
from speakerlab.bin import entry, session_arguments
from speakerlab.data import sources
from speakerlab.data.datadir import DataDir
from speakerlab.data.fingerprint import fingerprint
from speakerlab.embed.extraction import embeddings
from speakerlab.embed.extractor import Extractor
from speakerlab.embed.graphs import Graph, given
from speakerlab.embed.inputs import UtteranceInputs
from speakerlab.hub.load import load_model
from speakerlab.io.parts import PartStore


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
    session_arguments.add(parser)
    parser.add_argument("--window-s", type=float, default=0.0, help="cut longer utterances; 0 cuts none")
    entry.add_job_options(parser)
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Write the parts of this job that are not there yet."""
    running = session_arguments.config(arguments)
    data = DataDir.load(arguments.data_dir)
    loaded = load_model(arguments.model)
    inputs_from = ["wav.scp", "segments"] if arguments.feats_type == "raw" else ["feats.scp"]
    inputs_from += ["vad.scp"] if arguments.use_vad else []
    made_from = {"model": loaded.content_hash, **fingerprint(arguments.data_dir, inputs_from)}
    graph = given(loaded, arguments.graph) if arguments.graph else None
    made_from.update(deviations(arguments, graph))
    states = sources.inputs(data, feats_type=arguments.feats_type, use_vad=arguments.use_vad)
    store = PartStore(arguments.out_dir, "embeddings", data.utt_ids, made_from, states)
    store.check_or_claim()
    parts = store.pending(arguments.job, arguments.num_jobs)
    if not parts:
        return
    extractor = Extractor.of_bundle(loaded, arguments.device, running)
    inputs = UtteranceInputs(
        data,
        extractor,
        feats_type=arguments.feats_type,
        use_vad=arguments.use_vad,
        window_s=arguments.window_s,
    )
    utterances = {str(utterance.utt_id): utterance for utterance in data.utterances}
    for part in logs.progress(parts, "parts", len(parts)):
        members = [utterances[key] for key in part.keys]
        store.write(part, embeddings(members, inputs, extractor, arguments.batch_size))


def deviations(arguments: argparse.Namespace, graph: Graph | None = None) -> dict[str, str]:
    """Options other than the default that change embeddings; in fp32, back-ends agree to 1e-4."""
    found = {} if arguments.precision == "fp32" else {"precision": arguments.precision}
    if graph is not None:
        found.update(graph.key, graph_precision=graph.precision)
    return found if not arguments.window_s else {**found, "window_s": f"{arguments.window_s:g}"}


if __name__ == "__main__":
    entry.run(main, options())
