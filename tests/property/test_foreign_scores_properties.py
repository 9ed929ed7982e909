"""Whatever is scored: every format gives back the same trials, in whatever order the lines come."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from speakerlab.io import foreign_scores

IDS = st.text(st.characters(blacklist_categories=("C", "Z")), min_size=1, max_size=8).filter(
    lambda text: not text.startswith("#") and "modelid" not in text
)
SCORES = st.floats(allow_nan=False, allow_infinity=False)
TRIALS = st.dictionaries(st.tuples(IDS, IDS), st.tuples(SCORES, st.booleans()), min_size=1, max_size=12)
WORDS = ("nontarget", "target")
FORMATS = {
    "kaldi": lambda a, b, score, _: f"{a} {b} {score!r}",
    "wespeaker": lambda a, b, score, label: f"{a} {b} {score!r} {WORDS[label]}",
    "3d-speaker": lambda a, b, score, label: f"{a}\t{b} {WORDS[label]} {score!r}",
    "nist": lambda a, b, score, _: f"{a}\t{b}\ta\t{score!r}",
}


def write(folder, name, lines):
    (folder / name).write_text("".join(line + "\n" for line in lines))
    return folder / name


@settings(deadline=None, max_examples=60)
@given(trials=TRIALS, data=st.data())
def test_all_formats_say_the_same(trials, data):
    rows = [(a, b, score, int(label)) for (a, b), (score, label) in trials.items()]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wanted = foreign_scores.read_trial_list(
            write(folder, "trials", (f"{a} {b} {WORDS[label]}" for a, b, _, label in rows))
        )
        for form, text in FORMATS.items():
            shuffled = data.draw(st.permutations(rows), label=form)
            header = ["modelid\tsegmentid\tside\tLLR"] if form == "nist" else []
            path = write(folder, form, header + [text(*row) for row in shuffled])
            table = foreign_scores.read(path, wanted, form)
            assert table.scores.tolist() == [score for _, _, score, _ in rows]
            assert table.trials.labels.tolist() == [label for *_, label in rows]
            if form in {"wespeaker", "3d-speaker"}:
                assert foreign_scores.recognise(path) == form
                alone = foreign_scores.read(path)
                found = zip(alone.trials, alone.scores.tolist(), strict=True)
                assert {(t.enroll_id, t.test_id): (s, t.is_target) for t, s in found} == trials
