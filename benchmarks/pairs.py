"""Pairs to measure on: lengths like those of two public data sets, drawn from a seed."""

import argparse
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reward.harness.errors import InputError
from reward.harness.params import load_params
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
    """Lengths of what both sides of a pair begin with, and of what each has alone."""

    prompt: Lengths
    chosen: Lengths
    rejected: Lengths


# helpsteer: HelpSteer2 (Wang et al. 2024, arXiv 2406.08673), counted with GPT-2's tokenizer.
# dialogue: hh-rlhf (Bai et al. 2022, arXiv 2204.05862), whose conversations are long and whose
# answers are short; the answers' spread is taken to be that of the common part.
PROFILES = {
    "helpsteer": Profile(Lengths(150, 48), Lengths(350, 305), Lengths(350, 305)),
    "dialogue": Profile(Lengths(123, 94), Lengths(41, 31), Lengths(51, 39)),
}


def choose_pairs(options: argparse.Namespace) -> list[Group]:
    """The pairs of one round, the same for the same options."""
    count = options.steps * options.batch_pairs
    random = np.random.default_rng(options.seed)
    if options.pairs:
        return read_pairs(options.pairs, random, count, options.max_length)
    return draw_pairs(PROFILES[options.profile], random, count, options.max_length)


def draw_pairs(
    profile: Profile, random: np.random.Generator, count: int, max_length: int
) -> list[Group]:
    """Pairs of random tokens, truncated as tokenize does it."""
    lengths = zip(*(part.draw(random, count).tolist() for part in profile), strict=True)
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
    """A pair truncated by the rule, and with the floor, that tokenize has."""
    floor = load_params(TokenizeParams).tokenize.prompt_floor
    short = truncate(prompt, answers, max_length, floor, starts=())
    return Group.of([np.concatenate([short.prompt, answer]) for answer in short.responses])
