"""The data dir commands as a user calls them: exit status, what is printed where, what is on disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from speakerlab.bin import combine_data, fix_data, make_validation, split_data, subset_data, validate_data
from speakerlab.data.datadir import DataDir
from speakerlab.data.tables import read_trials
from speakerlab.errors import DataError
from speakerlab.io import audio
from speakerlab.types import Waveform

RATE = 8000
NAMES = [f"s{n}" for n in range(6)]


def tone(seconds: float) -> Waveform:
    return Waveform(0.3 * np.sin(np.arange(round(seconds * RATE)) / 5).astype(np.float32), RATE)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two recordings of 4 s by each of six speakers, with genders and trials."""
    path = tmp_path / "data"
    (path / "audio").mkdir(parents=True)
    utts = [f"{name}-{take}" for name in NAMES for take in "xy"]
    for utt in utts:
        audio.write(path / f"audio/{utt}.wav", tone(4.0))
    (path / "wav.scp").write_text("".join(f"{utt} audio/{utt}.wav\n" for utt in utts))
    (path / "utt2spk").write_text("".join(f"{utt} {utt[:2]}\n" for utt in utts))
    (path / "spk2gender").write_text("".join(f"{name} {'fm'[n % 2]}\n" for n, name in enumerate(NAMES)))
    (path / "trials").write_text("s0-x s0-y target\ns0-x s1-x nontarget\n")
    return path


def call(command: ModuleType, *words: object) -> None:
    command.main(command.options().parse_args([str(word) for word in words]))


def run(command: str, *words: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", f"speakerlab.bin.{command}", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_good_data_dir_is_one_line_on_stdout_and_status_0(folder):
    done = run("validate_data", folder, "--need-speakers", "--need-trials", "--check-audio")
    assert done.returncode == 0
    counts = "12 utterances, 6 speakers, 12 recordings, 0.01 hours, 2 trials in trials"
    assert done.stdout == f"{folder}: valid, {counts}\n"


def test_faults_are_lines_on_stderr_and_status_1(folder):
    edit(folder / "utt2spk", "s1-y s1\n", "s1-z s1\n")
    (folder / "audio/s3-x.wav").unlink()
    done = run("validate_data", folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith((str(folder), "validate_data:"))]
    assert [line.split(" ")[0] for line in lines] == [
        f"{folder}/wav.scp:4:",
        f"{folder}/utt2spk:4:",
        f"{folder}/wav.scp:7:",
        "validate_data:",
    ]
    assert lines[-1] == f"validate_data: {folder}: 3 fault(s), listed above; mend them and check again"


def test_hours_come_from_utt2dur_without_reading_audio(folder, capsys):
    (folder / "utt2dur").write_text("".join(f"{u} 1800\n" for u in DataDir.load(folder).utt_ids))
    call(validate_data, folder)
    assert "12 recordings, 6.00 hours" in capsys.readouterr().out


def test_missing_audio_is_listed_up_to_a_limit_with_the_count(folder, capsys):
    extra = "".join(f"t{n:02d} audio/none{n}.wav\n" for n in range(30))
    (folder / "wav.scp").write_text((folder / "wav.scp").read_text() + extra)
    (folder / "utt2spk").unlink()
    (folder / "spk2gender").unlink()
    with pytest.raises(DataError, match="30 fault"):
        call(validate_data, folder)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 21
    assert f"{folder}/wav.scp: ... and 10 more; restore the audio" in lines[-1]


def test_audio_faults_are_found_when_asked_for(folder, capsys):
    data = (folder / "audio/s1-x.wav").read_bytes()
    (folder / "audio/s1-x.wav").write_bytes(data[: len(data) // 2])
    (folder / "audio/s2-x.wav").write_bytes(b"")
    (folder / "audio/s3-x.wav").unlink()
    edit(folder / "wav.scp", "s4-x audio/s4-x.wav", "s4-x exit 3 |")
    with pytest.raises(DataError, match="1 fault"):
        call(validate_data, folder)
    capsys.readouterr()
    with pytest.raises(DataError, match="4 fault"):
        call(validate_data, folder, "--check-audio")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" ")[0] for line in lines] == [f"{folder}/wav.scp:{n}:" for n in (7, 3, 5, 9)]
    assert [line.split(" ")[1] for line in lines[1:]] == ["s1-x:", "s2-x:", "s4-x:"]


def test_listed_lengths_are_compared_with_the_audio(folder, capsys):
    utts = DataDir.load(folder).utt_ids
    (folder / "segments").write_text("".join(f"{u} {u} 0 {4.3 if u == 's0-x' else -1}\n" for u in utts))
    lengths = {"utt2dur": {"s0-x": 4.3, "s1-x": 5, "s2-x": 4.09}, "reco2dur": {"s3-x": 3.8, "s4-x": 3.95}}
    for name, wrong in lengths.items():
        (folder / name).write_text("".join(f"{u} {wrong.get(u, 4.0)}\n" for u in utts))
    call(validate_data, folder)
    capsys.readouterr()
    with pytest.raises(DataError, match="2 fault"):
        call(validate_data, folder, "--check-audio")
    assert [line for line in capsys.readouterr().err.splitlines() if not line.startswith("20")] == [
        f"{folder}/utt2dur:3: 's1-x' lasts 4.00 s, not 5 s; make utt2dur anew, or remove it",
        f"{folder}/reco2dur:7: 's3-x' lasts 4.00 s, not 3.8 s; make reco2dur anew, or remove it",
    ]


def test_training_data_are_compared_with_the_test(folder, tmp_path, capsys):
    subset = tmp_path / "train"
    (tmp_path / "list").write_text("s0\ns1\n")
    call(subset_data, folder, subset, "--spk-list", tmp_path / "list")
    capsys.readouterr()
    with pytest.raises(DataError, match="4 fault"):
        call(validate_data, folder, "--train-data", subset)
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("20")]
    assert [line.split(";")[0] for line in lines] == [
        *(
            f"warning: {folder}/utt2spk:{n}: the speaker '{s}' is in {subset}/utt2spk too"
            for n, s in ((1, "s0"), (3, "s1"))
        ),
        *(
            f"{folder}/wav.scp:{n}: the recording '{u}' is in {subset}/wav.scp too"
            for n, u in enumerate(("s0-x", "s0-y", "s1-x", "s1-y"), 1)
        ),
    ]


def test_a_segment_beyond_its_recording_is_found_by_reading(folder, capsys):
    utts = DataDir.load(folder).utt_ids
    (folder / "segments").write_text("".join(f"{u} {u} 0 {9 if u == 's1-x' else 4}\n" for u in utts))
    call(validate_data, folder)
    capsys.readouterr()
    with pytest.raises(DataError, match="1 fault"):
        call(validate_data, folder, "--check-audio")
    assert capsys.readouterr().err.startswith(f"{folder}/segments:3: s1-x: ")


def test_fix_data_says_what_it_changed_and_its_copy_is_valid(folder, tmp_path, capsys):
    lines = (folder / "wav.scp").read_text().splitlines()
    (folder / "wav.scp").write_bytes("\r\n".join(["\ufeff" + lines[1], lines[0], *lines[2:], ""]).encode())
    edit(folder / "utt2spk", "s1-y s1\n", "s1-z s1\n")
    edit(folder / "trials", "\ns0-x s1-x", "\ns0-x s1-y nontarget\ns0-x s1-x")
    call(fix_data, folder, tmp_path / "fixed")
    said = capsys.readouterr().err
    for change in (
        "wav.scp: convert line ends: 1 fault(s), the first: line 1",
        "wav.scp: remove the byte-order mark: 1 fault(s), the first: line 1: byte-order mark",
        "wav.scp: sort the lines: 1 fault(s), the first: line 2",
        "wav.scp: drop such utterances: 1 fault(s), the first: line 4: utterance 's1-y' has no speaker",
        "utt2spk: drop such lines: 1 fault(s), the first: line 4",
        "fixed: 5 fault(s) repaired",
    ):
        assert change in said
    call(validate_data, tmp_path / "fixed", "--need-speakers", "--need-trials", "--check-audio")
    assert "11 utterances, 6 speakers, 11 recordings, 0.01 hours, 2 trials" in capsys.readouterr().out


def test_fix_data_does_not_guess(folder, tmp_path):
    (folder / "utt2spk").write_text((folder / "utt2spk").read_text() + "s0-x s5\n")
    done = run("fix_data", folder, tmp_path / "fixed")
    assert done.returncode == 1
    assert f"fix_data: {folder}/utt2spk:13: 's0-x' is on line 1 already, with another value" in done.stderr
    assert not (tmp_path / "fixed").exists()


@pytest.mark.parametrize(
    ("words", "num_utts", "num_speakers"),
    [
        (("--num-speakers", 2, "--seed", 1), 4, 2),
        (("--num-utts", 5, "--seed", 1), 5, None),
        (("--utt-list", "list"), 3, 2),
        (("--spk-list", "speakers"), 4, 2),
    ],
)
def test_subset_data_takes_lists_or_numbers(folder, tmp_path, monkeypatch, words, num_utts, num_speakers):
    monkeypatch.chdir(tmp_path)
    Path("list").write_text("s1-x\ns0-y\ns0-x\n")
    Path("speakers").write_text("s5\ns0\n")
    call(subset_data, folder, "part", *words)
    data = DataDir.load(Path("part"))
    assert len(data.utterances) == num_utts
    assert num_speakers in (None, len(data.spk2utt()))
    assert all(Path(r.source).is_file() and Path(r.source).is_absolute() for r in data.recordings.values())


def test_subset_data_is_random_by_seed_alone(folder, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        call(subset_data, folder, tmp_path / name, "--num-utts", 5, "--seed", seed)
    first, again, other = (DataDir.load(tmp_path / name).utt_ids for name in "abc")
    assert first == again != other


def test_subset_data_needs_one_choice(folder, tmp_path):
    for words in ((), ("--num-utts", 1, "--num-speakers", 1)):
        with pytest.raises(SystemExit) as caught:
            call(subset_data, folder, tmp_path / "part", *words)
        assert caught.value.code == 2
    with pytest.raises(DataError, match="has 6 to choose from, not 7"):
        call(subset_data, folder, tmp_path / "part", "--num-speakers", 7)


def test_split_and_combine_give_the_whole_again(folder, tmp_path):
    call(split_data, folder, 5)
    parts = sorted((folder / "split5").iterdir())
    assert [part.name for part in parts] == ["1", "2", "3", "4", "5"]
    assert [len(DataDir.load(part).utterances) for part in parts] == [3, 3, 2, 2, 2]
    call(combine_data, tmp_path / "whole", *parts)
    whole = DataDir.load(tmp_path / "whole")
    assert whole.utterances == DataDir.load(folder).utterances
    assert whole.recordings == DataDir.load(folder).recordings
    assert (tmp_path / "whole/spk2gender").read_text() == (folder / "spk2gender").read_text()
    assert (tmp_path / "whole/utt2spk").read_text() == (folder / "utt2spk").read_text()


def test_combine_data_keeps_ids_apart_with_prefixes(folder, tmp_path):
    call(subset_data, folder, tmp_path / "other", "--num-speakers", 2)
    with pytest.raises(DataError, match="as well; rename one, or use --prefix"):
        call(combine_data, tmp_path / "whole", folder, tmp_path / "other")
    call(combine_data, tmp_path / "whole", folder, tmp_path / "other", "--prefix")
    assert len(DataDir.load(tmp_path / "whole").spk2utt()) == 8
    assert read_trials(tmp_path / "whole/trials").enroll_ids[0] == "data-s0-x"
    with pytest.raises(DataError, match="given twice"):
        call(combine_data, folder, tmp_path / "other", folder)


def test_the_domain_goes_where_the_data_go(folder, tmp_path, caplog):
    (folder / "domain").write_text("synthetic speech\n")
    call(subset_data, folder, tmp_path / "part", "--num-speakers", 2)
    call(make_validation, folder, tmp_path / "train", tmp_path / "valid", "--num-speakers", 4)
    call(combine_data, tmp_path / "both", folder, tmp_path / "part", "--prefix")
    for name in ("part", "train", "valid", "both"):
        assert (tmp_path / name / "domain").read_text() == "synthetic speech\n"
        assert DataDir.load(tmp_path / name).domain() == "synthetic speech"
    for text, told in (("telephone\n", "synthetic speech or telephone"), (None, "None or synthetic speech")):
        (tmp_path / "part/domain").unlink()
        if text:
            (tmp_path / "part/domain").write_text(text)
        call(combine_data, tmp_path / "both", folder, tmp_path / "part", "--prefix")
        assert not (tmp_path / "both/domain").exists()
        assert f"domain left out: it is {told}" in caplog.text
    (folder / "domain").write_text("one\ntwo\n")
    with pytest.raises(DataError, match=r"domain: has 2 lines; write one line"):
        call(subset_data, folder, tmp_path / "part", "--num-speakers", 2)


def test_make_validation_writes_two_valid_data_dirs(folder, tmp_path, capsys):
    for name in ("a", "b"):
        call(
            make_validation, folder, tmp_path / name / "train", tmp_path / name / "valid", "--num-speakers", 4
        )
    call(validate_data, tmp_path / "a/train", "--need-speakers", "--check-audio")
    call(validate_data, tmp_path / "a/valid", "--need-speakers", "--need-trials", "--check-audio")
    train, valid = capsys.readouterr().out.splitlines()
    assert "4 utterances, 2 speakers, 4 recordings, 0.00 hours" in train
    assert "16 utterances, 4 speakers, 8 recordings, 0.01 hours, 120 trials in trials, 56 trials" in valid
    files = sorted(file.relative_to(tmp_path / "a") for file in (tmp_path / "a").rglob("*") if file.is_file())
    assert len(files) == 4 + 7
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_make_validation_needs_enough_speakers_and_three_places(folder, tmp_path):
    with pytest.raises(DataError, match="has 6 speakers; to hold out 5 takes 7; ask for at most 4"):
        call(make_validation, folder, tmp_path / "train", tmp_path / "valid", "--num-speakers", 5)
    with pytest.raises(DataError, match="given twice"):
        call(make_validation, folder, tmp_path / "train", tmp_path / "train", "--num-speakers", 4)
    assert not (tmp_path / "train").exists()


@pytest.mark.parametrize(
    "command",
    ["validate_data", "fix_data", "subset_data", "combine_data", "split_data", "make_validation"],
)
def test_wrong_usage_is_status_2(command):
    assert run(command).returncode == 2
