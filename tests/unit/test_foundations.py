"""Registry, shares, atomic files, tables of embeddings."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speakerlab import registry
from speakerlab.errors import AudioError, ConfigError, DataError, SpeakerLabError
from speakerlab.io import atomic
from speakerlab.parallel import share
from speakerlab.types import EmbeddingTable


def test_registry_lists_files_and_imports_by_name():
    assert "campplus" in registry.names("model")
    assert registry.get("model", "campplus").__module__ == "speakerlab.nn.models.campplus"


def test_registry_names_the_nearest():
    with pytest.raises(SpeakerLabError, match="unknown loss 'aam_sofmax'; did you mean 'aam_softmax'"):
        registry.get("loss", "aam_sofmax")


@given(st.lists(st.integers(), max_size=50), st.integers(1, 20))
def test_shares_joined_are_the_whole_and_balanced(items, num_jobs):
    shares = [share(items, job, num_jobs) for job in range(1, num_jobs + 1)]
    assert [item for part in shares for item in part] == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(("job", "num_jobs"), [(0, 3), (4, 3)])
def test_share_refuses_a_job_that_does_not_exist(job, num_jobs):
    with pytest.raises(ValueError, match="is not in"):
        share([1], job, num_jobs)


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path):
    path = tmp_path / "a" / "x.txt"
    atomic.write_text(path, "old")
    with pytest.raises(RuntimeError), atomic.open_text(path) as stream:
        stream.write("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["x.txt"]


@pytest.mark.parametrize(
    "error",
    [
        DataError("p", "why", "fix", 3),
        AudioError("u", "why"),
        ConfigError("c", ["a", "b"]),
        SpeakerLabError("x"),
    ],
)
def test_errors_cross_processes_whole(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_embedding_table_refuses_what_scoring_could_not_use():
    good = np.ones((2, 3), np.float32)
    with pytest.raises(DataError, match="b appears twice"):
        EmbeddingTable(("b", "b"), good)
    with pytest.raises(DataError, match="c has NaN or Inf"):
        EmbeddingTable(("a", "c"), np.array([[0, 1], [np.nan, 1]], np.float32))
    with pytest.raises(DataError, match="3 ids for an array"):
        EmbeddingTable(("a", "b", "c"), good)
    table = EmbeddingTable(("a", "b"), good)
    assert table.rows(["b", "a", "b"]).tolist() == [1, 0, 1]
    with pytest.raises(DataError, match=r"no embedding for z \(2 such ids\)"):
        table.rows(["a", "z", "y"])
