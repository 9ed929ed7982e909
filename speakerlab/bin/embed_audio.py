"""Embed recordings, or all of a wav.scp. Embeddings are not length-normalised.

The command prints "name [ v1 v2 ... ]", Kaldi's text form. With --output-dir it writes Kaldi's xvector.ark
and xvector.scp instead. For data dirs and for several processes there is steps/extract_embeddings.sh.
A list may have any name. Commands in it ("... |") run only if the name ends in .scp or .scp.NUMBER.

Example: speakerlab embed wav.scp --output-dir exp/embeddings --batch-size 8
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speakerlab.bin import audio_arguments, entry, session_arguments
from speakerlab.embed.windows import WINDOW_S
from speakerlab.errors import AudioError, SpeakerLabError

if TYPE_CHECKING:
    from speakerlab.pipeline.embedding import Embedded
    from speakerlab.pipeline.sources import Source


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("audio", nargs="+", help=f"{audio_arguments.AUDIO_HELP}; or a wav.scp")
    parser.add_argument("--output-dir", type=Path, help="write xvector.ark and xvector.scp here")
    parser.add_argument("--batch-size", type=int, default=1, help="recordings per network call")
    parser.add_argument(
        "--window-s",
        type=float,
        default=WINDOW_S,
        help="cut longer recordings into windows of at most so many seconds; their embedding is the mean of "
        "the windows' directions, about 1 long; 0 cuts none",
    )
    audio_arguments.add_channel(parser)
    audio_arguments.add(parser)
    session_arguments.add(parser)
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Print or write the embeddings; exits 1 if any recording could not be used, after all others.

    Raises:
        SpeakerLabError: a model that cannot be used, no recording that can.
    """
    with entry.starting():
        from speakerlab.io.ark import require_key
        from speakerlab.pipeline import outputs, pipeline
        from speakerlab.pipeline.embedding import Embedded, embed

    sources = _sources(arguments)
    if arguments.output_dir:
        for key in sources:
            require_key(key)
    running = session_arguments.config(arguments)
    model, ngpu = audio_arguments.network(arguments, running)
    network = pipeline(model=model, ngpu=ngpu, batch_size=arguments.batch_size, running=running)
    options = replace(network.options, channel=arguments.channel, window_s=arguments.window_s)
    found = dict(zip(sources, embed(list(sources.items()), network.embedder, options), strict=True))
    usable = {key: result for key, result in found.items() if isinstance(result, Embedded)}
    if arguments.output_dir:
        outputs.write(arguments.output_dir, [found], {})
    if arguments.json:
        print(json.dumps({key: _plain(result, network.identity) for key, result in found.items()}))
    elif arguments.output_dir:
        print(f"{arguments.output_dir}/xvector.scp: {len(usable):,} embeddings")
    else:
        for key, embedded in usable.items():
            print(key, "[", *(f"{value:.8g}" for value in embedded.embedding.tolist()), "]")
    _report(found)
    if len(usable) < len(found):
        sys.exit(1)


def _report(found: Mapping[str, Embedded | AudioError]) -> None:
    """Say what could not be used, and what no decision should rest on."""
    for key, result in found.items():
        if isinstance(result, AudioError):
            logging.error("%s", result)
        elif reasons := result.heard.speech.reasons:
            logging.warning("%s: no decision should rest on its embedding: %s", key, "; ".join(reasons))


def _sources(arguments: argparse.Namespace) -> dict[str, Source]:
    """Every recording of the arguments by its key in a wav.scp, or its path as it was given."""
    from speakerlab.pipeline.sources import find

    sources: dict[str, Source] = {}
    for text in arguments.audio:
        audio = audio_arguments.recording(text)
        named = find(audio, arguments.sample_rate, key=text, allow_commands=True)
        twice = named.sources.keys() & sources.keys()
        if twice:
            raise SpeakerLabError(f"{min(twice)}: two recordings of this name")
        sources.update(named.sources)
    return sources


def _plain(result: Embedded | AudioError, model: Mapping[str, str | None]) -> dict[str, Any]:
    """What JSON can hold of one result."""
    if isinstance(result, AudioError):
        return {"error": str(result)}
    reasons = list(result.heard.speech.reasons)
    found = {"spk_embedding": result.embedding.tolist(), "audio": result.heard.as_dict(), "reasons": reasons}
    return {**found, **model}


if __name__ == "__main__":
    entry.run(main, options())
