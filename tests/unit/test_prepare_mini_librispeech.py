"""Stage 0 of egs/mini_librispeech against a local server and tiny archives of the corpus' layout."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speakerlab.data.datadir import DataDir
from speakerlab.data.tables import read_trials, read_two_columns
from speakerlab.errors import DataError

LOCAL = Path(__file__).parents[2] / "egs" / "mini_librispeech" / "local"
sys.path.insert(0, str(LOCAL))
import download  # noqa: E402

SPEC = importlib.util.spec_from_file_location("mini_librispeech_prepare_data", LOCAL / "prepare_data.py")
assert SPEC is not None
assert SPEC.loader is not None
prepare_data = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = prepare_data
SPEC.loader.exec_module(prepare_data)

# speaker -> sex, chapters; 7 and 70: one id begins with the other
TRAIN = {"7": ("F", {"11": 2}), "70": ("M", {"12": 1, "13": 1})}
TEST = {"21": ("F", {"31": 3, "32": 2}), "22": ("M", {"33": 3}), "23": ("F", {"34": 2, "35": 2})}


def flac(seed: int) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(seed).uniform(-0.1, 0.1, 1600 * (1 + seed % 3))
    soundfile.write(stream, noise, 16000, format="FLAC")
    return stream.getvalue()


def speakers_file() -> bytes:
    """As in the corpus, the same in both archives and for all speakers."""
    lines = ["; comment", ";ID  |SEX| SUBSET |MINUTES| NAME"]
    lines += [
        f"{spk_id:<5}| {sex} | any | 5.01 | A | strange name" for spk_id, (sex, _) in (TRAIN | TEST).items()
    ]
    return "\n".join(lines).encode() + b"\n"


def corpus_files(subset: str, speakers: dict) -> dict[str, bytes]:
    files = {"LibriSpeech/SPEAKERS.TXT": speakers_file()}
    for spk_id, (_, chapters) in speakers.items():
        for chapter, num_utts in chapters.items():
            ids = [f"{spk_id}-{chapter}-{number:04d}" for number in range(num_utts)]
            folder = f"LibriSpeech/{subset}/{spk_id}/{chapter}"
            files |= {f"{folder}/{utt_id}.flac": flac(len(files) + row) for row, utt_id in enumerate(ids)}
            files[f"{folder}/{spk_id}-{chapter}.trans.txt"] = "".join(
                f"{i} SOME WORDS\n" for i in ids
            ).encode()
    return files


def pack(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


PACKED = {
    "train-clean-5.tar.gz": pack(corpus_files("train-clean-5", TRAIN)),
    "dev-clean-2.tar.gz": pack(corpus_files("dev-clean-2", TEST)),
}


def archives(contents: dict[str, bytes]) -> dict[str, download.Archive]:
    made = [download.Archive(n, len(data), hashlib.md5(data).hexdigest()) for n, data in contents.items()]
    return dict(zip(("train", "test"), made, strict=True))


@dataclass
class Server:
    """What the local server does next, and what it was asked."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=lambda: dict(PACKED))
    ranges: bool = True
    cut_after: list[int] = field(default_factory=list)  # bytes sent before hanging up, one entry a request
    statuses: list[int] = field(default_factory=list)  # errors to answer first
    requests: list[tuple[str, str | None]] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "FIRST_WAIT_S", 0.0)
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

        def do_GET(self) -> None:
            name, wanted = self.path.rpartition("/")[2], self.headers.get("Range")
            state.requests.append((name, wanted))
            if state.statuses:
                self.send_error(state.statuses.pop(0))
                return
            if name not in state.files:
                self.send_error(404)
                return
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and state.ranges else 0
            body = state.files[name][start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            if start:
                self.send_header(
                    "Content-Range", f"bytes {start}-{start + len(body) - 1}/{start + len(body)}"
                )
            self.end_headers()
            self.wfile.write(body[: state.cut_after.pop(0)] if state.cut_after else body)

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    state.url = f"http://127.0.0.1:{httpd.server_address[1]}/resources/31"
    yield state
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def run(data_dir: Path, server: Server, data_src: Path | None = None) -> None:
    prepare_data.prepare(data_dir, data_src, server.url, archives(PACKED))


def test_download_gives_two_data_dirs_that_load(tmp_path, server):
    run(tmp_path / "data", server)
    train, test = (DataDir.load(tmp_path / "data" / name) for name in ("train", "test"))
    assert train.utt_ids == ("7-11-0000", "7-11-0001", "70-12-0000", "70-13-0000")
    assert {utt.spk_id for utt in test.utterances} == set(TEST)
    assert test.table("spk2gender") == {"21": "f", "22": "m", "23": "f"}
    for rec_id, recording in test.recordings.items():
        info = soundfile.info(recording.source)
        assert float(test.table("utt2dur")[rec_id]) == pytest.approx(info.frames / 16000, abs=5e-4)


def test_paths_are_relative_so_that_the_folder_can_be_moved(tmp_path, server):
    run(tmp_path / "data", server)
    (tmp_path / "data").rename(tmp_path / "moved")
    sources = read_two_columns(tmp_path / "moved" / "test" / "wav.scp").values()
    assert all(source.startswith("../corpus/") for source in sources)
    assert all((tmp_path / "moved" / "test" / source).is_file() for source in sources)


def test_targets_cross_chapters_where_there_are_several(tmp_path, server):
    run(tmp_path / "data", server)
    trials = list(read_trials(tmp_path / "data" / "test" / "trials"))
    targets = {(t.enroll_id, t.test_id) for t in trials if t.is_target}
    across_21 = {(f"21-31-000{a}", f"21-32-000{b}") for a in range(3) for b in range(2)}
    across_23 = {(f"23-34-000{a}", f"23-35-000{b}") for a in range(2) for b in range(2)}
    within_22 = {("22-33-0000", "22-33-0001"), ("22-33-0000", "22-33-0002"), ("22-33-0001", "22-33-0002")}
    assert targets == across_21 | across_23 | within_22
    nontargets = [t for t in trials if not t.is_target]
    assert len(nontargets) == 5 * 3 + 20 + 3 * 4  # 21-22, 21-23 (5 * 4), 22-23
    assert all(t.enroll_id.split("-")[0] != t.test_id.split("-")[0] for t in nontargets)


def test_same_gender_trials_are_the_targets_and_pairs_of_equal_gender(tmp_path, server):
    run(tmp_path / "data", server)
    everything, same = (
        set(read_trials(tmp_path / "data" / "test" / n)) for n in ("trials", "trials_same_gender")
    )
    assert same < everything
    assert {t for t in everything if t.is_target} == {t for t in same if t.is_target}
    assert {(t.enroll_id[:2], t.test_id[:2]) for t in same if not t.is_target} == {("21", "23")}


def test_the_choice_of_trials_is_limited_and_always_the_same(tmp_path, server, monkeypatch):
    monkeypatch.setattr(prepare_data, "TARGETS_PER_SPEAKER", 2)
    monkeypatch.setattr(prepare_data, "NONTARGETS_PER_PAIR", 3)
    run(tmp_path / "a", server)
    run(tmp_path / "b", server)
    trials = (tmp_path / "a" / "test" / "trials").read_text()
    assert trials == (tmp_path / "b" / "test" / "trials").read_text()
    assert trials.count(" target") == trials.count("\n") - 9 == 6


def test_a_second_run_downloads_nothing(tmp_path, server):
    run(tmp_path / "data", server)
    server.requests.clear()
    run(tmp_path / "data", server)
    assert server.requests == []


def test_an_interrupted_download_is_resumed_by_range(tmp_path, server):
    server.cut_after = [300, 500]
    run(tmp_path / "data", server)
    name = "train-clean-5.tar.gz"
    assert server.requests[:3] == [(name, None), (name, "bytes=300-"), (name, "bytes=800-")]
    assert (tmp_path / "data" / "corpus" / name).read_bytes() == PACKED[name]


def test_a_killed_download_is_resumed_by_the_next_run(tmp_path, server):
    part = tmp_path / "data" / "corpus" / "train-clean-5.tar.gz.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(PACKED["train-clean-5.tar.gz"][:123])
    run(tmp_path / "data", server)
    assert server.requests[0] == ("train-clean-5.tar.gz", "bytes=123-")
    assert not part.exists()


def test_a_server_without_ranges_sends_everything_again(tmp_path, server):
    server.ranges, server.cut_after = False, [300]
    run(tmp_path / "data", server)
    path = tmp_path / "data" / "corpus" / "train-clean-5.tar.gz"
    assert path.read_bytes() == PACKED[path.name]


def test_a_busy_server_is_asked_again(tmp_path, server):
    server.statuses = [503, 429]
    run(tmp_path / "data", server)
    assert [name for name, _ in server.requests].count("train-clean-5.tar.gz") == 3


def test_a_server_that_never_answers_ends_in_one_line_and_keeps_what_came(tmp_path, server):
    server.cut_after = [200] + [0] * 20
    with pytest.raises(DataError, match=r"stopped at 200 of \d+ bytes, 6 times; run again to go on"):
        run(tmp_path / "data", server)
    assert (tmp_path / "data" / "corpus" / "train-clean-5.tar.gz.part").stat().st_size == 200


def test_404_is_not_tried_again(tmp_path, server):
    server.files = {}
    with pytest.raises(DataError, match=r"train-clean-5.tar.gz: 404 .*--data-src"):
        run(tmp_path / "data", server)
    assert len(server.requests) == 1


def test_a_file_of_another_size_is_not_downloaded(tmp_path, server):
    server.files["train-clean-5.tar.gz"] = b"<html>pay for the hotel's network</html>"
    with pytest.raises(DataError, match=r"the server has 40 bytes, \d+ are expected"):
        run(tmp_path / "data", server)
    assert not list((tmp_path / "data" / "corpus").iterdir())


def test_a_wrong_checksum_is_refused_and_the_file_put_aside(tmp_path, server):
    good = PACKED["dev-clean-2.tar.gz"]
    server.files["dev-clean-2.tar.gz"] = good[:-1] + bytes([good[-1] ^ 1])
    with pytest.raises(DataError, match=r"dev-clean-2.tar.gz.corrupt: has MD5 .* not .*running this again"):
        run(tmp_path / "data", server)
    corpus = tmp_path / "data" / "corpus"
    assert not (corpus / "dev-clean-2.tar.gz").exists()
    assert not (tmp_path / "data" / "test").exists()
    server.files = dict(PACKED)
    run(tmp_path / "data", server)
    assert (corpus / "dev-clean-2.tar.gz").read_bytes() == good


def test_an_archive_damaged_on_disk_is_put_aside(tmp_path, server):
    path = tmp_path / "data" / "corpus" / "train-clean-5.tar.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(PACKED[path.name][:-5])
    with pytest.raises(DataError, match=r"corrupt: has \d+ bytes"):
        run(tmp_path / "data", server)
    run(tmp_path / "data", server)


def test_data_src_with_archives(tmp_path, server):
    copy = tmp_path / "copy"
    copy.mkdir()
    for name, data in PACKED.items():
        (copy / name).write_bytes(data)
    run(tmp_path / "data", server, copy)
    assert server.requests == []
    assert len(DataDir.load(tmp_path / "data" / "test").utterances) == 12
    (copy / "train-clean-5.tar.gz").write_bytes(b"x")
    with pytest.raises(DataError, match=r"train-clean-5.tar.gz: has 1 bytes"):
        run(tmp_path / "other", server, copy)
    assert (copy / "train-clean-5.tar.gz").exists()  # a person's own file stays where it is


@pytest.mark.parametrize("inner", ["", "LibriSpeech"])
def test_data_src_with_the_unpacked_tree_is_used_in_place(tmp_path, server, inner):
    for data in PACKED.values():
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            tar.extractall(tmp_path / "copy")
    run(tmp_path / "data", server, tmp_path / "copy" / inner)
    assert server.requests == []
    recordings = DataDir.load(tmp_path / "data" / "train").recordings.values()
    assert all(r.source.startswith(str(tmp_path / "copy" / "LibriSpeech")) for r in recordings)
    assert not (tmp_path / "data" / "corpus").exists()


def test_data_src_without_the_corpus(tmp_path, server):
    with pytest.raises(DataError, match=r"has neither train-clean-5.tar.gz nor LibriSpeech/train-clean-5"):
        run(tmp_path / "data", server, tmp_path)


def unpacked_copy(tmp_path: Path) -> Path:
    for data in PACKED.values():
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            tar.extractall(tmp_path / "copy")
    return tmp_path / "copy" / "LibriSpeech"


def test_missing_speakers_file(tmp_path, server):
    tree = unpacked_copy(tmp_path)
    (tree / "SPEAKERS.TXT").unlink()
    with pytest.raises(DataError, match=r"SPEAKERS.TXT: no such file; take it from the archive"):
        run(tmp_path / "data", server, tree)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("21 | X | dev-clean-2", r"SPEAKERS.TXT:3: .* has no sex"),
        ("99 | F | x", r"speaker 7 is not in SPEAKERS"),
    ],
)
def test_bad_speakers_file(tmp_path, server, line, message):
    tree = unpacked_copy(tmp_path)
    (tree / "SPEAKERS.TXT").write_text(f";\n\n{line}\n")
    with pytest.raises(DataError, match=message):
        run(tmp_path / "data", server, tree)


@pytest.mark.parametrize(
    ("suffix", "message"), [("flac", "has no audio"), ("trans.txt", "has no transcript")]
)
def test_an_incomplete_tree_is_refused(tmp_path, server, suffix, message):
    tree = unpacked_copy(tmp_path)
    next(iter(sorted(tree.glob(f"dev-clean-2/*/*/*.{suffix}")))).unlink()
    with pytest.raises(DataError, match=message):
        run(tmp_path / "data", server, tree)


def test_a_truncated_archive_with_the_right_checksum_is_one_line(tmp_path, server):
    contents = {name: data[:-200] for name, data in PACKED.items()}
    server.files = contents
    with pytest.raises(DataError, match=r"cannot be unpacked"):
        prepare_data.prepare(tmp_path / "data", None, server.url, archives(contents))
    assert not (tmp_path / "data" / "corpus" / "train-clean-5").exists()


@pytest.mark.parametrize("name", ["../outside.txt", "/outside.txt", "LibriSpeech/../../outside.txt"])
def test_an_archive_that_leads_outside_is_refused(tmp_path, name):
    path = tmp_path / "bad.tar.gz"
    path.write_bytes(pack({name: b"x"}))
    (tmp_path / "into").mkdir()
    with pytest.raises(DataError, match="is unsafe"):
        prepare_data.unpack(path, tmp_path / "into")
    assert not (tmp_path / "outside.txt").exists()


def test_an_archive_with_a_link_is_refused(tmp_path):
    path = tmp_path / "bad.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("LibriSpeech/link")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(info)
    with pytest.raises(DataError, match=r"'LibriSpeech/link' is unsafe"):
        prepare_data.unpack(path, tmp_path / "into")


def test_published_sizes_add_up():
    # two lines "<32 digits>  <name>\n" make the 108 bytes that the server lists for its md5sum.txt
    published = prepare_data.ARCHIVES.values()
    assert sum(len(f"{archive.md5}  {archive.name}\n") for archive in published) == 108
    assert sum(archive.num_bytes for archive in published) == 459_000_655


def test_a_proxy_that_does_not_answer_is_named_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "NUM_ATTEMPTS", 1)
    monkeypatch.setenv("http_proxy", "http://ann:secret@127.0.0.1:9")  # the port is closed
    monkeypatch.setenv("no_proxy", "example.org")
    archive = download.Archive("a.tgz", 10, "")
    with pytest.raises(DataError, match=r"no answer through the proxy http://127\.0\.0\.1:9 \(.*refused"):
        download.fetch(archive, "http://192.0.2.1", tmp_path)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(DataError, match=r"no answer \(.*refused"):
        download.fetch(archive, "http://127.0.0.1:9", tmp_path)
