"""The adaptation that travels with a model: kept exactly, guarded by its hash, one answer in every form."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import save_tiny, speakerlab

from speakerlab.backend import domain_norm
from speakerlab.errors import DataError
from speakerlab.hub import adaptation, bundle, rule
from speakerlab.hub.adaptation import Adaptation
from speakerlab.hub.calibration import Calibration
from speakerlab.hub.conditions import Conditions
from speakerlab.hub.load import load_model
from speakerlab.io import audio
from speakerlab.metrics.operating_points import OperatingPoint
from speakerlab.pipeline import pipeline
from speakerlab.pipeline.decision import threshold_of
from speakerlab.predictor import Predictor
from speakerlab.voiceprint.gates import Gates

KINDS = ("bundle", "onnx", "export")


@pytest.fixture(scope="module")
def here(tmp_path_factory, talkers):
    """A bundle, its exported graph, and recordings of two talkers."""
    path = tmp_path_factory.mktemp("here")
    save_tiny(path / "plain", threshold=0.5, domain="toy voices")
    assert not speakerlab("export", "--input", "waveform", path / "plain", path / "plain.onnx")
    for name, talker in zip("ab", talkers, strict=True):
        for number, waveform in enumerate(talker):
            audio.write(path / f"{name}{number}.wav", waveform)
    return path


@pytest.fixture(scope="module")
def embeddings(here):
    """What the network gives of the recordings, by name."""
    predictor = Predictor(here / "plain", ngpu=0)
    return {name: predictor.predict(here / f"{name}.wav") for name in ("a0", "a1", "b0", "b1")}


@pytest.fixture(scope="module")
def adapted(embeddings):
    """An adaptation to forty people around the embeddings of the recordings, with numbers of many digits."""
    rng = np.random.default_rng(0)
    centre = np.mean(list(embeddings.values()), axis=0)
    spread = np.std(list(embeddings.values()), axis=0).mean()
    people = (centre + spread * rng.standard_normal((40, 8))).astype(np.float32)
    norm, impostors = domain_norm.learn(people, np.arange(40), 0.9)
    threshold = impostors.threshold(0.05)
    known = Conditions((1.0, 10.0), (-40.0, 0.0), (3800.0, 7000.0))
    return Adaptation(norm, threshold, 0.05, impostors.interval(threshold), "calls", known, "wav.scp", 40, 40)


@pytest.fixture(scope="module")
def forms(here, adapted):
    """The adapted bundle, the adapted graph, and the graph exported of the adapted bundle."""
    from speakerlab.hub import onnx_file

    bundle.copy(bundle.load(here / "plain"), here / "bundle", adapted)
    onnx_file.with_rule(here / "plain.onnx", here / "onnx.onnx", adapted)
    assert not speakerlab("export", "--input", "waveform", here / "bundle", here / "export.onnx")
    return {"bundle": here / "bundle", "onnx": here / "onnx.onnx", "export": here / "export.onnx"}


def calibration(domain=""):
    point = OperatingPoint(0.5)
    return Calibration(10 / 3, -1 / 7, "even", point, 0.5, "dev/trials", 10, 90, domain)


def exactly(found, expected):
    """Every number of two adaptations."""
    for name in ("mean", "cohort"):
        left, right = (getattr(one.norm, name) for one in (found, expected))
        assert left.dtype == np.float64
        np.testing.assert_array_equal(left, right)
    numbers = ("top_n", "location", "spread", "same_person")
    assert [getattr(found.norm, n) for n in numbers] == [getattr(expected.norm, n) for n in numbers]
    rest = [field for field in expected.__dict__ if field != "norm"]
    assert [getattr(found, n) for n in rest] == [getattr(expected, n) for n in rest]


# What is kept


def test_json_holds_all_of_it_exactly(adapted):
    for one in (adapted, replace(adapted, calibration=calibration("calls"))):
        exactly(adaptation.from_content(json.loads(json.dumps(one.to_content()))), one)


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_of_a_model_holds_it_exactly(forms, adapted, kind):
    model = pipeline(model=forms[kind], ngpu=0).model
    exactly(model.rule, adapted)
    assert model.domain == "toy voices"
    assert model.threshold == 0.5


def test_with_a_calibration_too(here, adapted, tmp_path):
    both = replace(adapted, calibration=calibration("calls"))
    bundle.copy(bundle.load(here / "plain"), tmp_path / "both", both)
    exactly(bundle.load(tmp_path / "both").adaptation, both)
    assert not speakerlab("export", "--input", "waveform", tmp_path / "both", tmp_path / "both.onnx")
    for path in (tmp_path / "both", tmp_path / "both.onnx"):
        found = threshold_of(pipeline(model=path, ngpu=0).model, None)
        exactly(found.adaptation, both)
        assert (found.calibration, found.origin) == (calibration("calls"), "calibrated")
        assert found.score == pytest.approx(3 / 70)  # where 10 / 3 of it is 1 / 7


def test_metadata_round_trip_is_exact(adapted):
    for one in (adapted, replace(adapted, calibration=calibration())):
        exactly(rule.of_metadata(rule.metadata(one)), one)
    assert rule.of_metadata(rule.metadata(calibration("calls"))) == calibration("calls")
    assert json.loads(rule.metadata(calibration())["calibration"])["threshold"] == pytest.approx(3 / 70)
    assert rule.of_metadata({}) is None


def test_identity_and_people_stay(forms, here, tmp_path):
    plain = bundle.load(here / "plain")
    people = tmp_path / "people"
    for name in "ab":
        Predictor(here / "plain", people, ngpu=0).register(str(here / f"{name}0.wav"), name)
    for path in forms.values():
        predictor = Predictor(path, people, ngpu=0)
        assert predictor.identity["model_hash"] == plain.content_hash
        assert predictor.get_users() == ["a", "b"]
        found = predictor.recognition(str(here / "a0.wav"))
        assert (found.nearest, found.threshold.origin) == ("a", "adapted")


def test_a_calibration_takes_its_place_and_gives_it_back(here, adapted, tmp_path):
    path = tmp_path / "m"
    bundle.copy(bundle.load(here / "plain"), path, None)
    plain = (path / bundle.CARD).read_text()
    assert bundle.load(path).rule is None
    for one in (adapted, calibration(), adapted):
        bundle.calibrate(path, one)
        loaded = bundle.load(path)
        assert len(loaded.card.keys() & {"adaptation", "calibration"}) == 1
        assert (loaded.adaptation is None) == isinstance(one, Calibration)
        assert (loaded.calibration is None) == isinstance(one, Adaptation)
    exactly(bundle.load(path).adaptation, adapted)
    card = json.loads((path / bundle.CARD).read_text())
    del card["adaptation"]
    assert card == json.loads(plain)


def test_a_copy_and_an_amended_card_keep_it(forms, adapted, tmp_path):
    loaded = bundle.load(forms["bundle"])
    bundle.copy(loaded, tmp_path / "m", loaded.rule)
    bundle.amend(tmp_path / "m", {"name": "mine"})
    found = bundle.load(tmp_path / "m")
    exactly(found.adaptation, adapted)
    assert (found.name, found.content_hash) == ("mine", loaded.content_hash)
    assert not speakerlab("convert", tmp_path / "m", tmp_path / "converted")
    exactly(load_model(tmp_path / "converted").adaptation, adapted)


# What is refused


def places(text, num=60):
    """Positions in the entry ``adaptation`` of a card: some of each kind of character."""
    start, end = text.index('"adaptation"') + 14, text.rindex("}")
    rng = np.random.default_rng(0)
    return sorted(rng.choice(np.arange(start, end), num, replace=False).tolist())


def test_no_byte_of_the_entry_can_be_changed(forms, tmp_path):
    loaded = bundle.load(forms["bundle"])
    bundle.copy(loaded, tmp_path / "m", loaded.rule)
    card = tmp_path / "m" / bundle.CARD
    text = card.read_text()
    changed = 0
    for place in places(text):
        old = text[place]
        new = "7" if old != "7" else "3"
        card.write_text(text[:place] + new + text[place + 1 :])
        try:
            same = json.loads(card.read_text()) == json.loads(text)
        except ValueError:
            same = False
        if not same:
            changed += 1
            with pytest.raises(DataError, match="bundle.json: .*(damaged|hash|another model|format)"):
                bundle.load(tmp_path / "m")
    assert changed > 50
    card.write_text(text)
    bundle.load(tmp_path / "m")


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (lambda entry: entry.update(threshold=0.1), "does not match its hash"),
        (
            lambda entry: entry.update(threshold=float("inf")),
            r"is damaged \(the threshold inf must be finite",
        ),
        (lambda entry: entry.pop("norm"), "is damaged"),
        (lambda entry: entry["norm"].pop("mean"), "is damaged"),
        (lambda entry: entry.pop("sha256"), "is damaged"),
        (lambda entry: entry.update(extra=1), "is damaged"),
        (lambda entry: entry.update(interval=[0.1]), "is damaged"),
        (lambda entry: entry.update(model="0" * 64), "does not match its hash"),
    ],
)
def test_an_edited_entry_is_refused_in_a_line(forms, tmp_path, edit, why):
    loaded = bundle.load(forms["bundle"])
    bundle.copy(loaded, tmp_path / "m", loaded.rule)
    card = json.loads((tmp_path / "m" / bundle.CARD).read_text())
    edit(card["adaptation"])
    (tmp_path / "m" / bundle.CARD).write_text(json.dumps(card))
    with pytest.raises(
        DataError, match=f"its adaptation {why}.*adapt the model again: speakerlab adapt"
    ) as stop:
        bundle.load(tmp_path / "m")
    assert "\n" not in str(stop.value)


@pytest.mark.parametrize("entry", [None, 1, [], "x", {}])
def test_what_is_no_entry_is_refused(forms, tmp_path, entry):
    loaded = bundle.load(forms["bundle"])
    bundle.copy(loaded, tmp_path / "m", None)
    bundle.amend(tmp_path / "m", {"adaptation": entry})
    with pytest.raises(DataError, match="its adaptation is damaged"):
        bundle.load(tmp_path / "m")


def test_the_entry_of_another_model_is_refused(forms, tmp_path):
    other = save_tiny(tmp_path / "other", seed=1)
    entry = bundle.load(forms["bundle"]).card["adaptation"]
    bundle.amend(other, {"adaptation": entry})
    with pytest.raises(DataError, match="its adaptation was made for another model"):
        bundle.load(other)


def test_a_changed_graph_is_refused(forms, tmp_path):
    data = bytearray(forms["onnx"].read_bytes())
    place = data.index(b'"same_person"') + 16
    data[place] ^= 1
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(DataError, match="does not match its hash"):
        pipeline(model=tmp_path / "m.onnx")


# What is answered


def naive(adapted, first, second):
    """The score of two embeddings, vector by vector."""
    norm = adapted.norm

    def centred(embedding):
        wide = embedding.astype(np.float64)
        shifted = wide / np.sqrt(wide @ wide) - norm.mean
        return shifted / np.sqrt(shifted @ shifted)

    def standing(cosine, side):
        scores = sorted(s for s in (side @ other for other in norm.cohort) if s < norm.same_person)
        top = scores[-norm.top_n :]
        mean = sum(top) / len(top)
        std = np.sqrt(sum((s - mean) ** 2 for s in top) / len(top))
        mean, std = (
            (len(top) * own + 10 * prior) / (len(top) + 10)
            for own, prior in ((mean, norm.location), (std, norm.spread))
        )
        return (cosine - mean) / std

    a, b = centred(first), centred(second)
    return norm.location + norm.spread * (standing(a @ b, a) + standing(a @ b, b)) / 2


PAIRS = (("a0", "a1"), ("a0", "b0"), ("b1", "a1"))


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_formula(here, forms, adapted, embeddings, kind):
    p = pipeline(model=forms[kind], ngpu=0)
    predictor = Predictor(forms[kind], ngpu=0)
    for first, second in PAIRS:
        expected = naive(adapted, embeddings[first], embeddings[second])
        files = str(here / f"{first}.wav"), str(here / f"{second}.wav")
        found = p(files)
        assert found["score"] == pytest.approx(expected, abs=2e-5)  # rounded to five places
        assert found["label"] == ("Same" if expected >= adapted.threshold else "Different")
        assert (found["threshold"], found["threshold_origin"]) == (adapted.threshold, "adapted")
        cosine = embeddings[first] @ embeddings[second]
        cosine /= np.linalg.norm(embeddings[first]) * np.linalg.norm(embeddings[second])
        assert found["cosine"] == pytest.approx(cosine, abs=1e-5)
        decision = predictor.contrast(*files)
        assert decision.score == pytest.approx(expected, abs=1e-5)
        assert (decision.label, found["llr"], found["inside_calibration"]) == (found["label"], None, True)
        assert found["calibration"] == {
            "kind": "adaptation",
            "domain": "calls",
            "made_of": "wav.scp",
            "num_recordings": 40,
            "num_people": 40,
            "false_accept": 0.05,
            "false_accept_interval": list(adapted.interval),
        }


def test_both_labels_occur(adapted, embeddings):
    scores = [naive(adapted, embeddings[a], embeddings[b]) for a, b in PAIRS]
    assert min(scores) < adapted.threshold < max(scores)


@pytest.mark.parametrize("kind", KINDS)
def test_people_are_the_mean_of_centred_voiceprints(here, forms, adapted, embeddings, kind, tmp_path):
    predictor = Predictor(forms[kind], tmp_path / "people", ngpu=0)
    both = [str(here / "a0.wav"), str(here / "b1.wav")]
    predictor.enrol(both, "both", gates=Gates(cohesion=False))  # two talkers, whom the gate keeps apart
    predictor.register(str(here / "b0.wav"), "b")
    ranking = predictor.recognition(str(here / "a1.wav")).ranking
    assert ranking["b"] == pytest.approx(naive(adapted, embeddings["b0"], embeddings["a1"]), abs=1e-5)
    norm = adapted.norm
    centred = norm.centred(np.stack([embeddings["a0"], embeddings["b1"]])).mean(axis=0)
    centred /= np.linalg.norm(centred)
    probe = norm.centred(embeddings["a1"][None])
    assert ranking["both"] == pytest.approx(norm.scores(centred[None], probe)[0, 0], abs=1e-5)


def test_verify_and_identify_answer_alike_in_every_form(here, forms, capsys, tmp_path):
    people = tmp_path / "people"
    assert not speakerlab("enroll", "b", here / "b0.wav", "--voiceprints", people, "--model", here / "plain")
    capsys.readouterr()
    answers = []
    for path in forms.values():
        for command in (
            ("verify", here / "a0.wav", here / "b0.wav"),
            ("identify", here / "b1.wav", "--voiceprints", people),
        ):
            speakerlab(*command, "--model", path, "--json", "--cpu")
            answers.append(json.loads(capsys.readouterr().out))
    for verified, identified in zip(answers[::2], answers[1::2], strict=True):
        assert verified["score"] == pytest.approx(answers[0]["score"], abs=1e-5)
        assert verified["label"] == answers[0]["label"]
        assert identified["score"] == pytest.approx(answers[1]["score"], abs=1e-5)
        assert identified["name"] == answers[1]["name"]
        for one in (verified, identified):
            assert (one["threshold_origin"], one["calibration"]["domain"]) == ("adapted", "calls")
