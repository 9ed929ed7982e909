"""Parallel output that is killed, rerun, cut among jobs, fails in part, or is asked to mix two settings."""

import itertools
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from speakerlab.errors import AudioError, DataError
from speakerlab.io.ark import FeatureTable
from speakerlab.io.parts import PartStore

KEYS = [f"utt{i:04d}" for i in range(200)]  # 50 parts of 4
SETTINGS = {"model": "abc", "options": "chunk=3"}


def array(key):
    return np.random.default_rng(int(key[3:])).standard_normal(8).astype(np.float32)


def store(folder, keys=KEYS, **settings):
    return PartStore(folder, "embeddings", keys, {**SETTINGS, **settings})


def work(parts, job=1, num_jobs=1, bad=()):
    """What a worker does; gives the numbers of the parts it wrote."""
    parts.check_or_claim()
    todo = parts.pending(job, num_jobs)
    for part in todo:
        parts.write(part, ((k, AudioError(k, "no\tsuch\nfile") if k in bad else array(k)) for k in part.keys))
    return [part.index for part in todo]


def snapshot(folder):
    return {p.name: p.stat().st_mtime_ns for p in (folder / "parts").iterdir()}


def check_complete(folder, keys=KEYS):
    table = FeatureTable(folder / "embeddings.scp")
    assert list(table) == list(keys)
    assert all(np.array_equal(table[key], array(key)) for key in keys)


@pytest.mark.parametrize(
    ("num_keys", "size"),
    [(1, 1), (64, 1), (65, 2), (640, 10), (641, 11), (32000, 500), (32001, 500), (100_000, 500)],
)
def test_cut_depends_on_the_number_of_keys_alone(tmp_path, num_keys, size):
    keys = [f"k{i:06d}" for i in range(num_keys)]
    parts = PartStore(tmp_path, "x", keys[::-1], {}).parts
    assert {len(p.keys) for p in parts[:-1]} <= {size}
    assert 1 <= len(parts[-1].keys) <= size
    assert [k for p in parts for k in p.keys] == keys
    assert [p.index for p in parts] == list(range(len(parts)))


def test_one_job_and_four_give_the_same(tmp_path):
    work(store(tmp_path / "one"))
    indices = [work(store(tmp_path / "four", KEYS[::-1]), job, 4) for job in (3, 1, 4, 2)]
    assert sorted(itertools.chain(*indices)) == list(range(50))
    for name in ("one", "four"):
        summary = store(tmp_path / name).merge()
        assert (summary.num_done, summary.num_failed) == (200, 0)
        assert summary.scp == tmp_path / name / "embeddings.scp"
        check_complete(tmp_path / name)
    one, four = (
        [line.split()[0] + line.rsplit("/", 1)[1] for line in (tmp_path / n / "embeddings.scp").open()]
        for n in ("one", "four")
    )
    assert one == four
    for ark in (tmp_path / "one/parts").glob("*.ark"):
        assert ark.read_bytes() == (tmp_path / "four/parts" / ark.name).read_bytes()


WORKER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_parts
from speakerlab.io.parts import PartStore
store = test_parts.store(Path(sys.argv[1]))
store.check_or_claim()
def results(part):
    for key in part.keys:
        if key == "utt0102":
            print("in the middle of a part", flush=True)
            time.sleep(60)
        yield key, test_parts.array(key)
for part in store.pending(1, 1):
    store.write(part, results(part))
"""


def test_a_killed_worker_leaves_nothing_half_and_a_rerun_does_only_the_rest(tmp_path):
    command = [sys.executable, "-c", WORKER, str(tmp_path), Path(__file__).parent]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as worker:
        assert worker.stdout.readline() == b"in the middle of a part\n"
        worker.send_signal(signal.SIGKILL)
    before = snapshot(tmp_path)
    assert sum(name.endswith(".scp") for name in before) == 25
    assert any(name.endswith(".tmp") for name in before), "the kill came too late to leave anything"
    with pytest.raises(
        DataError, match="100 of 200 keys are missing, the first utt0100; a worker failed or was"
    ):
        store(tmp_path).merge()
    assert not (tmp_path / "embeddings.scp").exists()

    assert work(store(tmp_path)) == list(range(25, 50))
    store(tmp_path).merge()
    check_complete(tmp_path)
    after = snapshot(tmp_path)
    finished = {name: at for name, at in before.items() if not name.endswith(".tmp")}
    assert finished == {name: after[name] for name in finished}
    assert not [name for name in after if name.endswith(".tmp")]
    assert work(store(tmp_path)) == []
    assert snapshot(tmp_path) == after


def test_a_part_without_its_archive_or_table_is_redone(tmp_path):
    work(store(tmp_path))
    (tmp_path / "parts/embeddings.000007.ark").unlink()
    (tmp_path / "parts/embeddings.000009.scp").unlink()
    with pytest.raises(DataError, match="8 of 200 keys are missing, the first utt0028"):
        store(tmp_path).merge()
    assert work(store(tmp_path)) == [7, 9]
    store(tmp_path).merge()
    check_complete(tmp_path)


def test_temporary_files_of_a_running_worker_stay(tmp_path):
    parts = store(tmp_path)
    work(parts, 1, 2)
    running = tmp_path / "parts/.embeddings.000030.ark.999.tmp"  # not published yet
    racing = tmp_path / "parts/.embeddings.000001.ark.998.tmp"  # touched after another published it
    left = tmp_path / "parts/.embeddings.000002.ark.997.tmp"
    other = tmp_path / "parts/.feats.000002.ark.997.tmp"
    for path in (running, racing, left, other):
        path.write_text("x")
    os.utime(left, (1, 1))
    os.utime(running, (1, 1))
    parts.check_or_claim()
    assert running.exists()
    assert racing.exists()
    assert other.exists()
    assert not left.exists()


def test_other_settings_are_refused_by_name(tmp_path):
    work(store(tmp_path), 1, 4)
    before = snapshot(tmp_path)
    changed = store(tmp_path, model="xyz")
    with pytest.raises(DataError, match=r"from other model \(was abc, is xyz\); start anew with --overwrite"):
        changed.check_or_claim()
    with pytest.raises(DataError, match=r"from other device \(was None, is cpu\)"):
        store(tmp_path, device="cpu").check_or_claim()
    with pytest.raises(DataError, match=r"other options \(was chunk=3, is None\)"):
        PartStore(tmp_path, "embeddings", KEYS, {"model": "abc"}).check_or_claim()
    with pytest.raises(DataError, match=r"from other keys \(was 200, sha256 .*, is 199, sha256"):
        store(tmp_path, KEYS[1:]).check_or_claim()
    assert snapshot(tmp_path) == before
    assert json.loads((tmp_path / "parts/embeddings.fingerprint").read_text())["model"] == "abc"

    shutil.rmtree(tmp_path / "parts")  # what --overwrite does
    assert len(work(changed)) == 50
    changed.merge()
    check_complete(tmp_path)


def test_parts_of_unknown_origin_are_refused(tmp_path):
    work(store(tmp_path))
    (tmp_path / "parts/embeddings.fingerprint").unlink()
    with pytest.raises(DataError, match="the parts have no fingerprint; start anew with --overwrite"):
        store(tmp_path).check_or_claim()


def test_a_late_claim_never_replaces_an_earlier_one(tmp_path, monkeypatch):
    first, second = store(tmp_path, model="first"), store(tmp_path, model="second")
    claim_now = PartStore._claim

    def claim_after_first(self):
        if self is second:  # which has just seen that there is no fingerprint
            first.check_or_claim()
        claim_now(self)

    monkeypatch.setattr(PartStore, "_claim", claim_after_first)
    with pytest.raises(DataError, match=r"model \(was first, is second\)"):
        second.check_or_claim()
    first.check_or_claim()


def claim(arguments):
    folder, model = arguments
    try:
        store(folder, model=model).check_or_claim()
    except DataError:
        return None
    return model


def test_workers_that_start_together_agree(tmp_path):
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        for i in range(8):
            same = pool.map(claim, [(tmp_path / f"same{i}", "abc")] * 4, chunksize=1)
            assert same == ["abc"] * 4
            mixed = pool.map(claim, [(tmp_path / f"mixed{i}", m) for m in "abab"], chunksize=1)
            assert {m for m in mixed if m} in ({"a"}, {"b"})
            assert mixed.count(None) == 2
    assert not list(tmp_path.rglob("*.tmp"))


def test_failures_stop_the_merge_and_are_listed(tmp_path):
    bad = KEYS[3:53:2]
    work(store(tmp_path), bad=bad)
    with pytest.raises(DataError) as caught:
        store(tmp_path).merge(0.1)
    message = str(caught.value).split("\n")
    assert message[0] == f"{tmp_path}/failures.tsv: 25 of 200 failed; --max-fail-rate 0.1 does not allow it"
    assert message[1:21] == [f"  {key}: no such file" for key in bad[:20]]
    assert message[21:] == ["  and 5 more"]
    assert (tmp_path / "failures.tsv").read_text() == "".join(f"{key}\tno such file\n" for key in bad)
    assert not (tmp_path / "embeddings.scp").exists()

    summary = store(tmp_path).merge(0.125)
    assert (summary.num_done, summary.num_failed) == (175, 25)
    check_complete(tmp_path, [key for key in KEYS if key not in bad])


def test_failed_parts_are_redone_and_the_old_list_goes(tmp_path):
    work(store(tmp_path), bad=["utt0005", "utt0150"])
    store(tmp_path).merge(0.5)
    before = snapshot(tmp_path)
    assert work(store(tmp_path), bad=["utt0150"]) == [1, 37]
    assert not (tmp_path / "embeddings.scp").exists(), "it points into archives that changed"
    with pytest.raises(DataError, match="1 of 200 failed"):
        store(tmp_path).merge()
    assert work(store(tmp_path)) == [37]
    store(tmp_path).merge()
    check_complete(tmp_path)
    assert not (tmp_path / "failures.tsv").exists()
    assert not list((tmp_path / "parts").glob("*.failures"))
    redone = ("embeddings.000001.", "embeddings.000037.")
    kept = {name: at for name, at in before.items() if not name.startswith(redone)}
    assert kept.items() <= snapshot(tmp_path).items()


def test_a_redone_part_cut_off_between_its_two_renames_is_not_finished(tmp_path, monkeypatch):
    work(store(tmp_path), bad=["utt0005"])
    replace = Path.replace

    def die_before_the_table(self, target):
        if Path(target).suffix == ".scp":
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", die_before_the_table)
        work(store(tmp_path))
    assert [part.index for part in store(tmp_path).pending(1, 1)] == [1]
    with pytest.raises(DataError, match="4 of 200 keys are missing, the first utt0004"):
        store(tmp_path).merge()


def test_nothing_but_failures_is_never_a_result(tmp_path):
    work(store(tmp_path), bad=KEYS)
    with pytest.raises(DataError, match="200 of 200 failed"):
        store(tmp_path).merge(1.0)


@pytest.mark.parametrize(
    ("keys", "why"), [(["b", "a", "b"], "b is twice among the keys"), ([], "there are no keys to write")]
)
def test_bad_keys_are_refused(tmp_path, keys, why):
    with pytest.raises(DataError, match=why):
        store(tmp_path, keys)


@pytest.mark.parametrize(
    "keys", [KEYS[:3], [*KEYS[:3], "utt0099"], [*KEYS[:4], "utt0099"], [*KEYS[:4], KEYS[0]]]
)
def test_results_that_are_not_the_parts_are_not_published(tmp_path, keys):
    parts = store(tmp_path)
    parts.check_or_claim()
    with pytest.raises((ValueError, DataError)):
        parts.write(parts.parts[0], ((key, array(key)) for key in keys))
    assert [p.name for p in (tmp_path / "parts").iterdir()] == ["embeddings.fingerprint"]


@pytest.mark.parametrize(
    ("suffix", "line", "why"),
    [
        ("scp", "utt0008 x.ark:3", r"embeddings\.000002\.scp:5: utt0008 appears twice"),
        ("scp", "utt0099 x.ark:3", r"embeddings\.000002\.scp:5: utt0099 does not belong to this part"),
        ("failures", "utt0008\twhy", r"embeddings\.000002\.failures: utt0008 failed and has an array"),
    ],
)
def test_tampered_parts_are_named(tmp_path, suffix, line, why):
    work(store(tmp_path))
    with (tmp_path / f"parts/embeddings.000002.{suffix}").open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(DataError, match=why):
        store(tmp_path).merge()
    assert not (tmp_path / "embeddings.scp").exists()


def test_merge_before_any_worker_or_for_other_keys(tmp_path):
    with pytest.raises(DataError, match="no parts of embeddings; run the workers first"):
        store(tmp_path).merge()
    work(store(tmp_path))
    store(tmp_path).merge()
    with pytest.raises(DataError, match=r"from other keys \(was 200"):
        store(tmp_path, KEYS[:100]).merge()
    check_complete(tmp_path)


def test_the_moved_output_is_still_read(tmp_path):
    work(store(tmp_path / "old"))
    store(tmp_path / "old").merge()
    (tmp_path / "old").rename(tmp_path / "new")
    check_complete(tmp_path / "new")


def test_command_counts_on_stdout_and_fails_in_one_line(tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    (data / "wav.scp").write_text("".join(f"{key} /audio/{key}.wav\n" for key in KEYS))
    (data / "utt2spk").write_text("".join(f"{key} {key}\n" for key in KEYS))
    work(store(out), 1, 2)
    command = [
        sys.executable,
        "-m",
        "speakerlab.bin.merge_parts",
        "--name",
        "embeddings",
        "--keys-from",
        data,
        out,
    ]
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert "merge_parts: " in failed.stderr
    assert "100 of 200 keys are missing, the first utt0100" in failed.stderr
    work(store(out), 2, 2, bad=["utt0199"])
    done = subprocess.run([*command, "--max-fail-rate", "0.01"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}/embeddings.scp: 199 done, 1 failed\n"
    assert (
        subprocess.run([*command, "--max-fail-rate", "2"], capture_output=True, check=False).returncode == 2
    )
