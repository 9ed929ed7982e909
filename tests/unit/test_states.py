"""States of inputs: a change of content is seen whatever the date; the same content anew is no change."""

import os

import numpy as np
import pytest

from speakerlab.errors import DataError
from speakerlab.io.ark import ArkWriter, FeatureTable
from speakerlab.io.parts import PartStore
from speakerlab.io.states import ArrayStates, AudioStates
from speakerlab.types import RecId, Recording


def audio(*sources, is_pipe=False):
    return AudioStates(
        {f"u{n}": Recording(RecId(f"u{n}"), str(s), None, is_pipe) for n, s in enumerate(sources)}
    )


def rewrite(path, content):
    """Other bytes under another date, however coarse the clock of the file system is."""
    later = path.stat().st_mtime_ns + 10**9
    path.write_bytes(content)
    os.utime(path, ns=(later, later))


@pytest.mark.parametrize("place", [0, 50_000, 99_999])
def test_other_bytes_are_a_change_and_another_date_is_none(tmp_path, place):
    path = tmp_path / "a.wav"
    path.write_bytes(bytes(100_000))
    source = audio(path)
    known = source.state("u0")
    assert not source.is_changed("u0", known)
    os.utime(path, ns=(1, 1))
    assert not source.is_changed("u0", known)
    content = bytearray(100_000)
    content[place] = 1
    rewrite(path, bytes(content))
    assert source.is_changed("u0", known)
    rewrite(path, bytes(100_000))
    assert not source.is_changed("u0", known)


def test_without_a_sample_only_the_size_is_compared(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"one")
    source = audio(path)
    known = source.state("u0", sampled=False)
    rewrite(path, b"two")
    assert not source.is_changed("u0", known)
    rewrite(path, b"three")
    assert source.is_changed("u0", known)


def test_a_file_that_appears_or_goes_is_a_change(tmp_path):
    path = tmp_path / "a.wav"
    source = audio(path)
    missing = source.state("u0")
    assert not source.is_changed("u0", missing)
    path.write_bytes(b"here")
    assert source.is_changed("u0", missing)
    here = source.state("u0")
    path.unlink()
    assert source.is_changed("u0", here)


def test_a_command_depends_on_the_files_it_names_and_on_no_program(tmp_path):
    path = tmp_path / "a.flac"
    path.write_bytes(b"one")
    source = audio(f"flac -dc {path} | /bin/cat |", is_pipe=True)
    known = source.state("u0")
    assert len(known.split()) == 1
    rewrite(path, b"two")
    assert source.is_changed("u0", known)


def test_an_entry_of_an_archive_of_audio_depends_on_the_archive(tmp_path):
    path = tmp_path / "wav.ark"
    path.write_bytes(b"one")
    source = AudioStates({"u0": Recording(RecId("u0"), str(path), offset=5)})
    known = source.state("u0")
    rewrite(path, b"two")
    assert source.is_changed("u0", known)


def write(folder, arrays):
    with ArkWriter(folder / "feats.ark", folder / "feats.scp") as writer:
        for key, array in arrays.items():
            writer.write(key, array)
    return ArrayStates(FeatureTable(folder / "feats.scp"))


def test_an_archive_made_anew_changes_the_arrays_that_differ(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {key: rng.standard_normal((40, 8)).astype(np.float32) for key in "ab"}
    source = write(tmp_path, arrays)
    known = {key: source.state(key) for key in "ab"}
    source = write(tmp_path, arrays)  # the same content, another date
    assert not any(source.is_changed(key, known[key]) for key in "ab")
    arrays["b"][39, 7] += 1e-6
    source = write(tmp_path, arrays)
    assert [source.is_changed(key, known[key]) for key in "ab"] == [False, True]
    assert source.is_changed("c", known["a"])  # no line


def store(out_dir, source):
    found = PartStore(out_dir, "x", ["u0", "u1"], {"model": "m"}, [source])
    found.check_or_claim()
    return found


def fill(store):
    for part in store.pending(1, 1):
        store.write(part, [(key, np.ones(2, np.float32)) for key in part.keys])


def test_parts_made_from_what_has_changed_since_are_refused_and_named(tmp_path):
    paths = [tmp_path / f"{n}.wav" for n in range(2)]
    for path in paths:
        path.write_bytes(b"one")
    source = audio(*paths)
    fill(store(tmp_path / "out", source))
    assert store(tmp_path / "out", source).pending(1, 1) == []
    rewrite(paths[1], b"two")
    with pytest.raises(DataError, match=r"1\.wav: audio of u1 has changed since .*--overwrite true"):
        store(tmp_path / "out", source).pending(1, 1)
    (tmp_path / "out" / "parts" / "x.000001.scp").unlink()  # not made yet: nothing to refuse
    fill(store(tmp_path / "out", source))
    assert store(tmp_path / "out", source).merge().num_done == 2
