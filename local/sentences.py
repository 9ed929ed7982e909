"""What is said: random English sentences from a small grammar.

``sentence(12, np.random.default_rng(0))`` gives about twelve words, never the same twice in practice.
"""

from __future__ import annotations

import numpy as np

DETERMINERS = ("the", "a", "my", "their", "every", "this", "her", "our")
ADJECTIVES = (
    "quiet", "purple", "ancient", "hungry", "broken", "gentle", "narrow", "sleepy", "bright", "foolish",
    "heavy", "silver", "curious", "distant", "frozen", "loyal", "muddy", "proud", "shallow", "tiny",
    "useful", "warm", "yellow", "thick", "jealous", "orange", "vast", "zealous", "cheerful", "rough",
)  # fmt: skip
NOUNS = (
    "farmer", "kettle", "river", "teacher", "engine", "garden", "letter", "mountain", "orchard", "pilot",
    "queen", "robin", "shepherd", "tailor", "umbrella", "violin", "window", "judge", "anchor", "basket",
    "candle", "doctor", "elephant", "fox", "ghost", "harbour", "island", "journey", "lantern", "mirror",
    "needle", "oyster", "puzzle", "thunder", "village", "whistle", "zebra", "choir", "bridge", "treasure",
)  # fmt: skip
VERBS = (
    "carried", "followed", "painted", "remembered", "borrowed", "measured", "washed", "ignored", "visited",
    "chased", "admired", "buried", "discovered", "forgot", "guarded", "heard", "invited", "joined",
    "lifted", "mended", "noticed", "opened", "pushed", "questioned", "repaired", "sold", "touched",
    "understood", "weighed", "shouted",
)  # fmt: skip
PLACES = (
    "under", "behind", "above", "across", "beside", "near", "beyond", "inside", "without", "around",
    "against", "before", "through", "towards",
)  # fmt: skip
LINKS = ("and", "but", "because", "while", "although", "so", "until", "where", "as")


def sentence(num_words: int, rng: np.random.Generator) -> str:
    """A sentence of ``num_words`` words, cut there even inside a clause."""
    words: list[str] = []
    while len(words) < num_words:
        if words:
            words.append(str(rng.choice(LINKS)))
        words += clause(rng).split()
    return " ".join(words[:num_words]).capitalize() + "."


def clause(rng: np.random.Generator) -> str:
    """Subject, verb, object and, half of the time, a place."""
    text = f"{thing(rng)} {rng.choice(VERBS)} {thing(rng)}"
    return f"{text} {rng.choice(PLACES)} {thing(rng)}" if rng.random() < 0.5 else text


def thing(rng: np.random.Generator) -> str:
    """A noun with its determiner and, often, an adjective."""
    adjective = f"{rng.choice(ADJECTIVES)} " if rng.random() < 0.6 else ""
    return f"{rng.choice(DETERMINERS)} {adjective}{rng.choice(NOUNS)}"
