"""Requests a second and their times: the server, beside the bare network and a plain Flask handler.

Each clip is 3 s of a recording of --data. The bare network embeds clips that are decoded already, one on each
core; it is measured before and after every few rows, since machines change their speed. The Flask handler
embeds one request after the other, as the server of the seed does, on all cores. The clients are one process
that sends prepared requests over kept connections. Needs the extra serve, flask.

Example: python benchmarks/serve.py --data corpus/eval-libri --requests 400
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import soundfile

from speakerlab.bin import audio_arguments, entry
from speakerlab.data.datadir import DataDir
from speakerlab.embed.session import Session, SessionConfig
from speakerlab.errors import SpeakerLabError
from speakerlab.io import audio
from speakerlab.pipeline import pipeline
from speakerlab.voiceprint.records import Voiceprint
from speakerlab.voiceprint.store import VoiceprintStore

RATE, CLIP_S = 16000, 3.0
WAIT_S = 120.0
FLASK = """
import sys, flask
from speakerlab.pipeline import pipeline
from speakerlab.predictor import Predictor
predictor = Predictor(sys.argv[2], sys.argv[3], ngpu=0)
app = flask.Flask("seed")
@app.post("/identify")
def identify():
    return predictor.recognition(flask.request.get_data()).as_dict()
import logging; logging.getLogger("werkzeug").setLevel(logging.ERROR)
app.run("127.0.0.1", int(sys.argv[1]), threaded=False)
"""


def options() -> argparse.ArgumentParser:
    parser = entry.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="data dir whose recordings give the clips")
    parser.add_argument("--model", default="campplus", help="model")
    parser.add_argument("--requests", type=int, default=400, help="of each measurement")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64], help="at once")
    parser.add_argument("--people", type=int, default=10, help="enrolled speakers")
    parser.add_argument(
        "--large", type=int, default=10_000, help="enrolled speakers of a large store; 0: none"
    )
    parser.add_argument("--soak", type=int, default=0, help="requests after which memory is told; 0: none")
    parser.add_argument("--no-flask", action="store_true", help="without the Flask handler")
    return parser


def clips(path: Path, number: int) -> list[np.ndarray]:
    """``number`` clips of 3 s, of as many recordings, or as there are."""
    data, found = DataDir.load(path), []
    for utterance in data.utterances:
        samples = audio.read(data.recordings[utterance.segment.rec_id], utterance.segment, RATE).samples
        if len(samples) >= CLIP_S * RATE:
            found.append(samples[: int(CLIP_S * RATE)])
        if len(found) == number:
            break
    return found


def wav(samples: np.ndarray) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, RATE, format="WAV", subtype="PCM_16")
    return stream.getvalue()


def request(path: str, body: bytes) -> bytes:
    fields = {"Host": "127.0.0.1", "Content-Type": "audio/wav", "Content-Length": len(body)}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def _client(port: int, requests: Iterator[bytes], times: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    for one in requests:
        start = time.perf_counter()
        writer.write(one)
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:] if b": " in line)
        body = await reader.readexactly(int(fields[b"content-length"]))
        times.append(time.perf_counter() - start)
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise SpeakerLabError(f"{head.splitlines()[0].decode()}: {body[:200].decode()}")
        if fields.get(b"connection") == b"close":
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    writer.close()


def load(port: int, requests: Sequence[bytes], num_clients: int, number: int) -> tuple[float, np.ndarray]:
    """Requests a second and the times in ms, rising, of ``number`` requests of ``num_clients`` at once."""
    order = iter([requests[n % len(requests)] for n in range(number)])
    times: list[float] = []

    async def run() -> float:
        start = time.perf_counter()
        await asyncio.gather(*(_client(port, order, times) for _ in range(num_clients)))
        return time.perf_counter() - start

    return number / asyncio.run(run()), 1000 * np.sort(times)


def opened(model: str) -> Session:
    """The network as the server runs it, one thread a call."""
    parser = argparse.ArgumentParser()
    audio_arguments.add(parser)
    found, ngpu = audio_arguments.network(
        parser.parse_args(["--model", model, "--cpu"]), SessionConfig(num_threads=1)
    )
    return pipeline(model=found, ngpu=ngpu, running=SessionConfig(num_threads=1)).embedder.session


def network(session: Session, recordings: Sequence[np.ndarray], number: int) -> tuple[float, np.ndarray]:
    """``load`` of the network alone, one clip at a time on each core; the times are on one core."""
    cores, times = len(os.sched_getaffinity(0)), []
    session.embed([recordings[0]])

    def work() -> None:
        for place in order:
            start = time.perf_counter()
            session.embed([recordings[place % len(recordings)]])
            times.append(time.perf_counter() - start)

    order = iter(range(number // 4))
    work()
    alone = 1000 * np.sort(times)
    order = iter(range(number))
    threads = [threading.Thread(target=work) for _ in range(cores)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return number / (time.perf_counter() - start), alone


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def process(command: Sequence[str], port: int, path: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server of its own process, from when it answers until it is told to end.

    Raises:
        SpeakerLabError: it does not answer.
    """
    with log.open("wb") as stream:
        running = subprocess.Popen(command, stdout=stream, stderr=stream)
    try:
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).close()
                break
            except urllib.error.HTTPError:
                break
            except OSError as error:
                if running.poll() is not None or time.monotonic() > deadline:
                    raise SpeakerLabError(f"no answer: {log.read_text()[-2000:]}") from error
                time.sleep(0.2)
        yield running
    finally:
        running.terminate()
        running.wait(60)


def fill(location: Path, model_hash: str, dim: int, number: int) -> str:
    """A store of ``number`` people with random voices; the id of one of them."""
    rng = np.random.default_rng(0)
    with VoiceprintStore.open(location) as store:
        for place in range(number):
            vector = rng.standard_normal(dim).astype(np.float32)
            done = store.enrol([Voiceprint(vector, model_hash, "random", 3.0)], name=f"person {place}")
    return done.speaker_id


class Table:
    """Rows that wait until the bare network was measured after them too."""

    def __init__(self, session: Session, recordings: Sequence[np.ndarray], number: int) -> None:
        self._measure = functools.partial(network, session, recordings, number)
        self._before, self._times = self._measure()
        self._rows: list[tuple[str, float, np.ndarray]] = []

    def add(self, name: str, rate: float, times: np.ndarray) -> None:
        """Keep a row."""
        self._rows.append((name, rate, times))

    def flush(self) -> None:
        """Print the rows beside the mean of the two measurements."""
        after, alone = self._measure()
        rate, times = (self._before + after) / 2, np.sort(np.concatenate([self._times, alone]))
        for one in [*self._rows, ("network alone, one clip on each core; times: one at a time", rate, times)]:
            p50, p95, p99 = np.percentile(one[2], [50, 95, 99])
            shares = f"{one[1] / rate:.2f} | {p50:.1f} | {p95:.1f} | {p99:.1f} | {p99 / np.median(times):.2f}"
            print(f"| {one[0]} | {one[1]:.1f} | {shares} |", flush=True)
        self._rows, self._before, self._times = [], after, alone


def main(arguments: argparse.Namespace) -> None:
    recordings = clips(arguments.data, 64)
    bodies = [wav(one) for one in recordings]
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} cores; {len(recordings)} clips of {CLIP_S:g} s; {arguments.requests} requests a row")
    print("| what | requests/s | of the network | p50 ms | p95 ms | p99 ms | p99 of a clip alone |")
    print("|---|---|---|---|---|---|---|")
    table = Table(opened(arguments.model), recordings, arguments.requests)
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        serve(arguments, folder, bodies, table)
        if not arguments.no_flask:
            flask(arguments, folder, bodies, table)


def serve(arguments: argparse.Namespace, folder: Path, bodies: Sequence[bytes], table: Table) -> None:
    """Rows of our server, with few people and with many."""
    for people in filter(None, (arguments.people, arguments.large)):
        port, location = free_port(), folder / f"{people}.db"
        command = [
            sys.executable, "-m", "speakerlab.cli", "serve", "--cpu", "--model", arguments.model,
            "--store", str(location), "--port", str(port),
        ]  # fmt: skip
        with process(command, port, "/v1/health", folder / "log") as running:
            told = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models"))[0]
            sample = urllib.request.Request(f"http://127.0.0.1:{port}/v1/embed", bodies[0])
            dim = len(json.load(urllib.request.urlopen(sample))["embedding"])
            speaker_id = fill(location, told["model_hash"], dim, people)
            kinds = {"identify": "/v1/identify", "verify": f"/v1/verify?speaker_id={speaker_id}"}
            for kind, path in kinds.items():
                requests = [request(path, body) for body in bodies]
                load(port, requests, 2, 20)  # the index follows the store
                for num_clients in arguments.clients:
                    found = load(port, requests, num_clients, arguments.requests)
                    table.add(f"{kind}, {people:,} people, {num_clients} clients", *found)
                table.flush()
            if arguments.soak:
                soak(port, [request("/v1/identify", body) for body in bodies], running.pid, arguments.soak)
                arguments.soak = 0


def soak(port: int, requests: Sequence[bytes], pid: int, number: int) -> None:
    """Memory after a tenth of the requests and after all."""
    seen = psutil.Process(pid)
    load(port, requests, 8, number // 10)
    before = seen.memory_info().rss
    load(port, requests, 8, number - number // 10)
    after = seen.memory_info().rss
    print(f"memory after {number // 10:,} requests {before >> 20} MiB, after {number:,} {after >> 20} MiB")


def flask(arguments: argparse.Namespace, folder: Path, bodies: Sequence[bytes], table: Table) -> None:
    """Rows of the plain handler."""
    port = free_port()
    command = [
        sys.executable,
        "-c",
        FLASK,
        str(port),
        arguments.model,
        str(folder / f"{arguments.people}.db"),
    ]
    with process(command, port, "/", folder / "log"):
        requests = [request("/identify", body) for body in bodies]
        load(port, requests, 1, 5)
        for num_clients in arguments.clients:
            found = load(port, requests, num_clients, arguments.requests // 2)
            table.add(f"Flask handler, identify, {num_clients} clients", *found)
    table.flush()


if __name__ == "__main__":
    entry.run(main, options())
