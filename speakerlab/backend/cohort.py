"""The cohort of score normalisation: mean embeddings of speakers who do not occur in the trials.

``cohort.speaker_means(cohort.without_trial_speakers(table, utt2spk, trial_ids, trial_speakers), utt2spk)``.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

import numpy as np

from speakerlab.backend.enrolment import stretch_means
from speakerlab.errors import DataError
from speakerlab.types import EmbeddingTable


def without_trial_speakers(
    table: EmbeddingTable,
    utt2spk: Mapping[str, str],
    trial_ids: Collection[str],
    trial_speakers: Collection[str],
) -> EmbeddingTable:
    """The embeddings of cohort speakers who do not occur in the trials; the log says who is left out.

    A speaker of both would count target scores among the impostors'. Who shares a name or an utterance with
    the trials is left out rather than refused: corpora often number their speakers alike, and a
    cohort a little smaller does no harm, while one that shrinks below top-n is refused later.

    Args:
        table: embeddings of the cohort's utterances.
        utt2spk: their speakers; may be empty if every utterance is to count on its own.
        trial_ids: ids of the trials' utterances.
        trial_speakers: the trials' speakers.

    Raises:
        DataError: an utterance without speaker, nobody left.
    """
    if utt2spk:
        unknown = [utt_id for utt_id in table.ids if utt_id not in utt2spk]
        if unknown:
            why = f"no speaker for {unknown[0]} in the cohort's utt2spk ({len(unknown)} such utterances)"
            raise DataError(table.name, why, "give the utt2spk of the cohort")
    speakers = [utt2spk.get(utt_id, utt_id) for utt_id in table.ids]
    in_trials = frozenset(trial_ids)
    common = {spk for spk, utt_id in zip(speakers, table.ids, strict=True) if utt_id in in_trials}
    common |= set(speakers) & set(trial_speakers)
    if not common:
        return table
    first = min(common)
    logging.warning(
        "%s: %d of %d cohort speakers occur in the trials and are left out, '%s' for one",
        table.name, len(common), len(set(speakers)), first,
    )  # fmt: skip
    keep = [row for row, spk in enumerate(speakers) if spk not in common]
    if not keep:
        raise DataError(table.name, "every cohort speaker occurs in the trials", "give another cohort")
    return EmbeddingTable(tuple(table.ids[row] for row in keep), table.matrix[keep], table.name)


def speaker_means(table: EmbeddingTable, utt2spk: Mapping[str, str]) -> EmbeddingTable:
    """The mean embedding of each speaker, in order of speaker id.

    Of the embeddings as extracted, before the back-end, as WeSpeaker does: what the back-end makes of the
    means (length 1, say) is then what it makes of an utterance, and a mean counts as one embedding on either
    side.
    """
    speakers, places = np.unique([utt2spk[utt_id] for utt_id in table.ids], return_inverse=True)
    matrix = table.matrix[np.argsort(places, kind="stable")]
    return EmbeddingTable(tuple(speakers.tolist()), stretch_means(matrix, np.bincount(places)), table.name)
