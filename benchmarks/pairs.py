"""Pairs to measure on: lengths like those of public data sets, drawn from a seed."""

import argparse
import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reward.harness.errors import InputError
from reward.harness.params import load_params
from reward.scoring.comparisons import Comparisons
from reward.scoring.groups import Group
from reward.tokens.records import Token
from reward.tokens.truncation import truncate
from stages.tokenize import TokenizeParams

WORDS = 50257  # GPT-2's vocabulary


class Lengths(NamedTuple):
    """A log-normal distribution of lengths, in tokens."""

    mean: float
    median: float

    def draw(self, random: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Lengths of at least one token, shape (count,)."""
        # Of exp(N(m, s^2)) the median is exp(m) and the mean exp(m + s^2 / 2).
        spread = math.sqrt(2 * math.log(self.mean / self.median))
        drawn = random.lognormal(math.log(self.median), spread, count)
        return np.maximum(np.rint(drawn), 1).astype(np.int64)


class Profile(NamedTuple):
    """Lengths of what all answers to a prompt begin with, and of what each has alone; each answer
    is preferred to those that come after it.
    """

    prompt: Lengths
    answers: tuple[Lengths, ...]

    @property
    def pairs(self) -> int:
        """Of one prompt."""
        return math.comb(len(self.answers), 2)


# helpsteer: HelpSteer2 (Wang et al. 2024, arXiv 2406.08673), counted with GPT-2's tokenizer.
# dialogue: hh-rlhf (Bai et al. 2022, arXiv 2204.05862), whose conversations are long and whose
# answers are short; the answers' spread is taken to be that of the common part.
# ranked4: the means of UltraFeedback (Cui et al. 2023, arXiv 2310.01377); ranked7: seven answers as
# in Nectar (Zhu et al. 2023). The spread of the first and the lengths of the second are assumed.
PROFILES = {
    "helpsteer": Profile(Lengths(150, 48), (Lengths(350, 305),) * 2),
    "dialogue": Profile(Lengths(123, 94), (Lengths(41, 31), Lengths(51, 39))),
    "ranked4": Profile(Lengths(185, 90), (Lengths(305, 265),) * 4),
    "ranked7": Profile(Lengths(185, 90), (Lengths(200, 150),) * 7),
}


def choose_pairs(options: argparse.Namespace) -> Comparisons:
    """The pairs of one round, the same for the same options."""
    count = options.steps * options.batch_pairs
    random = np.random.default_rng(options.seed)
    if options.pairs:
        return all_compared(read_pairs(options.pairs, random, count, options.max_length))
    profile = PROFILES[options.profile]
    if options.batch_pairs % profile.pairs:
        raise InputError(
            f"--batch-pairs {options.batch_pairs} is no multiple of the {profile.pairs} pairs that "
            f"a prompt of {options.profile} has: choose one."
        )
    return all_compared(draw_pairs(profile, random, count // profile.pairs, options.max_length))


def all_compared(groups: Sequence[Group]) -> Comparisons:
    """Each answer of a group preferred to all that come after it; each group is of a prompt."""
    pairs = [
        (number, chosen, rejected)
        for number, group in enumerate(groups)
        for chosen, rejected in combinations(range(len(group.sequences)), 2)
    ]
    found = np.array(pairs, dtype=np.int64)
    return Comparisons(groups, found, found[:, 0])


def draw_pairs(
    profile: Profile, random: np.random.Generator, count: int, max_length: int
) -> list[Group]:
    """Random tokens for so many prompts and their answers, truncated as tokenize does it."""
    parts = (profile.prompt, *profile.answers)
    lengths = zip(*(part.draw(random, count).tolist() for part in parts), strict=True)
    drawn = [[random.integers(0, WORDS - 1, n) for n in sizes] for sizes in lengths]
    return [shorten(prompt, answers, max_length) for prompt, *answers in drawn]


def read_pairs(file: Path, random: np.random.Generator, count: int, max_length: int) -> list[Group]:
    """Pairs out of a file that tokenize wrote, drawn without replacement."""
    sides = (Token.CHOSEN_IDS, Token.REJECTED_IDS)
    table = pq.read_table(file, columns=[*sides, Token.PREFIX_LENGTH])
    if count > len(table):
        raise InputError(
            f"{file} has {len(table)} pairs and a round takes {count}: "
            f"lower --steps or --batch-pairs."
        )
    groups = []
    for row in table.take(random.permutation(len(table))[:count]).to_pylist():
        chosen, rejected = (np.array(row[side], np.int32) for side in sides)
        cut = row[Token.PREFIX_LENGTH]
        groups.append(shorten(chosen[:cut], [chosen[cut:], rejected[cut:]], max_length))
    return groups


def shorten(prompt: np.ndarray, answers: list[np.ndarray], max_length: int) -> Group:
    """Answers truncated by the rule, and with the floor, that tokenize has."""
    floor = load_params(TokenizeParams).tokenize.prompt_floor
    short = truncate(prompt, answers, max_length, floor, starts=())
    return Group.of([np.concatenate([short.prompt, answer]) for answer in short.responses])
