"""Nothing that looks like a list or a command runs one, unless a list was declared: by every way in there is.

Each case would leave a file PWNED in the working directory if the command in it ran.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import save_tiny

from speakerlab.bin import make_data_dir
from speakerlab.data.datadir import DataDir
from speakerlab.data.tables import may_run, read_wav_scp
from speakerlab.errors import SpeakerLabError
from speakerlab.io import audio, audio_source
from speakerlab.io.ark import FeatureTable
from speakerlab.pipeline import pipeline
from speakerlab.predictor import Predictor
from speakerlab.types import RecId, Recording, Waveform

ROOT = Path(__file__).parents[2]
INFER = ROOT / "egs/modelscope/speaker_verification/campplus_zh-cn_16k-common"
COMMAND = "touch PWNED; cat a.wav |"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model") / "m", threshold=0.5)


@pytest.fixture
def here(tmp_path, talkers, monkeypatch):
    """A working directory with a recording, and a list of a command under several names."""
    monkeypatch.chdir(tmp_path)
    audio_source._output.cache_clear()  # else the command of an earlier test would not run again
    audio.write(tmp_path / "a.wav", Waveform(talkers[0][0].samples, 16000))
    for name in ("upload.wav", "upload.flac", "wav.scp", "wav.scp.00", "list.txt", "scp"):
        (tmp_path / name).write_text(f"x {COMMAND}\n")
    (tmp_path / "feats.scp").write_text(f"x {COMMAND}\n")
    return tmp_path


@pytest.fixture
def p(model):
    return pipeline(model=model, ngpu=0)


def refused(call, *arguments):
    """What a call that must fail says, in one line; nothing was run."""
    with pytest.raises(SpeakerLabError) as caught:
        call(*arguments)
    assert not Path("PWNED").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def speakerlab(here, *arguments):
    return subprocess.run(
        [sys.executable, "-c", "from speakerlab.cli import main; main()", *map(str, arguments)],
        cwd=here, env={"PYTHONPATH": str(ROOT), "HOME": str(here), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


# --- the pipeline


@pytest.mark.parametrize("name", ["upload.wav", "upload.flac", "wav.scp", "wav.scp.00", "list.txt", "scp"])
@pytest.mark.parametrize("form", [str, Path, "{},speech,sound".format])
def test_no_list_runs_a_command_by_default(here, p, name, form):
    if form not in (str, Path):
        (here / name).rename(here / "listed")  # a name with commas is looked for first
        name = "listed"
    said = refused(p, form(name))
    assert said == f"{name}: 'x' is a command; commands run only with allow_commands=True"


@pytest.mark.parametrize(
    "audio_in",
    [
        ("upload.wav", "a.wav"),
        ("a.wav", "upload.wav"),
        ["a.wav", "upload.wav", "a.wav"],
        COMMAND,
        Path(COMMAND),
        (COMMAND, "a.wav"),
        [COMMAND, "a.wav", "a.wav"],
        f"file://{COMMAND}",
        f"{COMMAND},speech,sound",
    ],
    ids=str,
)
def test_no_other_form_does(here, p, audio_in):
    with pytest.raises(SpeakerLabError):
        outcome = p(audio_in)
        errors = [one["error"] for one in outcome if "error" in one]  # a list goes on after a bad one
        assert len(errors) == 1
        raise SpeakerLabError(errors[0])
    assert not (here / "PWNED").exists()


def test_features_never_come_from_commands(here, p):
    assert "commands are refused" in p("feats.scp,speech,kaldi_ark")["x"]["error"]
    assert "commands are refused" in refused(FeatureTable("feats.scp").__getitem__, "x")
    refused(FeatureTable, COMMAND)
    assert not (here / "PWNED").exists()


def test_allowed_commands_run_from_lists_that_are_named_so(here, model):
    p = pipeline(model=model, ngpu=0, allow_commands=True)
    for name in ("upload.wav", "list.txt", "scp"):
        said = refused(p, name)
        fix = "commands run only from a list whose name ends in .scp: rename it"
        assert said == f"{name}: 'x' is a command; {fix}"
    expected = pipeline(model=model, ngpu=0)("a.wav")["spk_embedding"]
    for name in ("wav.scp", "wav.scp.00"):
        np.testing.assert_array_equal(p(name)["x"]["spk_embedding"], expected)
        (here / "PWNED").unlink()
        audio_source._output.cache_clear()


def test_a_list_of_paths_needs_no_permission(here, p):
    (here / "list.wav").write_text("x a.wav\n")
    np.testing.assert_array_equal(p("list.wav")["x"]["spk_embedding"], p("a.wav")["spk_embedding"])


@pytest.mark.parametrize("audio_in", ["upload.wav", "wav.scp", COMMAND, Path(COMMAND)])
def test_the_predictor_never_runs_one(here, model, audio_in):
    predictor = Predictor(model, "people", ngpu=0)
    predictor.register("a.wav", "Ann")
    for call in (
        predictor.predict,
        predictor.recognition,
        lambda one: predictor.register(one, "Bob"),
        lambda one: predictor.contrast("a.wav", one),
        lambda one: predictor.predict_batch([one, "a.wav"]),
    ):
        said = refused(call, audio_in)
        assert "is a list of recordings; give one" in said or "no such file" in said
    assert predictor.get_users() == ["Ann"]


@pytest.mark.parametrize("read", [audio.read, audio.read_channels, audio.duration_s])
def test_only_the_reader_of_lists_makes_a_recording_a_command(here, read):
    assert "no such file" in refused(read, Recording(RecId("x"), COMMAND))
    read(read_wav_scp(Path("wav.scp"))[RecId("x")])
    assert (here / "PWNED").exists()


def test_a_file_whose_name_ends_like_a_command_is_a_file(here, p):
    shutil.copy("a.wav", "b |")
    np.testing.assert_array_equal(p("b |")["spk_embedding"], p("a.wav")["spk_embedding"])


# --- the commands


def test_verify_identify_and_enroll_run_none(here, model):
    first = speakerlab(here, "enroll", "Ann", "a.wav", "--voiceprints", "people", "--model", model)
    assert first.returncode == 0, first.stderr
    for audio_in in ("upload.wav", "wav.scp", COMMAND):
        for command in (
            ("verify", audio_in, "a.wav"),
            ("verify", "a.wav", audio_in),
            ("identify", audio_in, "--voiceprints", "people"),
            ("enroll", "Bob", "a.wav", audio_in, "--voiceprints", "people"),
        ):
            done = speakerlab(here, *command, "--model", model)
            assert done.returncode == 1
            assert "is a list of recordings; give one" in done.stderr or "no such file" in done.stderr
            assert "Traceback" not in done.stderr
            assert not (here / "PWNED").exists()


def test_embed_runs_those_of_a_declared_list(here, model):
    for audio_in in ("upload.wav", "list.txt", COMMAND):
        done = speakerlab(here, "embed", audio_in, "--model", model)
        assert (done.returncode, done.stdout) == (1, "")
        assert "Traceback" not in done.stderr
        assert not (here / "PWNED").exists()
    done = speakerlab(here, "embed", "upload.wav", "--model", model)
    fix = "commands run only from a list whose name ends in .scp: rename it"
    assert done.stderr.endswith(f": upload.wav: 'x' is a command; {fix}\n")
    found = json.loads(speakerlab(here, "embed", "wav.scp", "--model", model, "--json").stdout)
    assert (here / "PWNED").exists()
    expected = json.loads(speakerlab(here, "embed", "a.wav", "--model", model, "--json").stdout)
    assert found["x"]["spk_embedding"] == expected["a.wav"]["spk_embedding"]


@pytest.mark.parametrize(("name", "status"), [("upload.wav", 1), ("list.txt", 1), ("wav.scp.00", 0)])
def test_infer_py_runs_those_of_a_declared_list(here, model, name, status):
    done = subprocess.run(
        [sys.executable, INFER / "infer.py", "--ngpu", "0", "--model", model, name, "out"],
        cwd=here, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert (here / "PWNED").exists() is (status == 0)
    assert status == 0 or "rename it" in done.stderr


@pytest.mark.parametrize("name", ["upload.wav", "list.txt"])
def test_a_data_dir_is_made_of_a_declared_list(here, name):
    """What infer.sh begins with; afterwards the commands would stand in a data dir."""
    arguments = make_data_dir.options().parse_args([name, "data"])
    assert "rename it" in refused(make_data_dir.main, arguments)
    assert not Path("data/wav.scp").exists()
    (here / "list.txt").write_text("x a.wav\n")
    make_data_dir.main(make_data_dir.options().parse_args(["list.txt", "data"]))
    make_data_dir.main(make_data_dir.options().parse_args(["wav.scp", "data2"]))
    assert Path("data/wav.scp").read_text() == f"x {here}/a.wav\n"
    assert Path("data2/wav.scp").read_text() == f"x {COMMAND}\n"


def test_data_dirs_run_theirs(here):
    (here / "data").mkdir()
    (here / "data/wav.scp").write_text(f"x {COMMAND}\n")
    (here / "data/utt2spk").write_text("x x\n")
    (recording,) = DataDir.load(here / "data").recordings.values()
    assert recording.is_pipe
    assert len(audio.read(recording).samples) == len(audio.read(Recording(RecId("a"), "a.wav")).samples)


@pytest.mark.parametrize(
    ("name", "declared"),
    [
        ("wav.scp", True),
        ("a/my.list.scp", True),
        ("wav.scp.00", True),
        ("wav.scp.0123", True),
        ("scp", False),
        ("wav.scp.wav", False),
        ("wav.scp.aa", False),
        ("wav.scp.00.flac", False),
        ("wavscp", False),
        ("wav.scp\n", False),
        ("x.scp/upload.wav", False),
    ],
)
def test_names_that_declare_a_list(name, declared):
    assert may_run(name) is declared
    assert may_run(Path(name)) is declared
