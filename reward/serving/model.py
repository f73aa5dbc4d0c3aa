"""A reward model opened for texts: chat template, tokenizer, truncation and network together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from tqdm import tqdm

from reward.harness.params import TokenBudget
from reward.pairs.preference import UnusableError
from reward.scoring.devices import best_device
from reward.scoring.groups import Group
from reward.scoring.model_folder import open_model
from reward.scoring.scorer import Scorer
from reward.scoring.settings import RewardSettings
from reward.serving.options import check_normalisable, choose_settings
from reward.serving.questions import Question
from reward.tokens.control_tokens import ControlTokens
from reward.tokens.encoder import Encoder
from reward.tokens.rendering import ChatMessage, RefusedError
from reward.tokens.truncation import Encoded, truncate

BUDGET = TokenBudget(cpu=4096, mps=8192, cuda=65536)


class RewardModel:
    """A reward model and its tokenizer, opened once to score often.

    settings: how texts are cut and what rewards are normalised by (reward.scoring.settings).
    budget: tokens computed at once, padding counted.
    """

    def __init__(self, scorer: Scorer, encoder: Encoder, settings: RewardSettings, budget: int):
        self.scorer, self.encoder, self.settings, self.budget = scorer, encoder, settings, budget
        self._control_tokens = ControlTokens(encoder)
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

        max_length, prompt_floor: as in params.yaml, in place of those that the model was trained
        with; one that was not trained here has neither. budget: tokens computed at once.

        Raises InputError where a value is missing or out of range, and where the folder holds no
        reward model.
        """
        settings = choose_settings(folder, max_length=max_length, prompt_floor=prompt_floor)
        device = best_device()
        scorer = Scorer(open_model(folder, device))
        return cls(scorer, Encoder(folder), settings, budget.on(device.type))

    def holds_control_tokens(self, question: Question) -> bool:
        """Whether a text of it would be read as turns or other control tokens of the model."""
        return self._control_tokens(question.prompt, question.answers)

    def rewards(
        self, questions: Sequence[Question], bar: "tqdm[Any] | None"
    ) -> list[np.ndarray | UnusableError]:
        """For each question its answers' rewards, float64 (answers,), or why there are none.

        All answers to a prompt keep the same tokens of it, which are computed once.
        """
        found = self.groups(questions)
        groups = [one for one in found if not isinstance(one, UnusableError)]
        scored = iter(self.score(groups, bar))
        return [one if isinstance(one, UnusableError) else next(scored) for one in found]

    def groups(self, questions: Sequence[Question]) -> list[Group | UnusableError]:
        """For each question what goes through the model, or why there is nothing."""
        return [
            UnusableError(one.reason) if isinstance(one, RefusedError) else self.group(one.encoded)
            for one in self.encoder.encode_each(*_texts(questions))
        ]

    def score(self, groups: Sequence[Group], bar: "tqdm[Any] | None") -> list[np.ndarray]:
        """The rewards of each group, float64 (answers,)."""
        if groups and not self._tried:
            self.scorer.share_prefixes(groups)
            self._tried = True
        return [one.astype(np.float64) for one in self.scorer.score(groups, self.budget, bar)]

    def encode(self, questions: Sequence[Question]) -> list[Encoded]:
        """The ids of each prompt and its answers; RefusedError where one has none."""
        return self.encoder.encode(*_texts(questions))

    def group(self, encoded: Encoded) -> Group:
        """A prompt and its answers as they go through the model, cut to max_length."""
        short = truncate(*encoded, *self.settings.tokens, self.encoder.starts)
        return Group.of([np.concatenate([short.prompt, answer]) for answer in short.responses])

    def normalise(self, rewards: np.ndarray) -> np.ndarray:
        """(reward - mean) / deviation of the rewards of the training data's responses."""
        check_normalisable(self.settings)
        return (rewards - self.settings.mean) / self.settings.std


def _texts(
    questions: Sequence[Question],
) -> tuple[list[list[ChatMessage]], list[tuple[str, ...]]]:
    """The prompts, as chat templates take them, and the answers to each."""
    prompts = [[turn._asdict() for turn in question.prompt] for question in questions]
    return prompts, [question.answers for question in questions]
