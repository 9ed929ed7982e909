"""Long recordings are embedded in windows wherever audio is taken: memory stays flat, values are right."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import save_tiny, speakerlab
from serving import encoded, start

from speakerlab.embed.extraction import embeddings
from speakerlab.embed.inputs import UtteranceInputs
from speakerlab.errors import SpeakerLabError
from speakerlab.io import audio
from speakerlab.io.ark import FeatureTable
from speakerlab.pipeline import pipeline
from speakerlab.pipeline.embedding import EmbedOptions, embed
from speakerlab.pipeline.sources import find_one
from speakerlab.types import Waveform

RATE = 16000


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model") / "m", threshold=0.5)


@pytest.fixture(scope="module")
def network(model):
    return pipeline(model=model, ngpu=0)


@pytest.fixture(scope="module")
def long(talkers):
    """About 12 s of two talkers, with a pause that is a window long."""
    first, second = (np.concatenate([one.samples for one in sentences]) for sentences in talkers[:2])
    pause = np.random.default_rng(0).normal(0, 1e-5, 4 * RATE).astype(np.float32)
    return np.concatenate([first[: 4 * RATE], pause, second[: 4 * RATE]])


def whole(network, samples):
    """The embedding of samples that are not cut, of length 1."""
    options = EmbedOptions(window_s=0)
    (found,) = embed([("whole", find_one(samples, RATE))], network.embedder, options)
    return found.embedding / np.linalg.norm(found.embedding), found.heard.speech.speech_s


def windowed(network, samples, seconds, batch_size=1):
    options = EmbedOptions(batch_size, window_s=seconds)
    (found,) = embed([("long", find_one(samples, RATE))], network.embedder, options)
    return found.embedding


@pytest.mark.parametrize("batch_size", [1, 4])
def test_windows_are_averaged_by_their_speech(network, long, batch_size):
    parts = [whole(network, piece) for piece in np.split(long, 3)]
    weights = np.array([seconds for _, seconds in parts])
    assert weights[1] == 0 < min(weights[0], weights[2])  # the pause counts for nothing
    expected = np.average([vector for vector, _ in parts], axis=0, weights=weights)
    np.testing.assert_allclose(windowed(network, long, 4, batch_size), expected, atol=1e-6)
    np.testing.assert_array_equal(windowed(network, long, 12), windowed(network, long, 0))
    assert not np.allclose(windowed(network, long, 12), expected, atol=1e-3)


def test_extraction_and_pipeline_agree(network, long, tmp_path):
    audio.write(tmp_path / "long.wav", Waveform(long, RATE))
    (tmp_path / "wav.scp").write_text(f"long {tmp_path}/long.wav\n")
    from speakerlab.data.datadir import DataDir

    data = DataDir.load(tmp_path)
    inputs = UtteranceInputs(data, network.embedder, feats_type="raw", use_vad=False, window_s=5)
    ((_, extracted),) = embeddings(data.utterances, inputs, network.embedder, 1)
    stored = audio.read(data.recordings["long"], None, RATE).samples
    np.testing.assert_allclose(windowed(network, stored, 5), extracted, atol=1e-6)


def test_features_are_cut_too(network, long):
    feats = network.embedder.features(Waveform(long, RATE)).numpy()
    third = len(feats) // 3
    options = EmbedOptions(window_s=4)

    def of(values, given=options):
        from speakerlab.pipeline.sources import Source

        (found,) = embed([("f", Source("features", lambda: values))], network.embedder, given)
        return found.embedding

    parts = [of(feats[start : start + third], EmbedOptions(window_s=0)) for start in (0, third, 2 * third)]
    expected = np.mean([one / np.linalg.norm(one) for one in parts], axis=0)
    np.testing.assert_allclose(of(feats[: 3 * third]), expected, atol=1e-6)


def test_every_command_cuts_and_says_so_once(network, model, long, tmp_path, capsys):
    audio.write(tmp_path / "long.wav", Waveform(np.tile(long, 6), RATE))  # 72 s
    audio.write(tmp_path / "short.wav", Waveform(long, RATE))
    files = [str(tmp_path / name) for name in ("long.wav", "short.wav")]
    assert speakerlab("embed", "--cpu", "--model", model, "--output-dir", tmp_path / "out", *files[:1]) == 0
    assert "more than 40 s are embedded in windows" in capsys.readouterr().err
    (cut,) = FeatureTable(tmp_path / "out" / "xvector.scp").values()
    stored = audio.read_channels(audio_of(files[0])).samples[:, 0]
    np.testing.assert_allclose(cut, windowed(network, stored, 40), atol=1e-6)
    options = ("--window-s", "0", "--output-dir", tmp_path / "whole")
    assert speakerlab("embed", "--cpu", "--model", model, *options, files[0]) == 0
    (uncut,) = FeatureTable(tmp_path / "whole" / "xvector.scp").values()
    np.testing.assert_allclose(uncut, windowed(network, stored, 0), atol=1e-6)
    assert not np.allclose(cut, uncut, atol=1e-3)


def audio_of(path):
    from speakerlab.types import RecId, Recording

    return Recording(RecId("r"), path)


def test_the_server_cuts_as_the_pipeline_does(network, model, long, tmp_path):
    samples = np.tile(long, 6)
    service, client = start(model, tmp_path)
    with client:
        wav = encoded(samples, subtype="FLOAT")
        told = client.post("/v1/embed", content=wav, headers={"Content-Type": "audio/wav"}).json()
    np.testing.assert_allclose(told["embedding"], windowed(network, samples, 40), atol=1e-6)
    assert service.pipeline.options.window_s == 40


@pytest.mark.parametrize("window_s", [-1, 0.5, float("nan"), float("inf")])
def test_windows_that_cannot_be_are_refused(window_s):
    with pytest.raises(SpeakerLabError, match="it is 0, or 1 and more"):
        EmbedOptions(window_s=window_s)


PEAK = """
import resource, sys
import numpy as np
from speakerlab.pipeline import pipeline
p = pipeline(model=sys.argv[1], ngpu=0)
speech = np.load(sys.argv[2])
for minutes in (2, 8):
    p(np.resize(speech, minutes * 60 * 16000))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_does_not_grow_with_the_recording(tmp_path, long):
    """CAM++: six more minutes took 0.6 GB; samples themselves take 4 MB a minute, a few times."""
    from speakerlab import config
    from speakerlab.hub import bundle

    settings = {"frontend": {"name": "fbank"}, "model": {"name": "campplus", "init_channels": 64}}
    embedder = config.from_mapping(bundle.EmbedderConfig, settings, "test")
    bundle.save(tmp_path / "m", embedder.model.build(feat_dim=80), embedder, 80, {})
    np.save(tmp_path / "speech.npy", long)
    command = [sys.executable, "-c", PEAK, str(tmp_path / "m"), str(tmp_path / "speech.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    short, longer = map(int, done.stdout.split())
    assert longer < short + 120, done.stdout
