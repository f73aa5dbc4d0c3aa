"""What length and format add to the reward, on data of which that is known."""

from dataclasses import replace

import numpy as np
import pytest

from reward.evaluation.answers import Answers
from reward.evaluation.markdown import NAMES
from reward.evaluation.resampling import Bootstrap
from reward.evaluation.style import style

BOOTSTRAP = Bootstrap(confidence=0.95, resamples=300, seed=3)


def made_up(prompts: int, noise: float, seed: int = 0) -> Answers:
    """Three answers to each prompt: 0.8 for a point of rating, 0.5 for a doubling of the length,
    -0.3 for bold, and as much as a prompt pleases. Long answers are rated higher, and long prompts.
    """
    draws = np.random.default_rng(seed)
    prompt = np.repeat(np.arange(prompts), 3)
    rating = draws.integers(0, 5, 3 * prompts).astype(float)
    tokens = np.exp2(draws.normal(6, 1, 3 * prompts) + 0.3 * rating)
    formats = draws.random((3 * prompts, len(NAMES))) < [0.4, 0.5, 0.001, 0.3]
    reward = 0.8 * rating + 0.5 * np.log2(tokens) - 0.3 * formats[:, NAMES.index("bold")]
    reward += draws.normal(0, 3, prompts)[prompt] + noise * draws.normal(0, 1, 3 * prompts)
    return Answers(prompt, reward, rating, (rating > 2).astype(float), tokens, formats)


def effects(answers: Answers, spread: float = 1.0) -> dict[str, dict[str, float]]:
    return {row["name"]: row["effect"] for row in style(answers, spread, BOOTSTRAP)["effects"]}


def test_known_effects_are_found_exactly_where_there_is_no_noise() -> None:
    found = effects(made_up(60, noise=0))
    known = {"rating": 0.8, "length doubled": 0.5, "list": 0, "bold": -0.3, "code block": 0}
    assert list(found) == list(known)  # too few answers have a heading
    for name, effect in known.items():
        for value in found[name].values():
            assert value == pytest.approx(effect, abs=1e-9)


def test_it_is_the_regression_with_an_indicator_for_each_prompt() -> None:
    answers = made_up(40, noise=1)
    columns = [answers.rating, np.log2(answers.tokens), *answers.formats[:, [0, 1, 3]].T]
    indicators = (answers.prompt[:, None] == np.arange(40)).astype(float)
    x = np.concatenate([np.stack(columns, axis=1), indicators], axis=1)
    theirs = np.linalg.lstsq(x, answers.reward / 2, rcond=None)[0][:5]
    ours = [effect["mean"] for effect in effects(answers, spread=2.0).values()]
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    inside = 0
    for seed in range(40):
        effect = effects(made_up(60, noise=1, seed=seed))["length doubled"]
        inside += effect["low"] < 0.5 < effect["high"]
    # Of 40 at 95 %, fewer than 33 have a probability of 0.0003.
    assert inside >= 33


def test_length_is_not_taken_for_what_the_rating_explains() -> None:
    answers = made_up(60, noise=0)
    blind = replace(answers, reward=answers.rating)
    assert effects(blind)["length doubled"]["mean"] == pytest.approx(0, abs=1e-9)


def test_without_ratings_the_choice_stands_for_them() -> None:
    answers = made_up(60, noise=0)
    rating = answers.rating.copy()
    rating[7] = np.nan
    chosen = replace(answers, rating=rating, reward=2 * answers.chosen)
    found = style(chosen, 1.0, BOOTSTRAP)
    assert found["control"] == "choice"
    assert found["effects"][0]["name"] == "choice"
    assert found["effects"][0]["effect"]["mean"] == pytest.approx(2)
    answers = made_up(9, noise=0)
    assert style(answers, 1.0, BOOTSTRAP) == {"control": "rating", "effects": []}


def test_prompts_whose_answers_differ_are_counted() -> None:
    answers = made_up(60, noise=0)
    alike = answers.prompt < 25
    answers = replace(answers, tokens=np.where(alike, 8.0, answers.tokens))
    rows = {row["name"]: row["prompts"] for row in style(answers, 1.0, BOOTSTRAP)["effects"]}
    assert rows["length doubled"] == 35
