"""Stage 0 of recipe zero: the synthetic corpus is complete, repeatable, audible and of different voices."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speakerlab.data.datadir import DataDir
from speakerlab.data.tables import read_trials
from speakerlab.errors import DataError, MissingExtraError, SpeakerLabError

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "local"))
import channel  # noqa: E402
import recordings  # noqa: E402
import synthesis  # noqa: E402
from sentences import sentence  # noqa: E402
from voices import draw_voice, draw_voices, nearest_distance  # noqa: E402

SPEC = importlib.util.spec_from_file_location("synthetic_prepare_data", ROOT / "local" / "prepare_data.py")
assert SPEC is not None
assert SPEC.loader is not None
prepare_data = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = prepare_data
SPEC.loader.exec_module(prepare_data)

SMALL = ["--num-speakers", "2", "--num-test-speakers", "4"]


@pytest.fixture(scope="module", autouse=True)
def few_sessions():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare_data, "TRAIN_SESSIONS", (1, 1))
        patch.setattr(prepare_data, "TEST_SESSIONS", (2, 2))
        yield


def make(out_dir: Path, *words: str) -> Path:
    prepare_data.main(prepare_data.options().parse_args([str(out_dir), *SMALL, *words]))
    return out_dir


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, few_sessions) -> Path:
    return make(tmp_path_factory.mktemp("made") / "corpus", "--nj", "1")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_two_jobs_give_the_same_bytes_as_one(corpus, tmp_path):
    assert contents(make(tmp_path / "again", "--nj", "2")) == contents(corpus)


def test_another_seed_gives_other_speech(tmp_path):
    voice = draw_voice("f", np.random.default_rng(0))
    tasks = [recordings.Task("spk", voice, (1, 1), 1, tmp_path / str(seed), (seed,)) for seed in (0, 1)]
    list(prepare_data.record_all(tasks, 2))
    first, second = ((tmp_path / str(seed) / "spk" / "spk-01-1.flac").read_bytes() for seed in (0, 1))
    assert first != second


def test_both_sets_load_and_share_no_speaker(corpus):
    train, test = (DataDir.load(corpus / name) for name in ("train", "test"))
    speakers = [{utt.spk_id for utt in data.utterances} for data in (train, test)]
    assert [len(ids) for ids in speakers] == [2, 4]
    assert not speakers[0] & speakers[1]
    assert train.domain() == test.domain() == "synthetic speech"
    for data, ids in zip((train, test), speakers, strict=True):
        assert all(utt.utt_id.startswith(f"{utt.spk_id}-") for utt in data.utterances)
        assert sorted(data.table("spk2gender").values()) == ["f"] * (len(ids) // 2) + ["m"] * (len(ids) // 2)


def test_every_file_is_sound_mono_16_bit_and_as_long_as_stated(corpus):
    for name in ("train", "test"):
        data = DataDir.load(corpus / name)
        for rec_id, recording in data.recordings.items():
            info = soundfile.info(recording.source)
            samples, _ = soundfile.read(recording.source)
            assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
            assert 2.5 <= len(samples) / 16000 <= 5.0
            assert float(data.table("utt2dur")[rec_id]) == pytest.approx(len(samples) / 16000, abs=5e-4)
            assert np.abs(samples).max() < 0.96
            assert -40 < 20 * np.log10(np.sqrt(np.mean(samples**2))) < -19


def test_paths_are_relative_so_that_the_corpus_can_be_moved(corpus):
    sources = [line.split()[1] for line in (corpus / "test" / "wav.scp").read_text().splitlines()]
    assert all(source.startswith("../audio/test/") for source in sources)


def test_targets_are_all_pairs_across_sessions(corpus):
    utts = DataDir.load(corpus / "test").utt_ids
    expected = {
        (a, b)
        for a, b in itertools.combinations(utts, 2)
        if a.split("-")[0] == b.split("-")[0] and a.split("-")[1] != b.split("-")[1]
    }
    trials = list(read_trials(corpus / "test" / "trials"))
    assert {(t.enroll_id, t.test_id) for t in trials if t.is_target} == expected
    nontargets = [t for t in trials if not t.is_target]
    assert len(nontargets) >= len(expected)
    assert all(t.enroll_id.split("-")[0] != t.test_id.split("-")[0] for t in nontargets)


def test_same_gender_trials(corpus):
    genders = DataDir.load(corpus / "test").table("spk2gender")
    everything, same = (set(read_trials(corpus / "test" / n)) for n in ("trials", "trials_same_gender"))
    assert same < everything
    assert all(genders[t.enroll_id.split("-")[0]] == genders[t.test_id.split("-")[0]] for t in same)
    assert {t for t in everything if t.is_target} == {t for t in same if t.is_target}


def test_a_complete_corpus_is_kept(corpus, monkeypatch, caplog):
    monkeypatch.setattr(prepare_data, "record_all", lambda *_: pytest.fail("made again"))
    caplog.set_level("INFO")
    make(corpus)
    assert "kept" in caplog.text


def test_other_settings_are_refused_and_overwritten_on_demand(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_data, "make_corpus", lambda *_: None)
    made = make(tmp_path / "corpus")
    with pytest.raises(DataError, match=r"differs in: seed; .*--overwrite"):
        make(made, "--seed", "5")
    make(made, "--seed", "5", "--overwrite")
    assert json.loads((made / "corpus.json").read_text())["seed"] == 5
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


def test_a_folder_of_somebody_else_is_never_replaced(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "corpus.json").write_text("[]")
    with pytest.raises(DataError, match="was not made by this script"):
        make(tmp_path, "--overwrite")
    assert (tmp_path / "precious").exists()


def test_an_interrupted_run_leaves_nothing_that_looks_finished(tmp_path, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prepare_data, "make_corpus", interrupt)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()
    monkeypatch.setattr(prepare_data, "make_corpus", lambda *_: None)
    assert (make(tmp_path / "corpus") / "corpus.json").exists()


def die(task: recordings.Task) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail(task: recordings.Task) -> None:
    recordings.write(Path(f"{task.spk_id}.flac"), np.zeros(16000))


@pytest.mark.parametrize(
    ("work", "message"),
    [(die, "spk0001: its process was killed"), (fail, r"spk0001: peaks at 0\.0000, silent")],
)
def test_a_failing_process_is_one_line(monkeypatch, tmp_path, work, message):
    monkeypatch.setattr(prepare_data, "record_speaker", work)
    task = recordings.Task("spk0001", draw_voice("f", np.random.default_rng(0)), (1, 1), 1, tmp_path, (0,))
    with pytest.raises(SpeakerLabError, match=message):
        list(prepare_data.record_all([task], 1))


def test_a_missing_wheel_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"espeakng-loader is not installed; .*/demo\.txt"):
        make(tmp_path / "corpus")


@pytest.mark.parametrize(
    ("option", "value"), [("--num-speakers", 1), ("--num-test-speakers", 3), ("--nj", 0), ("--seed", -1)]
)
def test_bad_numbers(tmp_path, option, value):
    with pytest.raises(SpeakerLabError, match=f"{option} must be at least {value + 1}"):
        make(tmp_path / "corpus", option, str(value))


def test_the_command_line_ends_in_one_line_and_status_1(tmp_path):
    (tmp_path / "file").write_text("")
    command = [sys.executable, "local/prepare_data.py", str(tmp_path / "file" / "corpus")]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Not a directory" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_hundred_voices_are_clearly_different():
    voices = draw_voices(100, np.random.default_rng(0))
    nearest = [nearest_distance(v, voices[:i] + voices[i + 1 :]) for i, v in enumerate(voices)]
    assert min(nearest) > 2.0
    assert [v.gender for v in voices[:4]] == ["m", "f", "m", "f"]


def pitch_hz(samples: np.ndarray) -> np.ndarray:
    """Pitch of voiced 64 ms frames by the highest peak of the autocorrelation between 60 and 400 Hz."""
    found = []
    for start in range(0, len(samples) - 1024, 512):
        frame = samples[start : start + 1024] * np.hanning(1024)
        correlation = np.fft.irfft(np.abs(np.fft.rfft(frame, 4096)) ** 2)[:270]
        lag = 40 + int(np.argmax(correlation[40:]))
        if frame.std() > 0.3 * samples.std() and correlation[lag] > 0.4 * correlation[0]:
            found.append(16000 / lag)
    return np.array(found)


def test_voices_have_the_pitch_and_the_vocal_tract_they_were_given():
    rng = np.random.default_rng(0)
    male, female = draw_voice("m", rng), draw_voice("f", rng)
    with synthesis.synthesizer() as speech:
        low, high = (speech.say("My quiet neighbour borrowed a ladder.", voice) for voice in (male, female))
        centroids = []
        for factor in (0.9, 1.1):
            voice = draw_voice("m", np.random.default_rng(7))
            voice = recordings.Voice(**{**vars(voice), "klatt": 0, "formants": (factor,) * 9})
            power = np.abs(np.fft.rfft(speech.say("We were away all year.", voice))) ** 2
            centroids.append((power * np.arange(len(power))).sum() / power.sum() / len(power))
    for samples, voice in ((low, male), (high, female)):
        median = np.median(pitch_hz(samples))
        assert 0.9 * voice.pitch_hz < median < 1.1 * voice.pitch_hz * voice.pitch_range
    assert centroids[1] > 1.05 * centroids[0]


def test_a_session_changes_pitch_and_rate_but_hardly_the_formants():
    voice = draw_voice("m", np.random.default_rng(0))
    days = [voice.in_session(np.random.default_rng(seed)) for seed in range(200)]
    pitch = np.std([np.log(day.pitch_hz) for day in days])
    tract = np.std([np.log(day.formants[1]) for day in days])
    assert 0.03 < pitch < 0.08
    assert 0.004 < tract < 0.012
    assert {day.accent for day in days} == {voice.accent}


def test_sentences_have_the_length_asked_for_and_differ():
    rng = np.random.default_rng(0)
    texts = [sentence(9, rng) for _ in range(200)]
    assert {len(text.split()) for text in texts} == {9}
    assert len(set(texts)) == 200


def test_a_room_decays_by_60_db_in_the_time_drawn():
    responses = [channel.draw_response(np.random.default_rng(seed)) for seed in range(50)]
    for response in responses:
        assert response[0] == 1
        assert not response[1:32].any()
        third = len(response) // 3  # 20 dB
        early, late = (np.mean(response[32:][s : s + 500] ** 2) for s in (0, third))
        assert 10 * np.log10(early / late) == pytest.approx(20, abs=4)


@pytest.mark.parametrize("kind", [k for k in channel.NOISE_KINDS if k != "babble"])
def test_noise_and_level_are_as_drawn(kind):
    rng = np.random.default_rng(0)
    flat = {"gains_db": np.zeros(9), "low_hz": 1.0, "high_hz": 8000.0, "response": np.ones(1)}
    session = channel.Session(noise_kind=kind, snr_db=10.0, level_db=-30.0, **flat)
    clean, noise = rng.standard_normal(48001), channel.draw_noise(kind, 48001, rng)
    heard = session.record(clean, noise)
    assert channel.rms(heard) == pytest.approx(10 ** (-30 / 20))
    scale = heard @ clean / (clean @ clean)
    assert -20 * np.log10(channel.rms(heard - scale * clean) / channel.rms(scale * clean)) == pytest.approx(
        10, abs=0.5
    )


def test_the_equalizer_applies_its_gains():
    gains_db = np.array([0, 0, 0, 0, 0, 12, 0, 0, 0.0])
    session = channel.Session(np.ones(1), gains_db, 1.0, 8000.0, "white", 10.0, -30.0)
    time_s = np.arange(16000) / 16000
    for freq_hz, gain_db in ((channel.EQUALIZER_HZ[5], 12), (channel.EQUALIZER_HZ[3], 0)):
        tone = np.sin(2 * np.pi * round(freq_hz) * time_s)
        assert 20 * np.log10(channel.rms(session.equalize(tone)) / channel.rms(tone)) == pytest.approx(
            gain_db, abs=0.1
        )
