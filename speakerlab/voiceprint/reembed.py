"""Move a store to another model: new clips from kept recordings, in place of the old ones.

``re_embed(store, bundle.content_hash, embed)`` -> ``ReEmbedded(moved=3, again=("Bob",))``. Embeddings of two
models cannot be compared, and neither follows from the other: without a recording, a speaker enrols again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from speakerlab import logs
from speakerlab.errors import AudioError, DataError
from speakerlab.voiceprint.audio_folder import path_of
from speakerlab.voiceprint.records import ENROLLED, Clip, Voiceprint
from speakerlab.voiceprint.store import VoiceprintStore


@dataclass(frozen=True, slots=True)
class ReEmbedded:
    """What was done.

    Attributes:
        moved: clips that have an embedding of the new model now.
        again: names of speakers without any clip of the new model, who must enrol again.
        failed: kept recordings that cannot be used, and why.
    """

    moved: int
    again: tuple[str, ...]
    failed: tuple[str, ...]


def re_embed(store: VoiceprintStore, model: str, embed: Callable[[Path], Voiceprint]) -> ReEmbedded:
    """Give every enrolled clip of other models an embedding of ``model``, where its recording was kept.

    A speaker is moved in one transaction; a killed run continues where it ended.

    Args:
        store: where.
        model: ``content_hash`` of the new model.
        embed: from a recording to a voiceprint of ``model``; its source, consent and audio are not used.

    Raises:
        DataError: the store refuses.
    """
    folder = store.settings()["audio_folder"]
    moved, failed, again = 0, [], []
    speakers = store.speakers()
    for speaker in logs.progress(speakers, "speakers", len(speakers)):
        clips = store.clips(speaker.speaker_id, ENROLLED)
        others = [one for one in clips if one.voiceprint.model != model]
        fresh: dict[str, Voiceprint] = {}
        for clip in others:
            try:
                if (found := _embedded(clip, folder, embed)) is not None:
                    fresh[clip.clip_id] = found
            except (AudioError, DataError) as error:
                failed.append(str(error))
        if fresh:
            store.replace(speaker.speaker_id, list(fresh), list(fresh.values()))
            moved += len(fresh)
        if len(others) == len(clips) and others and not fresh:
            again.append(speaker.name)
    return ReEmbedded(moved, tuple(again), tuple(failed))


def _embedded(clip: Clip, folder: str | None, embed: Callable[[Path], Voiceprint]) -> Voiceprint | None:
    """The voiceprint of the clip's recording, None where there is no recording."""
    old = clip.voiceprint
    if folder is None or old.audio is None:
        return None
    path = path_of(folder, old.audio)
    if not path.exists():
        return None
    return replace(embed(path), source=old.source, consent=old.consent, audio=old.audio)
