"""Training of a whole back-end, and its adaptation: from embeddings and their speakers to a ``Backend``.

``backend = train(table, utt2spk, Recipe(lda_dim=100, scorer="plda"))``;
``adapt(backend, table, Adaptation("coral+"), None)``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from speakerlab.backend import adaptation, estimation, transforms
from speakerlab.backend.chain import Backend, Scorer
from speakerlab.backend.cosine import Cosine
from speakerlab.backend.plda import Plda
from speakerlab.backend.statistics import SpeakerStatistics, speaker_statistics
from speakerlab.backend.transforms import Centre, LengthNorm, Projection, Transform
from speakerlab.errors import DataError, SpeakerLabError
from speakerlab.types import EmbeddingTable, Float64Array, SpkId, UttId

WHITENINGS = ("none", "pca", "zca")
SCORERS = ("cosine", "plda", "kaldi-plda")
METHODS = ("mean", "kaldi", "coral", "coral+", "interpolation")


@dataclass(frozen=True)
class Recipe:
    """What a back-end is made of, in the order in which it is applied; the mean is always subtracted first.

    Attributes:
        whiten: one of ``WHITENINGS``.
        lda_dim: dimensions LDA leaves; 0 for no LDA.
        wccn: whether within-class covariance normalisation is done.
        scorer: one of ``SCORERS``; lengths are normalised before it. ``plda`` is estimated to convergence;
            ``kaldi-plda`` as by Kaldi, which by default normalises length once more inside.
        plda_rank: dimensions of the speaker subspace of ``plda``; 0 for all.
    """

    whiten: str = "none"
    lda_dim: int = 0
    wccn: bool = False
    scorer: str = "cosine"
    plda_rank: int = 0

    def __post_init__(self) -> None:
        if self.whiten not in WHITENINGS or self.scorer not in SCORERS:
            raise SpeakerLabError(f"no back-end of whitening '{self.whiten}' and scorer '{self.scorer}'")
        if self.plda_rank and self.scorer != "plda":
            raise SpeakerLabError(f"a speaker subspace is of scorer plda, not of {self.scorer}")

    @property
    def needs_speakers(self) -> bool:
        """Whether it can only be trained with speaker labels."""
        return bool(self.lda_dim or self.wccn or self.scorer != "cosine")


@dataclass(frozen=True)
class Adaptation:
    """How a back-end is adapted; with every method the mean subtracted becomes that of the new domain.

    Attributes:
        method: one of ``METHODS``; ``mean`` does nothing else, and is all that can be done with cosine.
        within_scale: of ``kaldi`` and ``coral+``; None for the default of the method.
        between_scale: likewise.
        weight: of the model of the new domain in ``interpolation``, which needs speaker labels.
    """

    method: str
    within_scale: float | None = None
    between_scale: float | None = None
    weight: float = 0.5

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise SpeakerLabError(f"no adaptation '{self.method}'; valid: {', '.join(METHODS)}")


def train(table: EmbeddingTable, utt2spk: Mapping[UttId, SpkId] | None, recipe: Recipe) -> Backend:
    """The back-end of ``recipe``, trained on ``table``, the order of whose rows does not matter.

    Args:
        table: training embeddings.
        utt2spk: speaker of every embedding, and perhaps of others; None where no labels are needed.
        recipe: what to train.

    Raises:
        DataError: speakers are missing, or the data do not determine what is to be estimated.
    """
    ids = sorted(table.ids)
    matrix = table.matrix[table.rows(ids)].astype(np.float64)
    speakers = _speakers(table, utt2spk, ids) if recipe.needs_speakers else ids
    centre = transforms.centre(matrix)
    matrix = centre.apply(matrix)
    projections = _projections(matrix, speakers, recipe)
    chain: list[Transform] = [centre, *projections]
    for projection in projections:
        matrix = projection.apply(matrix)
    length_norm = LengthNorm(1.0 if recipe.scorer == "cosine" else float(np.sqrt(matrix.shape[1])))
    chain.append(length_norm)
    scorer: Scorer = Cosine()
    if recipe.scorer != "cosine":
        scorer = _plda(speaker_statistics(length_norm.apply(matrix), speakers), recipe)
    return Backend(tuple(chain), scorer, _source(table, speakers if recipe.needs_speakers else None))


def _source(table: EmbeddingTable, speakers: list[str] | None) -> str:
    of_speakers = f" of {len(set(speakers)):,} speakers" if speakers else ""
    return f"{len(table.ids):,} embeddings of size {table.matrix.shape[1]}{of_speakers}"


def _speakers(table: EmbeddingTable, utt2spk: Mapping[UttId, SpkId] | None, ids: list[str]) -> list[str]:
    if utt2spk is None:
        raise SpeakerLabError("LDA, WCCN, PLDA and interpolation need speakers; give --utt2spk")
    missing = [utt_id for utt_id in ids if UttId(utt_id) not in utt2spk]
    if missing:
        why = f"{missing[0]} has no speaker in utt2spk ({len(missing)} such embeddings)"
        raise DataError(table.name, why, "give the utt2spk of the data that the embeddings are of")
    return [utt2spk[UttId(utt_id)] for utt_id in ids]


def _projections(matrix: Float64Array, speakers: list[str], recipe: Recipe) -> list[Projection]:
    """Whitening, LDA and WCCN, each estimated on what the one before leaves; all are linear."""
    steps: list[Callable[[SpeakerStatistics], Projection]] = []
    if recipe.whiten != "none":
        steps.append(transforms.whiten_pca if recipe.whiten == "pca" else transforms.whiten_zca)
    if recipe.lda_dim:
        steps.append(lambda statistics: transforms.lda(statistics, recipe.lda_dim))
    if recipe.wccn:
        steps.append(transforms.wccn)
    if not steps:
        return []
    projections, statistics = [], speaker_statistics(matrix, speakers)
    for estimate in steps:
        projections.append(estimate(statistics))
        statistics = statistics.projected(projections[-1].matrix)
    return projections


def _plda(statistics: SpeakerStatistics, recipe: Recipe) -> Plda:
    if recipe.scorer == "kaldi-plda":
        return dataclasses.replace(estimation.kaldi(statistics).plda, length_norm="kaldi")
    if recipe.plda_rank:
        return estimation.simplified(statistics, recipe.plda_rank).plda
    return estimation.two_covariance(statistics).plda


def adapt(
    backend: Backend, table: EmbeddingTable, how: Adaptation, utt2spk: Mapping[UttId, SpkId] | None
) -> Backend:
    """``backend`` adapted to the domain of ``table``.

    Args:
        backend: what was trained on another domain.
        table: embeddings of the domain.
        how: the method and its settings.
        utt2spk: their speakers, for ``interpolation``.

    Raises:
        DataError: another size of embeddings, a back-end without mean, or without PLDA where that is adapted.
    """
    ids = sorted(table.ids)
    table = EmbeddingTable(tuple(ids), table.matrix[table.rows(ids)], table.name)
    if not (backend.transforms and isinstance(backend.transforms[0], Centre)):
        raise DataError("back-end", "subtracts no mean, which adaptation would replace")
    backend.check_size(table)
    chain = (transforms.centre(table.matrix.astype(np.float64)), *backend.transforms[1:])
    recentred = dataclasses.replace(
        backend,
        transforms=chain,
        source=f"{backend.source}; adapted ({how.method}) to {_source(table, None)}",
    )
    if how.method == "mean":
        return recentred
    if not isinstance(backend.scorer, Plda):
        what = f"scores with {backend.scorer.describe()}, and {how.method} adapts PLDA"
        raise DataError("back-end", what, "adapt the mean alone")
    speakers = _speakers(table, utt2spk, ids) if how.method == "interpolation" else []
    plda = _adapt_plda(backend.scorer, recentred.rows(table), how, speakers)
    return dataclasses.replace(recentred, scorer=plda)


def _adapt_plda(plda: Plda, matrix: Float64Array, how: Adaptation, speakers: list[str]) -> Plda:
    given = {"within_scale": how.within_scale, "between_scale": how.between_scale}
    scales = {name: scale for name, scale in given.items() if scale is not None}
    if how.method == "kaldi":
        return adaptation.kaldi_unsupervised(plda, matrix, **scales)
    if how.method == "coral+":
        return adaptation.coral_plus(plda, matrix, **scales)
    if how.method == "coral":
        return adaptation.coral(plda, matrix)
    in_domain = estimation.two_covariance(speaker_statistics(matrix, speakers)).plda
    return adaptation.interpolate(plda, in_domain, how.weight)
