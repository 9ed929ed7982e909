"""The file of settings and arrays: exact, of one kind, refused when damaged."""

from __future__ import annotations

import numpy as np
import pytest

from speakerlab.errors import DataError
from speakerlab.io import array_file

SPECIAL = np.array([0.1, -0.0, 5e-324, 1.7976931348623157e308, np.pi])


def test_every_number_comes_back_to_the_last_bit(tmp_path):
    content = {
        "arrays": [SPECIAL, SPECIAL.reshape(1, 5), np.zeros((0, 3))],
        "nested": {"float32": np.float32([0.1]), "transposed": np.arange(6.0).reshape(2, 3).T},
        "plain": [1, 0.1, "text", None, True],
    }
    array_file.write(tmp_path / "file", "thing", content)
    again = array_file.read(tmp_path / "file", "thing", "make it")
    assert again["plain"] == content["plain"]
    assert [array.shape for array in again["arrays"]] == [(5,), (1, 5), (0, 3)]
    assert again["arrays"][0].tobytes() == SPECIAL.tobytes()
    assert again["nested"]["float32"].tolist() == [float(np.float32(0.1))]
    assert again["nested"]["transposed"].tolist() == [[0, 3], [1, 4], [2, 5]]
    again["arrays"][0][0] = 1.0  # the caller's to change


def test_another_kind_is_refused(tmp_path):
    array_file.write(tmp_path / "file", "cohort", {})
    with pytest.raises(DataError, match="file: not a back-end file; make it"):
        array_file.read(tmp_path / "file", "back-end", "make it")


def test_a_changed_number_is_noticed(tmp_path):
    array_file.write(tmp_path / "file", "thing", {"array": SPECIAL, "scale": 1.5})
    text = (tmp_path / "file").read_text()
    for old, new in (("1.5", "1.6"), ('"float64": "', '"float64": "A')):
        (tmp_path / "file").write_text(text.replace(old, new))
        with pytest.raises(
            DataError, match="file: is damaged: its content does not match its digest; make it"
        ):
            array_file.read(tmp_path / "file", "thing", "make it")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    array_file.write(tmp_path / "file", "thing", {"scale": 1.5})
    with pytest.raises(TypeError):
        array_file.write(tmp_path / "file", "thing", {"scale": object()})
    assert array_file.read(tmp_path / "file", "thing", "make it") == {"scale": 1.5}
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
