"""The Mini LibriSpeech recipe from stage 0 to the table, on a tiny tree of the corpus' layout."""

import os
import subprocess
import sys
from pathlib import Path

from conftest import RATE, toy_voice

from speakerlab.io import audio
from speakerlab.types import Waveform

ROOT = Path(__file__).parents[2]
SUBSETS = {"train-clean-5": range(6), "dev-clean-2": range(10, 14)}
SETTINGS = "train.epochs=2 train.batch_size=8 train.average=1 train.margin_epochs=[0,1] train.precision=fp32"


def make_tree(root: Path) -> Path:
    """``root`` as an unpacked LibriSpeech folder: two chapters of two utterances for each speaker."""
    lines = [";ID  |SEX| SUBSET           |MINUTES| NAME"]
    for subset, speakers in SUBSETS.items():
        for speaker in speakers:
            lines.append(f"{100 + speaker:<5}| {'FM'[speaker % 2]} | {subset} | 1.0 | Name")
            for chapter in (1, 2):
                ids = [f"{100 + speaker}-{chapter}-{number:04d}" for number in range(2)]
                folder = root / subset / str(100 + speaker) / str(chapter)
                for number, utt_id in enumerate(ids):
                    samples = toy_voice(speaker, 10 * chapter + number, 2.1)
                    audio.write(folder / f"{utt_id}.flac", Waveform(samples, RATE))
                text = "".join(f"{utt_id} SOME WORDS\n" for utt_id in ids)
                (folder / f"{100 + speaker}-{chapter}.trans.txt").write_text(text)
    (root / "SPEAKERS.TXT").write_text("\n".join(lines) + "\n")
    return root


def test_the_recipe_goes_from_a_copy_of_the_corpus_to_the_table(tmp_path):
    tree = make_tree(tmp_path / "LibriSpeech")
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["bash", "run.sh", "--recipe", "egs/mini_librispeech/campplus", "--data-src", str(tree)]
    command += ["--data", str(tmp_path / "data"), "--exp", str(tmp_path / "exp"), "--gpus", ""]
    command += ["--num-valid-speakers", "2", "--set", SETTINGS]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split()[:2] for line in done.stdout.splitlines() if line.startswith(("model", "untrained"))]
    assert ["model", "test/trials"] in rows
    assert ["untrained", "test/trials_same_gender"] in rows
