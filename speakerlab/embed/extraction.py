"""Embeddings of utterance after utterance: features made ahead, long recordings window by window.

``embeddings(utterances, inputs, extractor, batch_size)`` -> (utterance id, [E] or what was wrong), in order.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from speakerlab.embed import windows
from speakerlab.embed.batching import Outcome, embedded
from speakerlab.embed.extractor import Extractor
from speakerlab.embed.inputs import Piece, UtteranceInputs
from speakerlab.errors import AudioError, SilenceError
from speakerlab.types import Utterance


def embeddings(
    utterances: Iterable[Utterance], inputs: UtteranceInputs, extractor: Extractor, batch_size: int
) -> Iterator[tuple[str, Outcome]]:
    """The embedding [E] of each utterance, or the reason why it has none."""
    pieces = (piece for utterance in utterances for piece in inputs.pieces(utterance))
    done = embedded(pieces, extractor.session, batch_size)
    for utt_id, members in itertools.groupby(done, key=lambda pair: pair[0].utt_id):
        yield utt_id, _joined(members)


def _joined(members: Iterable[tuple[Piece, Outcome]]) -> Outcome:
    """One embedding of the pieces of one utterance: silent ones count for nothing, others must not fail."""
    average = windows.Average()
    errors: dict[type[AudioError], AudioError] = {}  # the first of each kind
    for piece, outcome in members:  # one at a time: ten hours are more than a thousand windows
        if isinstance(outcome, AudioError):
            errors.setdefault(type(outcome), outcome)
        else:
            average.add(outcome, piece.speech_s, piece.seconds)
    return errors.get(AudioError) or (average.value() if average.count else errors[SilenceError])
