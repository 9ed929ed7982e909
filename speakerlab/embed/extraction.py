"""Embeddings of utterance after utterance: features made ahead, long recordings window by window.

``embeddings(utterances, inputs, extractor, batch_size)`` -> (utterance id, [E] or what was wrong), in order.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from speakerlab.embed import windows
from speakerlab.embed.extractor import Extractor
from speakerlab.embed.inputs import Piece, UtteranceInputs
from speakerlab.embed.prefetch import prefetched
from speakerlab.errors import AudioError, SilenceError
from speakerlab.types import Float32Array, Utterance

NUM_AHEAD = 4  # pieces whose features wait for the network, besides a batch

Outcome = Float32Array | AudioError


def embeddings(
    utterances: Iterable[Utterance], inputs: UtteranceInputs, extractor: Extractor, batch_size: int
) -> Iterator[tuple[str, Outcome]]:
    """The embedding [E] of each utterance, or the reason why it has none."""
    pieces = (piece for utterance in utterances for piece in inputs.pieces(utterance))
    done = _embedded(prefetched(pieces, NUM_AHEAD + batch_size), extractor, batch_size)
    for utt_id, members in itertools.groupby(done, key=lambda pair: pair[0].utt_id):
        yield utt_id, _joined(list(members))


def _embedded(
    pieces: Iterable[Piece], extractor: Extractor, batch_size: int
) -> Iterator[tuple[Piece, Outcome]]:
    batch: list[Piece] = []
    num_feats = 0
    for piece in pieces:
        batch.append(piece)
        num_feats += not isinstance(piece.feats, AudioError)
        if num_feats == batch_size:
            yield from _flush(batch, extractor)
            batch, num_feats = [], 0
    yield from _flush(batch, extractor)


def _flush(batch: Sequence[Piece], extractor: Extractor) -> Iterator[tuple[Piece, Outcome]]:
    feats = [piece.feats for piece in batch if not isinstance(piece.feats, AudioError)]
    rows = iter(extractor.embed_features(feats) if feats else ())
    for piece in batch:
        yield piece, piece.feats if isinstance(piece.feats, AudioError) else next(rows)


def _joined(members: Sequence[tuple[Piece, Outcome]]) -> Outcome:
    """One embedding of the pieces of one utterance: silent ones count for nothing, others must not fail."""
    errors = [outcome for _, outcome in members if isinstance(outcome, AudioError)]
    fatal = [error for error in errors if not isinstance(error, SilenceError)]
    if fatal or len(errors) == len(members):
        return (fatal or errors)[0]
    heard = [(out, piece.seconds) for piece, out in members if not isinstance(out, AudioError)]
    return windows.join([out for out, _ in heard], [seconds for _, seconds in heard])
