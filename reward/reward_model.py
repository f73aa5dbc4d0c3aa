"""A reward model opened for texts: chat template, tokenizer, truncation and network together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from tqdm import tqdm

from reward.answers import Question
from reward.batching import Group
from reward.carried import Carried, read_carried
from reward.devices import TokenBudget, best_device
from reward.encoding import Encoder, check_length
from reward.preferences import UnusableError
from reward.scoring import Scorer, open_model
from reward.stage import InputError
from reward.truncation import Encoded, truncate

BUDGET = TokenBudget(cpu=4096, mps=8192, cuda=65536)


class RewardModel:
    """A reward model and its tokenizer, opened once to score often.

    carried: how texts are cut and what rewards are normalised by (reward.carried).
    budget: tokens computed at once, padding counted.
    """

    def __init__(self, scorer: Scorer, encoder: Encoder, carried: Carried, budget: int):
        self.scorer, self.encoder, self.carried, self.budget = scorer, encoder, carried, budget
        self._tried = False  # whether shared prefixes have been, which takes real texts

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        max_length: int | None = None,
        prompt_floor: float | None = None,
        budget: TokenBudget = BUDGET,
    ) -> Self:
        """Open a model's folder on the best device.

        max_length, prompt_floor: in place of what the model carries, as params.yaml tells them; a
        model that was not trained here carries neither. budget: tokens computed at once. Raises
        InputError where a value is missing or out of range, and where the folder holds no reward
        model.
        """
        device = best_device()
        scorer = Scorer(open_model(folder, device))
        carried = read_carried(folder)
        given = {"max_length": max_length, "prompt_floor": prompt_floor}
        values = carried.model_dump() if carried else {"mean": 0.0, "std": 0.0}
        values |= {name: value for name, value in given.items() if value is not None}
        for name in given:
            if name not in values:
                raise InputError(
                    f"{folder} does not carry the {name} that it was trained with: "
                    f"give --{name.replace('_', '-')}."
                )
        if not (values["max_length"] >= 2 and 0 <= values["prompt_floor"] < 1):
            raise InputError(
                f"max_length={values['max_length']} and prompt_floor={values['prompt_floor']} do "
                f"not fit: give at least 2 and a share from 0 to below 1."
            )
        limits = Carried(**values)
        check_length(limits.max_length, folder)
        return cls(scorer, Encoder(folder), limits, budget.on(device))

    def rewards(
        self, questions: Sequence[Question], bar: "tqdm[Any] | None"
    ) -> list[np.ndarray | UnusableError]:
        """For each question its answers' rewards, float64 (answers,), or why there are none.

        All answers to a prompt keep the same tokens of it, which are computed once.
        """
        encoded = self._encode_each(questions)
        groups = [self.group(one) for one in encoded if not isinstance(one, UnusableError)]
        if groups and not self._tried:
            self.scorer.share_prefixes(groups)
            self._tried = True
        scored = iter(self.scorer.score(groups, self.budget, bar))
        return [
            one if isinstance(one, UnusableError) else next(scored).astype(np.float64)
            for one in encoded
        ]

    def encode(self, questions: Sequence[Question]) -> list[Encoded]:
        """The ids of each prompt and its answers; InputError where the template refuses one."""
        prompts = [[turn._asdict() for turn in question.prompt] for question in questions]
        return self.encoder.encode(prompts, [question.answers for question in questions])

    def _encode_each(self, questions: Sequence[Question]) -> list[Encoded | UnusableError]:
        try:
            return [*self.encode(questions)]
        except InputError:  # the chat template refuses one of them
            if len(questions) == 1:
                return [UnusableError("refused_by_the_chat_template")]
            return [one for question in questions for one in self._encode_each([question])]

    def group(self, encoded: Encoded) -> Group:
        """A prompt and its answers as they go through the model, cut to max_length."""
        limits = self.carried.max_length, self.carried.prompt_floor
        short = truncate(*encoded, *limits, self.encoder.starts)
        return Group.of([np.concatenate([short.prompt, answer]) for answer in short.responses])

    def normalise(self, rewards: np.ndarray) -> np.ndarray:
        """(reward - mean) / deviation of the rewards of the training data's responses."""
        if not self.carried.std:
            raise InputError(
                "the model does not carry a mean and deviation to normalise by: train it with "
                "this project, or leave out --normalise."
            )
        return (rewards - self.carried.mean) / self.carried.std
