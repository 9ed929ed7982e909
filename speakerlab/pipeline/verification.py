"""The pipeline of FunASR and ModelScope: build once, then call with any form of audio, one or a pair.

``p = pipeline("speaker-verification", model="exp/first/model"); p(audio_in=("a.wav", "b.wav"))["label"]``.
A call depends on nothing but its arguments and those of ``pipeline``; nothing is kept from one to the next.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speakerlab.embed.session import SessionConfig
from speakerlab.embed.waveform_graph import WaveformGraph
from speakerlab.errors import AudioError, SpeakerLabError
from speakerlab.hub import published
from speakerlab.pipeline import outputs
from speakerlab.pipeline.decision import Decision, Threshold, decide, identity, threshold_of
from speakerlab.pipeline.embedding import Embedded, EmbedOptions, embed
from speakerlab.pipeline.sources import Utterances, find_inputs

if TYPE_CHECKING:
    from speakerlab.embed.extractor import Extractor
    from speakerlab.hub.bundle import Bundle

    _Opened = tuple[Bundle, Extractor] | tuple[WaveformGraph, WaveformGraph]

TASK = "speaker-verification"
NO_SCORE = "No similarity score output"  # ModelScope's words


def pipeline(
    task: str = TASK,
    model: str | Path | Bundle | WaveformGraph = "",
    ngpu: int = 1,
    output_dir: str | Path | None = None,
    batch_size: int = 1,
    sv_threshold: float | None = None,
    running: SessionConfig | None = None,
    *,
    allow_commands: bool = False,
) -> Pipeline:
    """A callable that embeds and compares recordings with ``model``.

    Args:
        task: ``speaker-verification``.
        model: a bundle, a folder or file that ``load_model`` reads, a published model's name or id, or an
            ``.onnx`` file of ``speakerlab export --input waveform``, which needs no torch and runs in ONNX
            Runtime on the CPU. Without one: the published CAM++ (``hub.published``), downloaded once.
        ngpu: 1 takes the GPU where there is one, else the CPU; 0 the CPU.
        output_dir: where every call writes its files; None writes none.
        batch_size: utterances in one network call.
        sv_threshold: cosine from which on it is the same speaker; None takes the model's calibrated one, else
            its publisher's; a model without any decides nothing.
        running: back-end, precision and threads of the network, such as ``SessionConfig(backend="onnx")``;
            None takes torch in fp32, and all cores.
        allow_commands: whether entries that are shell commands (``... |``) may run in lists that are given by
            a name ending in ``.scp`` (or ``.scp.00``, as ``split`` names parts). In no other file ever.

    Raises:
        SpeakerLabError: another task, a number out of range, a model that cannot be loaded or run so.
        MissingExtraError: the back-end is not installed.
    """
    if task != TASK:
        raise SpeakerLabError(f"task is '{task}'; this pipeline does '{TASK}'")
    if ngpu not in (0, 1):
        raise SpeakerLabError(f"ngpu is {ngpu}, not 0 or 1; for more, start one process per GPU (infer.sh)")
    options = EmbedOptions(batch_size)
    loaded, embedder = _opened(model, ngpu, running)
    if sv_threshold is not None:
        threshold_of(loaded, sv_threshold)
    folder = Path(output_dir) if output_dir else None
    return Pipeline(loaded, embedder, options, sv_threshold, folder, allow_commands)


def _opened(model: str | Path | Bundle | WaveformGraph, ngpu: int, running: SessionConfig | None) -> _Opened:
    """The model, to decide and to embed with; of an exported file both are one."""
    if isinstance(model, WaveformGraph):
        return model, model
    if isinstance(model, str | Path) and WaveformGraph.recognises(model):
        if running and (running.backend == "openvino" or running.precision != "fp32" or running.graph):
            raise SpeakerLabError(f"{model} is run in ONNX Runtime as it was exported, in no other way")
        graph = WaveformGraph.load(Path(model), running.num_threads if running else 0)
        return graph, graph
    from speakerlab.embed.extractor import Extractor  # and torch with it
    from speakerlab.hub.bundle import Bundle
    from speakerlab.hub.load import load_model, load_published

    device = _device(ngpu)
    if isinstance(model, Bundle):
        bundle = model
    else:
        bundle = load_model(model) if model else load_published(published.default())
    return bundle, Extractor.of_bundle(bundle, device, running)


def _device(ngpu: int) -> str:
    if ngpu == 0:
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    logging.info("no GPU here: running on the CPU")
    return "cpu"


@dataclass(frozen=True)
class Pipeline:
    """What ``pipeline`` makes.

    Attributes:
        model: what decides.
        embedder: what embeds; of a file they are one.
        options: batch size; a call names its channel.
        sv_threshold: the threshold of calls that give none.
        output_dir: the folder of calls that give none.
        allow_commands: whether commands in lists may run.
    """

    model: Bundle | WaveformGraph
    embedder: Extractor | WaveformGraph
    options: EmbedOptions
    sv_threshold: float | None = None
    output_dir: Path | None = None
    allow_commands: bool = False

    @property
    def identity(self) -> dict[str, str | None]:
        """The model's name, content hash and domain, under the names of every answer's JSON."""
        return identity(self.model)

    def __call__(
        self,
        audio_in: Any,
        *,
        output_dir: str | Path | None = None,
        thr: float | None = None,
        output_emb: bool = False,
        save_dir: str | Path | None = None,
        channel: int = 0,
        sample_rate: int = 16000,
    ) -> Any:
        """Embed one ``audio_in``, or compare two.

        Of an upload give the bytes. A path or URL means what a user at this machine may read: a text file is
        a list, which may name any other file, and a URL may lead into the local network.

        Args:
            audio_in: a URL (http, https, file), path, ``wav.scp`` (by its content, whatever its name),
                ``fbank.scp,speech,kaldi_ark``, bytes (a whole audio file, else raw PCM: mono, 16-bit,
                little-endian), samples [S], [1, S] or [S, channels] as array or tensor (integers over their
                full scale, floats as they are); or a tuple or list of two of them, in any mixture; or a list
                of any other number of single recordings.
            output_dir: folder of this call's files, instead of the pipeline's.
            thr: this call's threshold, instead of the pipeline's.
            output_emb: give ``{"outputs": result, "embs": float32 [N, E]}``, as ModelScope does; where there
                is no pair, outputs is ``{"text": "No similarity score output", "results": result}``.
            save_dir: folder for ``<name>.npy`` of every recording that has a file name.
            channel: the channel to listen to, from 0.
            sample_rate: of raw PCM, arrays and tensors, in Hz; all audio is resampled to the model's rate.

        Returns:
            Of one recording ``{"spk_embedding": float32 [E], "audio": {...}, "reasons": [...]}``; of a pair
            ``{"scores": [p, 1 - p], "label": "Same" | "Different" | "Uncertain", "cosine", "score", "text",
            "llr", "inside_calibration", "threshold", "threshold_origin", "model", "model_hash", "domain",
            "calibration", "reasons", "notes", "audio": [{...}, {...}]}`` (see ``Decision``).
            Of a ``wav.scp`` a dictionary of these by key, of a list a list of them; one that cannot be used
            is ``{"error": why}`` there and does not lose the others. A list against a single recording
            compares each of its utterances with that one.

        Raises:
            SpeakerLabError: an input that is none of the forms, lists of different keys (before anything is
                written), a recording that cannot be used, a threshold outside -1..1.
        """
        inputs = find_inputs(audio_in, sample_rate, allow_commands=self.allow_commands)
        given = thr if thr is not None else self.sv_threshold
        threshold = threshold_of(self.model, given) if len(inputs) == 2 else None
        npy_paths = outputs.npy_paths(Path(save_dir), inputs) if save_dir else []
        columns = self._embed(inputs, replace(self.options, channel=channel))
        if output_emb or not inputs[0].is_list:
            _raise_first(columns)
        decisions = _decide(columns, threshold) if threshold else {}
        folder = Path(output_dir) if output_dir else self.output_dir
        if folder:
            outputs.write(folder, columns, decisions)
        for column, paths in zip(columns, npy_paths, strict=bool(npy_paths)):
            outputs.write_npy(column, paths)
        outcome = _shaped(audio_in, inputs, _results(columns, decisions, self.identity))
        return _with_embeddings(outcome, columns, is_pair=threshold is not None) if output_emb else outcome

    def _embed(
        self, inputs: Sequence[Utterances], options: EmbedOptions
    ) -> list[dict[str, Embedded | AudioError]]:
        """Results of each input by key; a source that stands for many keys is embedded once."""
        unique = {id(source): (key, source) for one in inputs for key, source in one.sources.items()}
        found = dict(zip(unique, embed(list(unique.values()), self.embedder, options), strict=True))
        failed = [result for result in found.values() if isinstance(result, AudioError)]
        if failed and any(one.is_list for one in inputs):
            logging.warning("%d of %d cannot be used, the first: %s", len(failed), len(found), failed[0])
        return [{key: found[id(source)] for key, source in one.sources.items()} for one in inputs]


def _with_embeddings(
    outcome: Any, columns: Sequence[Mapping[str, Embedded | AudioError]], *, is_pair: bool
) -> dict[str, Any]:
    """ModelScope's ``output_emb`` form."""
    rows = [found.embedding for column in columns for found in outputs.usable(column).values()]
    outcome = outcome if is_pair else {"text": NO_SCORE, "results": outcome}
    return {"outputs": outcome, "embs": np.stack(rows)}


def _raise_first(columns: Sequence[Mapping[str, Embedded | AudioError]]) -> None:
    for column in columns:
        for found in column.values():
            if isinstance(found, AudioError):
                raise found


def _decide(
    columns: Sequence[Mapping[str, Embedded | AudioError]], threshold: Threshold
) -> dict[str, Decision | AudioError]:
    """The decision of each key, or why one of its two recordings cannot be used."""
    decisions: dict[str, Decision | AudioError] = {}
    for (key, first), second in zip(columns[0].items(), columns[1].values(), strict=True):
        if isinstance(first, AudioError):
            decisions[key] = first
        elif isinstance(second, AudioError):
            decisions[key] = second
        else:
            decisions[key] = decide(first, second, threshold)
    undecided = sum(bool(found.reasons) for found in outputs.usable(decisions).values())
    if undecided and len(decisions) > 1:
        logging.warning("%d of %d comparisons are uncertain: see their reasons", undecided, len(decisions))
    return decisions


def _results(
    columns: Sequence[Mapping[str, Embedded | AudioError]],
    decisions: Mapping[str, Decision | AudioError],
    model: Mapping[str, str | None],
) -> dict[str, dict[str, Any]]:
    """What is returned of each key."""
    results: dict[str, dict[str, Any]] = {}
    for key, first in columns[0].items():
        outcome = decisions.get(key, first)
        heard = [found.heard.as_dict() for column in columns if isinstance(found := column[key], Embedded)]
        if isinstance(outcome, AudioError):
            results[key] = {"error": str(outcome)}
        elif isinstance(outcome, Decision):
            results[key] = {**outcome.as_dict(), "audio": heard}
        else:
            reasons = list(outcome.heard.speech.reasons)
            results[key] = {
                "spk_embedding": outcome.embedding,
                "audio": heard[0],
                "reasons": reasons,
                **model,
            }
    return results


def _shaped(audio_in: Any, inputs: Sequence[Utterances], results: dict[str, dict[str, Any]]) -> Any:
    """Results by key of lists that have keys, in a list for a list, or the only one."""
    if not inputs[0].is_list:
        return next(iter(results.values()))
    return list(results.values()) if isinstance(audio_in, list) and len(inputs) == 1 else results
