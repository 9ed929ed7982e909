"""Serve enrolment, verification and identification over HTTP, with a web page.

On this machine alone nothing else is needed; the page is at the address printed. Another address than
loopback needs keys (speakerlab keys add), and a proxy in front for TLS. docs/server.md describes all of it.

Example: speakerlab serve --model campplus --store voiceprints.db
"""

from __future__ import annotations

import argparse
import dataclasses
import ipaddress
import logging
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from speakerlab.bin import audio_arguments, entry, session_arguments
from speakerlab.errors import MissingExtraError, SpeakerLabError

if TYPE_CHECKING:
    from speakerlab.serve.service import Settings

BACKLOG = 1024
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("--model", help="as of speakerlab verify (default: campplus, downloaded once)")
    parser.add_argument("--store", default="voiceprints.db", help="file, or postgresql:// URL, of the people")
    parser.add_argument("--index", type=Path, help="folder of the search index (default: in memory)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; others need keys")
    parser.add_argument("--port", type=int, default=8000, help="port; 0 takes a free one")
    parser.add_argument(
        "--allow-host", nargs="+", default=[], metavar="NAME",
        help="names that requests are addressed to, such as that of a proxy in front; needs keys",
    )  # fmt: skip
    parser.add_argument("--keys", type=Path, default=Path("keys.json"), help="file of speakerlab keys")
    parser.add_argument(
        "--threshold", type=float, help="score that counts as the same speaker (default: the model's)"
    )
    parser.add_argument("--workers", type=int, default=0, help="recordings at once (0: one for each core)")
    parser.add_argument("--max-waiting", type=int, default=128, help="recordings that may wait; more get 503")
    parser.add_argument(
        "--max-audio", type=float, default=120.0, metavar="S", help="longest recording, in seconds"
    )
    parser.add_argument("--max-megabytes", type=int, default=32, help="largest request")
    parser.add_argument(
        "--min-speech", type=float, default=None, metavar="S", help="least speech of a speaker, in seconds"
    )
    parser.add_argument(
        "--duplicates", choices=("off", "warn", "review"), default="warn",
        help="what follows if somebody enrolled sounds like a new speaker",
    )  # fmt: skip
    parser.add_argument(
        "--legacy-routes",
        metavar="MODE=GALLERY+GALLERY,...",
        help="serve the old six routes with these modes",
    )
    parser.add_argument("--cpu", action="store_true", help="use the CPU even where there is a GPU")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Serve until the process is told to stop; what was accepted is finished.

    Raises:
        SpeakerLabError: a model, store or option that cannot be used; no keys for an open address.
        MissingExtraError: the extra serve is not installed.
    """
    try:
        import uvicorn
        from threadpoolctl import threadpool_limits

        from speakerlab.serve.app import create_app
        from speakerlab.serve.service import Service
    except ImportError as error:
        if error.name and error.name.startswith("speakerlab"):
            raise
        raise MissingExtraError(str(error.name), "serve") from error
    settings = _settings(arguments)
    listening = _listening(arguments.host, arguments.port)  # before a model is loaded in vain
    from speakerlab.pipeline import pipeline

    # Workers are the parallelism. Threads of OpenBLAS spin for tens of ms after each product, on their cores.
    threadpool_limits(1, user_api="blas")
    running = dataclasses.replace(session_arguments.default(), num_threads=1)
    with entry.starting():  # what is loaded now stays: looking through it again would stop all requests
        model, ngpu = audio_arguments.network(arguments, running)
        service = Service.start(settings, pipeline(model=model, ngpu=ngpu, running=running))
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    config = uvicorn.Config(
        create_app(service), log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=60, h11_max_incomplete_event_size=1 << 16, limit_concurrency=1024,
        ws_max_size=1 << 18, ws_max_queue=16,
    )  # fmt: skip
    logging.info(
        "%s; %d speakers; %s", service.pipeline.identity["model"], len(service.people), settings.store
    )
    listening.listen(BACKLOG)  # from now on clients wait instead of being refused
    logging.info("listening at http://%s:%d/", arguments.host, listening.getsockname()[1])
    uvicorn.Server(config).run(sockets=[listening])


def _settings(arguments: argparse.Namespace) -> Settings:
    from speakerlab.serve.engine import Limits
    from speakerlab.serve.keys import KeyRing
    from speakerlab.serve.service import Settings
    from speakerlab.voiceprint.gates import Gates

    is_open = _is_loopback(arguments.host) and not arguments.allow_host
    if not is_open and not KeyRing(arguments.keys).all():
        raise SpeakerLabError(
            f"the server can be reached from elsewhere, and {arguments.keys} holds no keys; "
            f"run: speakerlab keys add NAME --scopes admin --keys {arguments.keys}"
        )
    gates = Gates(duplicates=arguments.duplicates)
    if arguments.min_speech is not None:
        gates = dataclasses.replace(gates, min_speech_s=arguments.min_speech)
    return Settings(
        store=arguments.store,
        index=arguments.index,
        keys=arguments.keys,
        is_open=is_open,
        threshold=arguments.threshold,
        limits=Limits(arguments.workers, arguments.max_waiting, arguments.max_audio),
        gates=gates,
        max_bytes=arguments.max_megabytes << 20,
        hosts=LOOPBACK | {arguments.host} if is_open else frozenset(arguments.allow_host) or None,
        legacy=_modes(arguments.legacy_routes),
    )


def _listening(host: str, port: int) -> socket.socket:
    """A socket at the address.

    Raises:
        SpeakerLabError: it cannot be had.
    """
    if not 0 <= port <= 65535:  # beyond, getaddrinfo counts from 0 again
        raise SpeakerLabError(f"{host}:{port}: a port is 0 to 65535; choose another --host or --port")
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # With the protocol named asyncio switches Nagle's algorithm off, which costs an answer 40 ms.
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        raise SpeakerLabError(f"{host}:{port}: {error}; choose another --host or --port") from error
    return found


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _modes(text: str | None) -> dict[str, list[str]] | None:
    """Galleries by mode; ``ai`` alone is ``ai=ai``.

    Raises:
        SpeakerLabError: it cannot be read.
    """
    if text is None:
        return None
    modes: dict[str, list[str]] = {}
    for part in text.split(","):
        mode, _, galleries = part.partition("=")
        modes[mode.strip()] = [one.strip() for one in (galleries or mode).split("+")]
    if not all(modes) or not all(all(one) for one in modes.values()):
        raise SpeakerLabError(f"--legacy-routes {text!r}: write MODE=GALLERY+GALLERY,MODE=GALLERY")
    return modes


if __name__ == "__main__":
    entry.run(main, options())
