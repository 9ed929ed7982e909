"""What an enrolment must pass: each gate on measurements and scores made by hand, and off."""

import numpy as np
import pytest

from speakerlab.embed.speech_check import SpeechCheck
from speakerlab.errors import SpeakerLabError
from speakerlab.voiceprint.gates import Gates, findings

GOOD = np.ones((3, 3))


def check(speech_s, *reasons):
    return SpeechCheck(10.0, speech_s, -20.0, 0.0, reasons)


def found(gates, checks, scores=GOOD, known=None, threshold=0.5, enrolled_s=0.0):
    outcome = findings(gates, checks, np.asarray(scores), known or {}, threshold, enrolled_s)
    return [(one.gate, one.why, one.blocks) for one in outcome]


def test_good_recordings_pass():
    assert found(Gates(), [check(2.0), check(3.0), check(4.0)]) == []


def test_speech_counts_in_all_and_with_what_is_enrolled():
    why = ("speech", "1.90 s of speech in all, 2 s is the least", True)
    assert found(Gates(), [check(1.0), check(0.9)]) == [why]
    assert found(Gates(), [check(1.0), check(1.0)]) == []
    assert found(Gates(), [check(1.0), check(0.9)], enrolled_s=0.1) == []
    assert found(Gates(min_speech_s=None), [check(0.0)]) == []
    assert found(Gates(min_speech_s=5), [check(4.0)]) != []
    assert found(Gates(min_speech_s=5), [check(4.0), check(None)]) == []  # features: nobody knows


def test_quality_names_the_recording():
    noisy = [check(3.0), check(3.0, "clipped: 4% of the samples")]
    assert found(Gates(), noisy) == [("quality", "recording 2: clipped: 4% of the samples", True)]
    assert found(Gates(), noisy[1:]) == [("quality", "clipped: 4% of the samples", True)]
    assert found(Gates(quality=False), noisy) == []


def test_cohesion_names_the_stranger():
    scores = [[1, 0.8, 0.1], [0.8, 1, 0.3], [0.1, 0.3, 1]]  # means with the others: 0.45, 0.55, 0.2
    checks = [check(3.0)] * 3
    told = [why for _, why, _ in found(Gates(), checks, scores, threshold=0.44)]
    assert told == ["recording 3 sounds like another speaker than the rest (score 0.200, threshold 0.440)"]
    assert len(found(Gates(), checks, scores, threshold=0.5)) == 2
    assert found(Gates(cohesion=False), checks, scores) == []
    assert found(Gates(), checks, scores, threshold=None) == []
    assert found(Gates(), checks[:2], [[1, 0.5], [0.5, 1]]) == []
    ((gate, why, blocks),) = found(Gates(), checks[:2], [[1, 0.49], [0.49, 1]])
    assert (gate, blocks) == ("cohesion", True)
    assert why == "the two recordings sound like different speakers (score 0.490, threshold 0.500)"
    assert found(Gates(), checks[:1], [[-1.0]]) == []


def test_cohesion_counts_what_the_speaker_has_already():
    ((_, why, _),) = found(Gates(), [check(3.0)], [[1, 0.5, 0.3]])  # mean 0.4
    assert why == "sounds like another speaker than what is enrolled (score 0.400, threshold 0.500)"
    assert found(Gates(), [check(3.0)], [[1, 0.5, 0.5]]) == []
    rows = [[1, 0.9, 0.9], [0.9, 1, 0.0]]  # means 0.9 and 0.45
    ((_, why, _),) = found(Gates(), [check(3.0)] * 2, rows)
    assert why == "recording 2 sounds like another speaker than the rest (score 0.450, threshold 0.500)"


def test_who_is_enrolled_already_is_named_nearest_first():
    known = {"Bob": 0.5, "Ann": 0.7, "Eve": 0.49, "Dan": 0.6, "Cid": 0.55}
    told = found(Gates(), [check(3.0)], known=known)
    assert [why for _, why, _ in told] == [
        "sounds like Ann, already enrolled (score 0.700, threshold 0.500)",
        "sounds like Dan, already enrolled (score 0.600, threshold 0.500)",
        "sounds like Cid, already enrolled (score 0.550, threshold 0.500)",
    ]
    assert not any(blocks for *_, blocks in told)
    assert all(blocks for *_, blocks in found(Gates(duplicates="review"), [check(3.0)], known=known))
    assert found(Gates(duplicates="off"), [check(3.0)], known=known) == []
    assert found(Gates(), [check(3.0)], known=known, threshold=None) == []


@pytest.mark.parametrize(
    "wrong", [{"duplicates": "no"}, {"min_speech_s": -1}, {"min_speech_s": float("nan")}]
)
def test_gates_that_make_no_sense(wrong):
    with pytest.raises(SpeakerLabError, match="use"):
        Gates(**wrong)
