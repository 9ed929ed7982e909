"""The published model, real speech, and embeddings of it; both are fetched or found, never done without."""

import os
from pathlib import Path

import pytest
import torch

from speakerlab.cache import user_cache
from speakerlab.data.datadir import DataDir
from speakerlab.hub import published
from speakerlab.hub.model_cache import ModelCache
from speakerlab.io import audio

ROOT = Path(__file__).parents[2]
CORPUS = Path(os.environ.get("SPEAKERLAB_CORPUS") or ROOT / "../shared/corpus")
SETS = ("eval-libri", "eval-accent")


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def corpus():
    """The folder with the data dirs ``SETS``."""
    missing = [str(CORPUS / name) for name in SETS if not (CORPUS / name / "wav.scp").is_file()]
    if missing:
        pytest.fail(f"no data dir {' or '.join(missing)}; set SPEAKERLAB_CORPUS to the folder that has them")
    return CORPUS


@pytest.fixture(scope="session")
def entry():
    return published.TABLE["campplus"]


@pytest.fixture(scope="session")
def cache():
    return ModelCache(user_cache())


@pytest.fixture(scope="session")
def model(cache, entry):
    return cache.load(entry)


@pytest.fixture(scope="session")
def checkpoint(model, entry):
    """The publisher's own file."""
    return model.path.parent / f"{entry.sha256[:12]}.pt"


@pytest.fixture(scope="session")
def speech(corpus):
    """Sixteen recordings of both sets, whole."""
    found = []
    for name in SETS:
        data = DataDir.load(corpus / name)
        for utterance in data.utterances[:: len(data.utterances) // 8][:8]:
            recording = data.recordings[utterance.segment.rec_id]
            found.append(audio.read(recording, utterance.segment, 16000))
    return found
