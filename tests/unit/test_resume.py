"""Going on with a training: what differs is named, what cannot matter is not, one bad file is not the end."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from speakerlab import config as config_io
from speakerlab.augment.pipeline import Augmenter
from speakerlab.data import sources
from speakerlab.errors import AudioError, DataError
from speakerlab.train import checkpoint, listing, provenance
from speakerlab.train.corpus import TrainCorpus
from speakerlab.train.dataset import CropKey, CropSampler
from speakerlab.train.experiment import ExperimentConfig
from speakerlab.train.failures import Failures
from speakerlab.train.loop import Trainer

SETTINGS = {
    "frontend": {"name": "fbank", "num_mels": 16},
    "model": {"name": "tdnn", "channels": [8, 8, 8, 8, 8], "embed_dim": 8},
    "sampling": {"crop_s": 1.0, "speeds": [1.0]},
    "train": {"epochs": 2, "batch_size": 16, "average": 2, "margin_epochs": [1, 1]},
}


def experiment(**changes):
    settings = config_io.merge(SETTINGS, changes)
    return config_io.from_mapping(ExperimentConfig, settings, "test")


def run_of(data, inputs=None, max_fail_rate=0.0, **changes):
    corpus = TrainCorpus.load(data, tolerant=max_fail_rate > 0)
    states = sources.inputs(corpus.data, feats_type="raw", use_vad=False)
    given = {"--feats-type": "raw", **(inputs or {})}
    return provenance.Run(experiment(**changes), corpus, given, states, max_fail_rate)


@pytest.fixture
def data(toy_data, tmp_path):
    """24 utterances of the toy speakers."""
    folder = shutil.copytree(toy_data / "train", tmp_path / "data")
    for name in ("wav.scp", "utt2spk"):
        lines = (folder / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(line for line in lines if "-u3" not in line.split()[0]))
    (folder / "trials").unlink()
    return folder


@pytest.fixture
def exp_dir(data, tmp_path):
    """The folder of a run that was begun, with a checkpoint of epoch 2."""
    provenance.claim(tmp_path / "exp", run_of(data), goes_on=False)
    (tmp_path / "exp" / "checkpoints").mkdir()
    (tmp_path / "exp" / "checkpoints" / "epoch_0002.pt").write_bytes(b"-")
    return tmp_path / "exp"


def refusal(exp_dir, run):
    with pytest.raises(DataError) as caught:
        provenance.begun(exp_dir, run)
    assert "--overwrite true, which discards that run" in str(caught.value)
    assert provenance.begun(exp_dir, run, overwrite=True) is None
    return str(caught.value)


def test_settings_that_differ_are_named_with_both_values(exp_dir, data):
    text = refusal(exp_dir, run_of(data, optimizer={"lr": 0.05}, seed=7))
    assert "other settings: optimizer.lr (was 0.1, is 0.05), seed (was 0, is 7);" in text


def test_what_cannot_matter_is_not_compared(exp_dir, data):
    changed = {"train": {"average": 1, "epochs": 9}, "augment": {"noise": {"max_snr_db": 3.0}}}
    assert provenance.begun(exp_dir, run_of(data, **changed)) is not None
    path = exp_dir / "config.yaml"  # as a version wrote it that knew fewer settings
    older = yaml.safe_load(path.read_text())
    del older["sampling"]["views"], older["augment"]["band_limit"]
    path.write_text(yaml.safe_dump(older))
    assert provenance.begun(exp_dir, run_of(data)) is not None


def test_fewer_epochs_than_are_done_are_another_run(exp_dir, data):
    text = refusal(exp_dir, run_of(data, train={"epochs": 1, "average": 1}))
    assert "train.epochs (was 2, is 1)" in text


def test_more_epochs_are_written_down(exp_dir, data):
    run = run_of(data, train={"epochs": 5})
    provenance.claim(exp_dir, run, goes_on=provenance.begun(exp_dir, run) is not None)
    assert yaml.safe_load((exp_dir / "config.yaml").read_text())["train"]["epochs"] == 5
    assert provenance.read(exp_dir)["changed"] == "train.epochs 2 to 5 after epoch 2"
    assert (exp_dir / "checkpoints" / "epoch_0002.pt").exists()


def test_other_inputs_are_named(exp_dir, data):
    text = refusal(exp_dir, run_of(data, {"--feats-type": "fbank"}))
    assert "another --feats-type (was raw, is fbank)" in text
    older = json.loads((exp_dir / "provenance.json").read_text())
    del older["inputs"]
    (exp_dir / "provenance.json").write_text(json.dumps(older))
    assert provenance.begun(exp_dir, run_of(data, {"--feats-type": "fbank"})) is not None


def without(data, *utt_ids):
    for name in ("wav.scp", "utt2spk"):
        lines = (data / name).read_text().splitlines(keepends=True)
        (data / name).write_text("".join(line for line in lines if line.split()[0] not in utt_ids))


def test_a_list_that_lost_an_utterance_goes_on_without_it(exp_dir, data):
    whole = run_of(data).corpus
    without(data, "s03-u1")
    corpus = provenance.begun(exp_dir, run_of(data))
    assert corpus.data.utt_ids == whole.data.utt_ids
    assert corpus.durations_s.tolist() == whole.durations_s.tolist()
    config = experiment()
    dataset = corpus.waveform_dataset(config, Augmenter(config.augment, [], [], 16000))
    lost = corpus.data.utt_ids.index("s03-u1")
    batch = dataset.__getitems__([CropKey(0, 0, lost), CropKey(0, 1, 0)])
    intact = whole.waveform_dataset(config, Augmenter(config.augment, [], [], 16000))
    assert batch.failures == {}
    assert torch.equal(batch.feats[1], intact[CropKey(0, 1, 0)][0])
    stands_in = [utt for utt in range(24) if torch.equal(batch.feats[0], intact[CropKey(0, 0, utt)][0])]
    assert len(stands_in) == 1
    assert stands_in[0] != lost
    assert batch.labels[0] == intact[CropKey(0, 0, stands_in[0])][1]


def test_a_list_that_lost_many_utterances_is_another_list(exp_dir, data):
    without(data, "s03-u1", "s03-u0", "s03-u2")
    text = refusal(exp_dir, run_of(data))
    assert "other training data: 3 utterances fewer, the first s03-u0" in text
    corpus = provenance.begun(exp_dir, run_of(data, max_fail_rate=0.2))
    assert corpus.left_out == {"s03-u0", "s03-u1", "s03-u2"}
    assert len(corpus.speakers) == 8  # the classifier keeps the class of the speaker who is gone


def test_new_utterances_and_other_speakers_are_named(exp_dir, data):
    (data / "utt2spk").write_text((data / "utt2spk").read_text().replace("s03-u1 s03", "s03-u1 s02"))
    assert "s03-u1 is of s02 (was of s03)" in refusal(exp_dir, run_of(data))
    shutil.copy(data / "audio" / "s00-u0.wav", data / "audio" / "x.wav")
    for name, value in (("wav.scp", "audio/x.wav"), ("utt2spk", "s07")):
        with (data / name).open("a") as stream:
            stream.write(f"s07-x {value}\n")
    assert "1 new utterances, the first s07-x" in refusal(exp_dir, run_of(data))


def test_audio_replaced_in_place_is_named(exp_dir, data):
    path = data / "audio" / "s03-u1.wav"
    path.touch()
    assert provenance.begun(exp_dir, run_of(data)) is not None  # another date, the same content
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)
    text = refusal(exp_dir, run_of(data))
    assert "1 changed utterances, the first: s03-u1 has other audio (" in text
    assert "s03-u1.wav" in text
    assert provenance.begun(exp_dir, run_of(data, max_fail_rate=0.1)).left_out == {"s03-u1"}


def trainer_of(data, exp_dir, max_fail_rate=0.0):
    config = experiment()
    corpus = TrainCorpus.load(data, tolerant=max_fail_rate > 0)
    augmenter = Augmenter(config.augment, [], [], 16000)
    dataset = corpus.waveform_dataset(config, augmenter, max_fail_rate=max_fail_rate)
    sampler = CropSampler(corpus.durations_s, config.sampling, config.train.batch_size, config.seed)
    torch.manual_seed(0)
    return Trainer(config, dataset, sampler, exp_dir, torch.device("cpu"))


def flip(path):
    """Turn one byte of the weights in the middle of a checkpoint, which torch.load does not notice."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(data, tmp_path, caplog):
    trainer_of(data, tmp_path).run(None)
    first, last = checkpoint.finished(tmp_path)
    state = checkpoint.load(last)["model"]
    flip(last)
    with pytest.raises(checkpoint.DamagedError, match=r"epoch_0002\.pt: cannot be read \(.*checksum"):
        checkpoint.load(last)
    assert checkpoint.intact([first, last]) == [first]
    resumed = trainer_of(data, tmp_path)
    resumed.resume()
    assert resumed.epoch == 1
    assert [r for r in caplog.messages if "epoch_0002.pt" in r and "going back to epoch_0001.pt" in r]
    resumed.run(None)
    again = checkpoint.load(last)["model"]
    assert all(torch.equal(value, again[key]) for key, value in state.items())
    flip(first)
    flip(last)
    with pytest.raises(checkpoint.DamagedError, match="delete it"):
        trainer_of(data, tmp_path).resume()


def test_utterances_that_turn_unusable_are_listed_and_replaced_within_the_limit(data, tmp_path):
    path = data / "audio" / "s03-u1.wav"
    path.write_bytes(path.read_bytes()[:9000])
    (data / "audio" / "s05-u0.wav").unlink()
    utt_ids = TrainCorpus.load(data, tolerant=True).data.utt_ids
    (data / "utt2dur").write_text("".join(f"{utt_id} 1.2\n" for utt_id in utt_ids))
    with pytest.raises(AudioError, match="s03-u1|s05-u0"):
        trainer_of(data, tmp_path / "strict").run(None)
    trainer = trainer_of(data, tmp_path / "exp", max_fail_rate=0.1)
    trainer.run(None)
    rows = [line.split("\t") for line in (tmp_path / "exp" / "failures.tsv").read_text().splitlines()]
    assert [utt_id for utt_id, _ in rows] == ["s03-u1", "s05-u0"]
    assert "truncated" in rows[0][1]
    assert "no such file" in rows[1][1]
    records = [json.loads(line) for line in Path(tmp_path / "exp" / "train.jsonl").read_text().splitlines()]
    assert [record["crops"] for record in records] == [16, 16]  # batches stay full
    with pytest.raises(DataError, match=r"failures\.tsv: 2 of 24 utterances cannot be used"):
        trainer_of(data, tmp_path / "few", max_fail_rate=0.05).run(None)


def test_a_length_that_cannot_be_read_is_the_fault_of_its_utterance(data):
    (data / "audio" / "s05-u0.wav").unlink()
    with pytest.raises(AudioError, match=r"s05-u0.*no such file"):
        TrainCorpus.load(data)
    corpus = TrainCorpus.load(data, tolerant=True)
    assert corpus.durations_s[corpus.data.utt_ids.index("s05-u0")] == 0


def test_the_limit_of_failures_by_hand(tmp_path):
    failures = Failures(tmp_path, 10, 0.2)
    failures.add({"a": "no such file"})
    failures.add({"a": "no such file", "b": "silent"})
    assert (tmp_path / "failures.tsv").read_text() == "a\tno such file\nb\tsilent\n"
    with pytest.raises(DataError, match="3 of 10 utterances cannot be used, the last c: gone"):
        failures.add({"c": "gone"})


def test_a_damaged_list_is_named(exp_dir):
    path = exp_dir / listing.NAME
    path.write_text(path.read_text().replace("\t", " ", 5))
    with pytest.raises(DataError, match=r"utterances\.tsv: is damaged"):
        listing.read(exp_dir)
