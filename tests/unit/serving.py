"""What the tests of the server share: one around a tiny model, recordings as clients send them."""

import io

import numpy as np
import soundfile
from starlette.testclient import TestClient

from speakerlab.embed.session import SessionConfig
from speakerlab.pipeline import pipeline
from speakerlab.serve.app import create_app
from speakerlab.serve.service import Service, Settings


def start(model, folder, **settings):
    """A service with its store in ``folder``, and a client that is not let in before ``with client``."""
    given = {"store": str(folder / "v.db"), "keys": folder / "keys.json", "is_open": True, **settings}
    network = pipeline(model=model, ngpu=0, running=SessionConfig(num_threads=1))
    service = Service.start(Settings(**given), network)
    return service, TestClient(
        create_app(service), base_url="http://localhost", raise_server_exceptions=False
    )


def encoded(waveform, kind="WAV", subtype=None, rate=16000):
    """A ``Waveform`` or samples as an audio file."""
    stream = io.BytesIO()
    soundfile.write(stream, getattr(waveform, "samples", waveform), rate, format=kind, subtype=subtype)
    return stream.getvalue()


def pcm16(waveform):
    """Samples as raw 16-bit PCM."""
    return np.round(np.asarray(waveform.samples) * 32767).astype("<i2").tobytes()
