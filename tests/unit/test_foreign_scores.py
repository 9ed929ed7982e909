"""Score files and keys of other toolkits: what is read, what is recognised, what is refused."""

from __future__ import annotations

import pytest

from speakerlab.errors import DataError
from speakerlab.io import foreign_scores

# Two targets and two non-targets in the words of each toolkit.
KALDI = "a x 0.5\na y -1e-3\nb x 0.25\nb y 2\n"
WESPEAKER = "a x 0.50000 target\na y -0.00100 nontarget\nb x 0.25000 nontarget\nb y 2.00000 target\n"
WESPEAKER_NORM = "".join(f"{line} 11.2 10.9 0.1 0.2\n" for line in WESPEAKER.splitlines())
THREE_D_SPEAKER = "a x 1 0.50000\na y 0 -0.00100\nb x 0 0.25000\nb y 1 2.00000\n"
NIST = "modelid\tsegmentid\tside\tLLR\na\tx\ta\t0.5\na\ty\ta\t-0.001\nb\tx\ta\t0.25\nb\ty\ta\t2\n"
NIST_KEY = (
    "modelid\tsegmentid\tside\ttargettype\tgender\n"
    "b\ty\ta\ttarget\tmale\na\tx\ta\ttarget\tmale\na\ty\ta\tnontarget\tmale\nb\tx\ta\tnontarget\tmale\n"
)
NIST_2010 = "".join(
    f"core n core m {a} {b} a t {score}\n" for a, b, score in map(str.split, KALDI.splitlines())
)
VOXSRC = "0.5 a x\n-1e-3 a y\n0.25 b x\n2 b y\n"
LABEL_FIRST = "1 a x 0.5\n0 a y -1e-3\n0 b x 0.25\n1 b y 2\n"
SCORE_FIRST = "0.5 a x target\n-1e-3 a y nontarget\n0.25 b x nontarget\n2 b y target\n"
SRE08_KEY = (
    "model,segment,channel,type,c1\nb,y,a,target,Y\na,x,a,target,N\na,y,a,nontarget,N\nb,x,a,nontarget,Y\n"
)
TRIALS = "b y target\na x target\na y nontarget\nb x nontarget\n"
EXPECTED = {("a", "x"): (0.5, 1), ("a", "y"): (-0.001, 0), ("b", "x"): (0.25, 0), ("b", "y"): (2.0, 1)}


def write(folder, name, text):
    (folder / name).write_text(text)
    return folder / name


def content(table):
    rows = zip(table.trials, table.scores.tolist(), strict=True)
    return {(trial.enroll_id, trial.test_id): (score, int(trial.is_target)) for trial, score in rows}


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (KALDI, "kaldi"),
        (WESPEAKER, "wespeaker"),
        (WESPEAKER_NORM, "wespeaker"),
        (THREE_D_SPEAKER, "3d-speaker"),
        (THREE_D_SPEAKER.replace(" 1 ", " target ").replace(" 0 ", " nontarget "), "3d-speaker"),
        (NIST, "nist"),
        (NIST.replace("segmentid", "segment"), "nist"),
        (NIST_2010, "nist-2010"),
        (VOXSRC, "voxsrc"),
        (LABEL_FIRST, "label-first"),
        (SCORE_FIRST, "score-first"),
    ],
)
@pytest.mark.parametrize(
    ("trials", "name"),
    [
        (TRIALS, "trials"),
        (NIST_KEY, "key.tsv"),
        (NIST_KEY.replace("segmentid", "segment"), "sre16.tsv"),
        (SRE08_KEY, "sre08.key"),
        (SRE08_KEY.partition("\n")[2], "bare.csv"),
    ],
)
def test_each_format_is_recognised_and_ordered_as_the_list(tmp_path, text, form, trials, name):
    path = write(tmp_path, "scores", text)
    assert foreign_scores.recognise(path) == form
    wanted = foreign_scores.read_trial_list(write(tmp_path, name, trials))
    table = foreign_scores.read(path, wanted)
    assert list(zip(table.trials.enroll_ids, table.trials.test_ids, strict=True)) == [
        ("b", "y"), ("a", "x"), ("a", "y"), ("b", "x"),
    ]  # fmt: skip
    assert content(table) == EXPECTED


@pytest.mark.parametrize("text", [WESPEAKER, WESPEAKER_NORM, THREE_D_SPEAKER, LABEL_FIRST, SCORE_FIRST])
def test_labels_in_the_file_make_a_list_needless(tmp_path, text):
    assert content(foreign_scores.read(write(tmp_path, "x.score", text))) == EXPECTED


def test_labels_of_the_file_serve_a_list_without(tmp_path):
    trials = foreign_scores.read_trial_list(write(tmp_path, "trials", "b y\na x\na y\nb x\n"))
    assert content(foreign_scores.read(write(tmp_path, "x.score", WESPEAKER), trials)) == EXPECTED


def test_scores_before_or_behind_ids_that_are_numbers(tmp_path):
    trials = foreign_scores.read_trial_list(
        write(tmp_path, "trials", "1001 2001 target\n1002 2001 nontarget\n")
    )
    for text in ("1001 2001 0.5\n1002 2001 0.25\n", "0.5 1001 2001\n0.25 1002 2001\n"):
        table = foreign_scores.read(write(tmp_path, "scores", text), trials)
        assert table.scores.tolist() == [0.5, 0.25]


def test_ids_that_look_like_labels_leave_the_format_of_a_toolkit(tmp_path):
    path = write(tmp_path, "scores", "1 0 1 0.5\n0 1 0 0.25\n")  # also lines of label, pair, score
    assert foreign_scores.recognise(path) == "3d-speaker"
    assert foreign_scores.recognise(write(tmp_path, "x", "1 a x 0.5\n0 0 1 0.25\n")) == "label-first"


def test_both_sides_of_a_conversation_in_files_of_sre08(tmp_path):
    key = "10,seg,a,target,Y\n10,seg,b,nontarget,Y\n"
    trials = foreign_scores.read_trial_list(write(tmp_path, "key", key))
    assert trials.test_ids == ["seg", "seg:b"]
    text = "short2 n short3 f 10 seg b f -1.5\nshort2 n short3 f 10 seg a t 2.5\n"
    assert foreign_scores.read(write(tmp_path, "out", text), trials).scores.tolist() == [2.5, -1.5]


def test_voxceleb_lists_name_files(tmp_path):
    trials = "1 id1/v/1.wav id1/w/2.wav\n0 id1/v/1.wav id2/v/1.wav\n"
    scores = "id1/v/1.wav id2/v/1.wav -0.1\nid1/v/1.wav id1/w/2.wav 0.7\n"
    wanted = foreign_scores.read_trial_list(write(tmp_path, "veri_test2.txt", trials))
    table = foreign_scores.read(write(tmp_path, "scores", scores), wanted)
    assert (table.scores.tolist(), table.trials.labels.tolist()) == ([0.7, -0.1], [1, 0])


def test_sides_of_a_conversation_are_segments_of_their_own(tmp_path):
    text = "modelid\tsegmentid\tside\tLLR\nm\ts\ta\t1\nm\ts\tb\t-1\n"
    key = "segmentid\tside\tmodelid\ttargettype\ns\tb\tm\tnontarget\ns\ta\tm\ttarget\n"
    wanted = foreign_scores.read_trial_list(write(tmp_path, "key.tsv", key))
    table = foreign_scores.read(write(tmp_path, "out.tsv", text), wanted)
    assert content(table) == {("m", "s:b"): (-1.0, 0), ("m", "s"): (1.0, 1)}


def test_labels_and_scores_of_digits_are_told_apart_by_later_lines(tmp_path):
    path = write(tmp_path, "scores", "a x 1 0\na y 0 0\nb x 0 0.25\n")
    assert foreign_scores.recognise(path) == "3d-speaker"
    path = write(tmp_path, "scores", "a x 1 0\na y 0 1\n")
    with pytest.raises(DataError, match="could be of the formats wespeaker and 3d-speaker; give --format"):
        foreign_scores.recognise(path)
    assert foreign_scores.read(path, form="3d-speaker").trials.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (WESPEAKER + "a x 0.1 nontarget\n", r"scores:5: pair 'a x' is scored twice \(1 such lines\)"),
        (WESPEAKER + "a z 0.1 target\n", r"scores:5: pair 'a z' is not in .*trials \(1 such lines\)"),
        (WESPEAKER[: WESPEAKER.index("b y")], r"scores: no score for pair 'b y' \(1 such pairs\)"),
        (WESPEAKER.replace("0.25000", "nan"), "scores:3: score 'nan' is not a finite number"),
        (WESPEAKER.replace("0.25000", "inf"), "scores:3: score 'inf' is not a finite number"),
        (WESPEAKER.replace("0.25000", "high"), "scores:3: score 'high' is not a finite number"),
        (WESPEAKER.replace("0.25000 ", ""), "scores:3: 'b x nontarget' does not fit 'enroll test score"),
        (WESPEAKER.replace("a y -0.00100 nontarget", "a y -0.00100 target"), "scores:2: .*another label in"),
        (THREE_D_SPEAKER.replace(" 0 0.25", " 2 0.25"), "scores:3: 'b x 2 0.25000' does not fit"),
        (NIST + "a\tx\n", "scores:6: 2 columns where the header has 4; separate columns by tabs"),
        (NIST.replace("LLR", "score"), "scores:1: the header has no 'LLR'"),
        (NIST.replace("\tx\t", "\t\t", 1), "scores:2: segmentid '' is not an id"),
        (NIST.splitlines()[0] + "\n", "scores: no line below the header"),
        ("a x\n", "scores:1: not a score file; write every line as 'enroll test score' "),
        ("", "scores: empty file"),
    ],
)
def test_faults_are_named_with_file_and_line(tmp_path, text, message):
    trials = foreign_scores.read_trial_list(write(tmp_path, "trials", TRIALS))
    with pytest.raises(DataError, match=message):
        foreign_scores.read(write(tmp_path, "scores", text), trials)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (KALDI, "the scores have no labels; give the trial list: --trials"),
        (WESPEAKER + "a x 0.1 target\n", "scores:5: pair 'a x' is there twice"),
    ],
)
def test_a_file_alone_needs_labels_and_each_pair_once(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        foreign_scores.read(write(tmp_path, "scores", text))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (("target\tmale", "maybe\tmale"), "key.tsv:2: target type 'maybe'; write target or nontarget"),
        (("a\ty\ta", "a\tx\ta"), r"key.tsv:4: pair 'a x' is there twice \(1 such lines\)"),
    ],
)
def test_faults_of_a_key(tmp_path, edit, message):
    with pytest.raises(DataError, match=message):
        foreign_scores.read_trial_list(write(tmp_path, "key.tsv", NIST_KEY.replace(*edit, 1)))
