"""The predictor: verbs on a folder of people, open-set, a threshold per call, never a yes without speech."""

import numpy as np
import pytest
from conftest import save_tiny

from speakerlab.errors import AudioError, DataError, SpeakerLabError
from speakerlab.predictor import Predictor


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model") / "m", threshold=0.5)


@pytest.fixture
def predictor(model, tmp_path):
    return Predictor(model, tmp_path / "people")


@pytest.fixture(scope="module")
def spoken(talkers):
    return [[waveform.samples for waveform in talker] for talker in talkers]


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_a_batch_is_the_single_embeddings(predictor, spoken):
    audios = [spoken[0][0], spoken[1][0][:30000], spoken[0][1]]
    matrix = predictor.predict_batch(audios)
    singles = [predictor.predict(audio) for audio in audios]
    np.testing.assert_allclose(matrix, singles, atol=1e-5)
    assert matrix.shape == (3, 8)
    with pytest.raises(SpeakerLabError, match="no recording"):
        predictor.predict_batch([])


def test_contrast_with_a_threshold_of_its_own(predictor, spoken):
    expected = cosine(*(predictor.predict(audio) for audio in (spoken[0][0], spoken[1][0])))
    found = predictor.contrast(spoken[0][0], spoken[1][0])
    assert found.cosine == pytest.approx(expected, abs=1e-6)
    assert found.threshold.score == 0.5
    assert predictor.contrast(spoken[0][0], spoken[1][0], threshold=expected - 0.001).label == "Same"
    assert predictor.contrast(spoken[0][0], spoken[1][0], threshold=1.0).label == "Different"
    zero = predictor.contrast(spoken[0][0], spoken[1][0], threshold=0.0)
    assert zero.threshold.score == 0.0
    assert predictor.contrast(spoken[0][0], spoken[1][0]).threshold.score == 0.5  # nothing sticks


def test_register_and_recognise(predictor, spoken):
    assert predictor.register(spoken[0][0], "Ann") == 1
    assert predictor.register([spoken[0][1]], "Ann") == 2
    assert predictor.register(spoken[1][0], "Bob") == 1
    assert predictor.get_users() == ["Ann", "Bob"]
    ann = [predictor.predict(audio) for audio in spoken[0]]
    model = sum(one / np.linalg.norm(one) for one in ann)
    probe = predictor.predict(spoken[1][1])
    found = predictor.recognition(spoken[1][1], threshold=-1.0)
    assert found.ranking["Ann"] == pytest.approx(cosine(model, probe), abs=1e-5)
    assert found.ranking["Bob"] == pytest.approx(cosine(predictor.predict(spoken[1][0]), probe), abs=1e-5)
    assert (found.name, found.score) == (found.nearest, max(found.ranking.values()))
    assert list(found.ranking.values()) == sorted(found.ranking.values(), reverse=True)


def test_a_rejection_says_who_was_nearest(predictor, spoken):
    predictor.register(spoken[0][0], "Ann")
    found = predictor.recognition(spoken[0][0], threshold=1.0)
    rejected = predictor.recognition(spoken[1][0], threshold=1.0)
    assert found.nearest == rejected.nearest == "Ann"
    assert rejected.name is None
    assert rejected.score == rejected.ranking["Ann"] < 1
    assert rejected.reasons == ()


def test_without_speech_nobody_is_enrolled_or_recognised(predictor, spoken):
    noise = 0.1 * np.random.default_rng(0).standard_normal(48000).astype(np.float32)
    with pytest.raises(AudioError, match="cannot enrol Ann: no speech"):
        predictor.register([spoken[0][0], noise], "Ann")
    assert predictor.get_users() == []
    predictor.register(spoken[0][0], "Ann")
    found = predictor.recognition(noise, threshold=-1.0)
    assert found.name is None
    assert found.reasons
    assert predictor.contrast(noise, noise, threshold=-1.0).label == "Uncertain"


def test_people_can_be_forgotten(predictor, spoken):
    predictor.register(spoken[0][0], "Ann")
    assert predictor.remove_user("Ann")
    assert not predictor.remove_user("Ann")
    with pytest.raises(DataError, match="nobody is enrolled"):
        predictor.recognition(spoken[0][0])


def test_people_of_another_model_are_refused(predictor, spoken, tmp_path):
    predictor.register(spoken[0][0], "Ann")
    other = Predictor(save_tiny(tmp_path / "other", seed=1, threshold=0.5), tmp_path / "people")
    with pytest.raises(DataError, match="enrolled with another model"):
        other.recognition(spoken[0][0])


@pytest.mark.parametrize("audio", ["wav.scp", 5, ("a.wav", "b.wav")])
def test_what_is_no_single_recording(predictor, audio, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wav.scp").write_text("u1 a.wav\nu2 b.wav\n")
    with pytest.raises(SpeakerLabError):
        predictor.predict(audio)


def test_no_folder_no_people(model, spoken):
    with pytest.raises(SpeakerLabError, match="has no voiceprints"):
        Predictor(model).register(spoken[0][0], "Ann")
