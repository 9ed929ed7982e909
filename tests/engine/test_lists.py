"""Lists: one bad recording costs only itself, results come whole and in order, a killed run goes on."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import kaldiio
import numpy as np
import pytest
from conftest import ASSETS, BUILD, RATE, run, voiced

CONFIG = ASSETS / "fbank_config.json"


@pytest.fixture(scope="module")
def graph(models):
    return models("ecapa_tdnn")[1]


def features(scp_file, out, *options, check=0, **more):
    return run(
        "make_fbank_feature",
        *options,
        CONFIG,
        scp_file,
        out / "feature.scp",
        out / "feats",
        check=check,
        **more,
    )


def keys(path):
    return [line.split()[0] for line in path.read_text().splitlines()]


def test_one_bad_recording_costs_itself(tmp_path, scp, wav, graph):
    good = wav("good.wav", voiced(1))
    entries = {"z": good, "missing": tmp_path / "none.wav", "b": good, "text": CONFIG, "a": good}
    out = tmp_path / "new" / "folder"
    arguments = (CONFIG, graph, scp(entries), out / "embedding.scp", out / "embeddings")
    done = run("extract_speaker_embedding", *arguments, check=1)
    assert keys(out / "embedding.scp") == ["z", "b", "a"]  # the order of the list
    assert keys(out / "embedding.scp.failed") == ["missing", "text"]
    assert f"wav.scp:2: missing: {tmp_path}/none.wav: no such file" in done.stderr
    assert "2 of 5 failed" in done.stderr
    assert "Output embedding size = 192" in done.stdout
    assert "for wav duration 3" in done.stdout
    run("extract_speaker_embedding", *arguments, "--max-fail-rate", "0.4")
    vector = (out / "embeddings" / "a.embedding").read_text()
    assert len(vector.split(" ")) == 192
    assert vector.endswith("\n")


def test_nothing_usable_publishes_nothing(tmp_path, scp):
    features(scp({"a": "none.wav"}), tmp_path, "--max-fail-rate", "1", check=1)
    assert not (tmp_path / "feature.scp").exists()


def test_ids_with_slashes_do_not_collide(tmp_path, scp, wav):
    entries = {
        "a/b": wav("1.wav", voiced(1)),
        "a-b": wav("2.wav", voiced(2)),
        "../x": wav("3.wav", voiced(3)),
    }
    features(scp(entries), tmp_path)
    paths = [line.split()[1] for line in (tmp_path / "feature.scp").read_text().splitlines()]
    assert sorted(paths) == sorted(str(path) for path in (tmp_path / "feats").iterdir())
    assert [len(Path(path).read_text().splitlines()) for path in paths] == [98, 198, 298]


def test_an_archive_reads_as_kaldi_does(tmp_path, scp, wav):
    features(scp({"b": wav("1.wav", voiced(1)), "a": wav("2.wav", voiced(2))}), tmp_path, "--ark")
    found = kaldiio.load_scp(str(tmp_path / "feature.scp"))
    assert {key: found[key].shape for key in found} == {"b": (98, 80), "a": (198, 80)}
    assert keys(tmp_path / "feature.scp") == ["b", "a"]


def test_commands_run_only_when_allowed(tmp_path, scp, wav):
    mark = tmp_path / "ran"
    entries = scp({"a": f"touch {mark}; cat {wav('a b.wav', voiced(1))} |".replace("a b", "'a b'")})
    assert "--allow-pipes" in features(entries, tmp_path, check=1).stderr
    assert not mark.exists()
    features(entries, tmp_path, "--allow-pipes")
    assert mark.exists()
    assert keys(tmp_path / "feature.scp") == ["a"]


def test_other_rates_and_channels(tmp_path, scp, wav):
    stereo = np.stack([voiced(1, 1), voiced(1, 2)], axis=1)
    entries = scp({"8k": wav("8.wav", voiced(2)[::2], rate=8000), "two": wav("2.wav", stereo)})
    said = features(entries, tmp_path, check=1).stderr
    assert "8.wav: is 8000 Hz, the configuration has 16000; resample it, or give --resample" in said
    assert "2.wav: has 2 channels; choose one: --channel 0" in said
    features(entries, tmp_path, "--resample", "--channel", "0")
    config = tmp_path / "up.json"
    config.write_text('{"FrameExtractionOptions": {"allow_upsample": true}}')
    only = scp({"8k": tmp_path / "8.wav"}, "8.scp")
    run("make_fbank_feature", config, only, tmp_path / "o.scp", tmp_path / "o")


def test_relative_paths_are_beside_the_list(tmp_path, scp, wav):
    wav("a.wav", voiced(1))
    features(scp({"a": "a.wav"}), tmp_path, cwd="/")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("a x.wav\nb\n", "wav.scp:2: 'b' has no path"),
        ("a x.wav\na y.wav\n", "wav.scp:2: 'a' is in line 1 too"),
    ],
)
def test_a_bad_list_is_refused_before_any_work(tmp_path, text, why):
    path = tmp_path / "wav.scp"
    path.write_text(text)
    said = features(path, tmp_path, check=1).stderr
    assert why in said
    assert said.count("\n") == 1
    assert not (tmp_path / "feats").exists()


def test_json_lines(tmp_path, scp, wav):
    entries = scp({"a": wav("a.wav", voiced(1)), "bad": "none.wav"})
    lines = [json.loads(line) for line in features(entries, tmp_path, "--json", check=1).stdout.splitlines()]
    assert lines[0]["utt_id"] == "a"
    assert lines[0]["shape"] == [98, 80]
    assert lines[1] == {"utt_id": "bad", "error": "none.wav: no such file"}
    assert (lines[2]["num_entries"], lines[2]["num_failed"], lines[2]["audio_s"]) == (2, 1, 1.0)


def test_usage(tmp_path):
    for program, count in (
        ("extract_speaker_embedding", 5),
        ("make_fbank_feature", 4),
        ("read_and_describe_wav", 1),
    ):
        said = run(program, check=2).stderr
        assert said.startswith(f"usage: {program} ")
        assert f"{count} are needed" in said
        assert run(program, "--help").stdout.startswith(f"usage: {program} ")
        assert "unknown option --no" in run(program, "--no", check=2).stderr
    assert "--jobs is '0'" in run("make_fbank_feature", "--jobs", "0", CONFIG, *"abc", check=2).stderr


@pytest.mark.parametrize("ark", [(), ("--ark",)], ids=["text", "ark"])
def test_a_killed_run_goes_on_where_it_was(tmp_path, scp, wav, ark):
    path = wav("a.wav", voiced(6))
    entries = scp({f"utt{number:04}": path for number in range(400)})
    command = [
        BUILD / "bin/make_fbank_feature",
        *ark,
        CONFIG,
        entries,
        tmp_path / "feature.scp",
        tmp_path / "feats",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    journal = tmp_path / "feature.scp.partial"
    while not journal.exists() or journal.read_bytes().count(b"\n") < 20:
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "feature.scp").exists()
    done = journal.read_bytes().count(b"\n") - 1
    assert done < 400
    said = features(entries, tmp_path, *ark).stderr
    assert f"resumed: {done} of 400 were done" in said
    assert keys(tmp_path / "feature.scp") == [f"utt{number:04}" for number in range(400)]
    assert not journal.exists()
    if ark:
        found = kaldiio.load_scp(str(tmp_path / "feature.scp"))
        first = found["utt0000"]
        assert all(np.array_equal(found[key], first) for key in found)


def test_another_list_or_configuration_starts_anew(tmp_path, scp, wav):
    entries = scp({"a": wav("a.wav", voiced(1))})
    (tmp_path / "feature.scp.partial").write_text("run of another list\ndone\ta\tx\t0\n")
    assert "resumed" not in features(entries, tmp_path).stderr
    assert "/feats/a.feature" in (tmp_path / "feature.scp").read_text()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, scp, wav):
    (tmp_path / "feats").write_text("a file")
    said = features(scp({"a": wav("a.wav", voiced(1))}), tmp_path, check=1).stderr
    assert "feats: the folder cannot be made" in said
    assert said.count("\n") == 1


def peak_kb(entries, out):
    """The most memory that a run over ``entries`` takes."""
    program = str(BUILD / "bin/make_fbank_feature")
    command = [program, "--ark", "--jobs", "2", str(CONFIG), str(entries), f"{out}.scp", str(out)]
    silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    _, status, usage = os.wait4(os.posix_spawn(program, command, os.environ, file_actions=silent), 0)
    assert status == 0
    return usage.ru_maxrss


def test_a_list_of_100000_lines_runs_in_flat_memory(tmp_path, wav):
    path = wav("a.wav", voiced(0.03))
    few, many = tmp_path / "few.scp", tmp_path / "many.scp"
    few.write_text("".join(f"utterance-{number:08} {path}\n" for number in range(1000)))
    many.write_text("".join(f"utterance-{number:08} {path}\n" for number in range(100_000)))
    assert peak_kb(many, tmp_path / "many") - peak_kb(few, tmp_path / "few") < 8000
    assert len(keys(tmp_path / "many.scp")) == 100_000


def test_describe(tmp_path, wav):
    path = wav("a.wav", voiced(1.5))
    expected = "Sample rate: 16000 Num Channel: 1 Num Sample: 24000 Duration: 1.5 Bits Per Sample: 16\n"
    assert run("read_and_describe_wav", path).stdout == expected
    told = json.loads(run("read_and_describe_wav", "--json", path).stdout)
    assert list(told.values()) == [16000, 1, 24000, 1.5, 16]
    cut = tmp_path / "cut.wav"
    cut.write_bytes(path.read_bytes()[:20000])
    done = run("read_and_describe_wav", cut, check=1)
    assert done.stdout == ""
    assert "cut.wav: truncated" in done.stderr


SUBTYPES = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")


@pytest.mark.parametrize("subtype", SUBTYPES)
@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64"])
def test_wav_as_libsndfile_writes_it(tmp_path, scp, subtype, container):
    import soundfile

    path = tmp_path / "a.wav"
    soundfile.write(path, voiced(1), RATE, format=container, subtype=subtype)
    samples, _ = soundfile.read(path, dtype="float32")
    flat = tmp_path / "flat.wav"
    soundfile.write(flat, samples, RATE, format="WAV", subtype="FLOAT")
    features(scp({"a": path, "b": flat}), tmp_path, "--ark")
    found = kaldiio.load_scp(str(tmp_path / "feature.scp"))
    assert np.array_equal(found["a"], found["b"])


def test_flac(tmp_path, scp, wav):
    import soundfile

    path = wav("a.wav", voiced(1))
    samples, _ = soundfile.read(path, dtype="int16")
    soundfile.write(tmp_path / "a.flac", samples, RATE)
    features(scp({"a": tmp_path / "a.flac", "b": path}), tmp_path, "--ark")
    found = kaldiio.load_scp(str(tmp_path / "feature.scp"))
    assert np.array_equal(found["a"], found["b"])
    whole = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(whole[: len(whole) // 2])
    assert "a.flac: " in run("read_and_describe_wav", tmp_path / "a.flac", check=1).stderr
