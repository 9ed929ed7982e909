"""``speakerlab models`` and ``speakerlab convert``: the table's numbers, the bundle, what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from speakerlab import cli, registry
from speakerlab.bin import list_models
from speakerlab.errors import MissingExtraError
from speakerlab.hub import bundle
from speakerlab.hub.load import load_model

ROOT = Path(__file__).parents[2]


def run(monkeypatch, *arguments):
    """Exit status of ``speakerlab ARGUMENTS``; None if it does not exit."""
    monkeypatch.setattr(sys, "argv", ["speakerlab", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as error:
        return error.code


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom speakerlab import cli\nsys.argv[1:] = ['--help']\n"
        "try:\n    cli.main()\nexcept SystemExit:\n"
        "    sys.exit(sorted({'torch', 'numpy', 'yaml', 'tqdm', 'scipy'} & set(sys.modules)) or 0)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "models " in done.stdout
    assert "convert " in done.stdout


def test_usage(monkeypatch, capsys):
    assert run(monkeypatch) == 2
    assert run(monkeypatch, "modles") == 2
    assert "modles" in capsys.readouterr().err
    assert run(monkeypatch, "convert", "--help") == 0
    assert "usage: speakerlab convert" in capsys.readouterr().out
    assert run(monkeypatch, "convert", "a") == 2


def test_sizes_of_a_network_worked_out_by_hand():
    cls = registry.get("model", "xvector")
    sizes = list_models.measure(cls, cls.Config(), 80)
    # convolutions without padding: 198 frames become 194, 190, 184, 184, 184
    macs = 194 * 80 * 512 * 5 + 190 * 512 * 512 * 3 + 184 * 512 * (512 * 3 + 512 + 1500) + 3000 * 512
    params = (80 * 5 + 1) * 512 + 2 * (512 * 3 + 1) * 512 + (512 + 1) * (512 + 1500) + 3001 * 512
    assert sizes == {"feat_dim": 80, "num_params": params, "macs": macs, "embed_dim": 512}


def test_table_and_json(monkeypatch, capsys):
    monkeypatch.setattr(registry, "names", lambda _: ["tdnn", "campplus"])
    assert run(monkeypatch, "models", "--json") is None
    rows = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["variant"]) for row in rows] == [
        ("tdnn", "base"), ("campplus", "e192"), ("campplus", "e512"),
    ]  # fmt: skip
    assert rows[1]["num_params"] == 6_848_544
    assert 1.0e9 < rows[1]["macs"] < 1.2e9  # published: 1.15 G
    assert run(monkeypatch, "models") is None
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split()[0] == "name"
    assert "6,848,544" in lines[1]
    assert "1.06 G" in lines[1]
    assert len({len(line.rsplit("  ", 1)[0]) for line in lines[1:]}) == 1


def test_a_model_without_its_package_is_left_out_and_named(monkeypatch, capsys):
    class Absent:
        PAPER, VARIANTS = "none", {"base": None}

        def __init__(self, *_, **__):
            raise MissingExtraError("transformers", "ssl")

    get = registry.get
    monkeypatch.setattr(registry, "names", lambda _: ["absent", "xvector"])
    monkeypatch.setattr(registry, "get", lambda kind, name: Absent if name == "absent" else get(kind, name))
    assert run(monkeypatch, "models", "--json") is None
    out, err = capsys.readouterr()
    assert [row["name"] for row in json.loads(out)] == ["xvector"]
    assert "absent base left out: transformers is not installed" in err


def test_every_model_has_a_paper_and_variants_of_its_own_settings():
    for name in registry.names("model"):
        cls = registry.get("model", name)
        assert cls.PAPER, name
        assert cls.VARIANTS, name
        assert next(iter(cls.VARIANTS.values())) == cls.Config(), name
        assert len(set(map(repr, cls.VARIANTS.values()))) == len(cls.VARIANTS), name


@pytest.fixture
def source(tmp_path):
    """A small WeSpeaker model."""
    cls = registry.get("model", "simam_resnet")
    torch.manual_seed(0)
    model = cls(cls.Config(m_channels=2, embed_dim=8), feat_dim=40)
    folder = tmp_path / "wespeaker"
    folder.mkdir()
    torch.save(model.state_dict(), folder / "avg_model.pt")
    arguments = {"in_planes": 2, "embed_dim": 8, "acoustic_dim": 40}
    fbank = {"fbank_args": {"num_mel_bins": 40}}
    config = {"model": "SimAM_ResNet34_ASP", "model_args": arguments, "dataset_args": fbank}
    (folder / "config.yaml").write_text(yaml.dump(config))
    return folder


def test_convert_writes_a_bundle_that_is_the_same_model(monkeypatch, tmp_path, source):
    assert run(monkeypatch, "convert", source, tmp_path / "out" / "model") is None
    written, found = bundle.load(tmp_path / "out" / "model"), load_model(source)
    assert written.config == found.config
    assert written.card["provenance"]["format"] == "wespeaker"
    state = found.model.state_dict()
    assert written.model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in written.model.state_dict().items())
    feats = torch.randn(1, 60, 40)  # mapped weights lie elsewhere in memory: sums in another order
    torch.testing.assert_close(written.model(feats), found.model(feats), rtol=1e-5, atol=1e-6)


def test_convert_replaces_a_bundle_only_when_told(monkeypatch, tmp_path, source, capsys):
    assert run(monkeypatch, "convert", source, tmp_path / "model", "--json") is None
    said = json.loads(capsys.readouterr().out)
    assert (said["model"], said["embed_dim"]) == ("simam_resnet", 8)
    assert run(monkeypatch, "convert", source, tmp_path / "model") == 1
    assert "model: exists; add --overwrite to replace it" in capsys.readouterr().err
    assert run(monkeypatch, "convert", source, tmp_path / "model", "--overwrite") is None


def test_convert_refuses_to_replace_anything_else(monkeypatch, tmp_path, source, capsys):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.txt").write_text("x")
    assert run(monkeypatch, "convert", source, tmp_path / "work") == 1
    assert "work: exists and is no bundle; name a new folder" in capsys.readouterr().err
    assert (tmp_path / "work" / "thesis.txt").exists()
    assert run(monkeypatch, "convert", tmp_path / "work", tmp_path / "new") == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "new").exists()
