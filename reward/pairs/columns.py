"""The columns of each format (reward.pairs.formats), by the names that they have in public sets.

A name with a dot leads into a column (reward.pairs.nested).
"""

from dataclasses import dataclass
from typing import Any

from reward.pairs.nested import as_list, plain_spelling
from reward.pairs.preference import is_number, yes_or_no

HELPSTEER = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")

TEXT, CONVERSATION, LIST, LABEL = "text", "text or messages", "lists", "labels"
NUMBER, GRADE = "numbers", "numbers or true and false"
TYPES: dict[str, tuple[type, ...]] = {
    TEXT: (str,),
    CONVERSATION: (str, list, dict),
    LABEL: (str, int, float, bool, list),
}


@dataclass(frozen=True)
class Column:
    """A column of a format: its names in known sets, what it holds, whether a row must have it."""

    names: tuple[str, ...]
    holds: str
    required: bool = True

    def fits(self, value: Any) -> bool:
        """Whether a value is of the kind that the column holds."""
        if self.holds in (NUMBER, GRADE):
            return is_number(value) or (self.holds == GRADE and isinstance(yes_or_no(value), bool))
        if self.holds == LIST:
            return as_list(value) is not None
        return isinstance(value, TYPES[self.holds])


Pairs = tuple[tuple[str, str], ...]

BETTER_AND_WORSE: Pairs = (
    *(("chosen", "rejected"), ("chosen", "reject"), ("accepted", "rejected"), ("accept", "reject")),
    *(("preferred", "dispreferred"), ("preferred", "non_preferred"), ("preferred", "rejected")),
    *(("better", "worse"), ("best", "worst"), ("winner", "loser"), ("winning", "losing")),
    *(("win", "lose"), ("positive", "negative"), ("pos", "neg"), ("good", "bad")),
    *(("correct", "incorrect"), ("w", "l")),
)
NOUNS = (
    *("response", "answer", "completion", "output", "message", "conversation", "reply"),
    *("generation", "summary", "text", "resp", "translation"),
)
SIDES: Pairs = (
    *((one, two) for one, two in BETTER_AND_WORSE if len(one) > 1),
    *(
        (f"{one}_{noun}{s}", f"{two}_{noun}{s}")
        for one, two in BETTER_AND_WORSE
        for noun in NOUNS
        for s in ("", "s")
        if (one, s) != ("correct", "s")  # of which UltraFeedback has lists that say "None"
    ),
    *((f"{noun}_{one}", f"{noun}_{two}") for one, two in BETTER_AND_WORSE for noun in NOUNS),
    *(("y_w", "y_l"), ("response_j", "response_k")),
    *(("messages", "rejected_response"), ("messages", "rejected_message")),
    *(("messages", "rejected_messages"), ("messages", "rejected")),
    *((noun, f"rejected_{noun}") for noun in ("response", "answer", "completion", "output")),
    *((noun, "rejected") for noun in ("response", "answer", "completion", "output")),
)
WORDS = ("rating", "score", "reward", "avg_rating", "grade")
RANKED = (*WORDS, "rank")
SIDE_RATINGS: Pairs = (
    ("chosen_rating", "rejected_rating"),
    ("score_chosen", "score_rejected"),
    *((f"chosen{mark}{word}", f"rejected{mark}{word}") for word in RANKED for mark in "_-"),
    *((f"{word}_chosen", f"{word}_rejected") for word in RANKED),
    *((f"chosen_response_{word}", f"rejected_response_{word}") for word in RANKED),
    *((f"chosen.{word}", f"rejected.{word}") for word in RANKED),
)

# Two answers side by side are called by a word and a mark: response_1, answer_0, conversation_a.
ANSWERS = (
    *("response", "answer", "output", "completion", "conversation", "conv", "candidate", "reply"),
    *("generation", "summary", "human_ref", "orig_response", "model_output", "text", "message"),
)
MARKS: Pairs = (("0", "1"), ("1", "2"), ("a", "b"), ("A", "B"))
LISTS = (
    *("completions", "responses", "generations", "answers", "candidates", "outputs"),
    *("candidates_completions", "all_generated_responses", "summaries", "targets", "mc1_targets"),
)
LISTED: Pairs = tuple((f"{name}.0", f"{name}.1") for name in LISTS)
"""Two answers in a list, of which a label names one by its place."""
TWO: Pairs = (
    ("response_1", "response_2"),
    *(
        (f"{word}{mark}{one}", f"{word}{mark}{two}")
        for word in ANSWERS
        for mark in ("_", "", "-")
        for one, two in MARKS
    ),
    *LISTED,
    *((f"{name}.{one}", f"{name}.{two}") for name in LISTS for one, two in MARKS[1:]),
)
SCORES: Pairs = (
    ("score_1", "score_2"),
    *(
        (f"{word}_{one}", f"{word}_{two}")
        for word in (*RANKED, "votes", "upvotes")
        for one, two in MARKS
    ),
    *(
        (f"{answer}_{one}_{word}", f"{answer}_{two}_{word}")
        for answer in ANSWERS
        for word in RANKED
        for one, two in MARKS
    ),
)
WINS: Pairs = tuple(
    (f"winner_{word}{one}", f"winner_{word}{two}") for word in ("model_", "") for one, two in MARKS
)

MODELS: Pairs = tuple((f"model_{one}", f"model_{two}") for one, two in MARKS)

PROMPT = (
    *("prompt", "orig_instruction", "instruction", "question.full_text", "question", "query"),
    *("problem", "info.post", "info.article", "input.messages", "conversations", "conversation"),
    *("messages", "context_messages", "trajectory", "user_input", "user_prompt", "input"),
    *("context", "history", "post", "x", "contents", "title"),
)
BESIDE = {
    **dict.fromkeys(("prompt", "instruction", "question", "query"), ("input",)),
    "title": ("selftext", "body"),
}
"""Of the columns of a task, those that may stand beside each and say what the task is about."""

ASKED = {
    "prompt": Column(PROMPT, CONVERSATION),
    "system": Column(("system", "system_prompt", "system_message"), TEXT, required=False),
    "history": Column(("history",), CONVERSATION, required=False),
    "input": Column(("input", "selftext", "body"), TEXT, required=False),
}
"""What was asked, in up to four columns (reward.pairs.prompts)."""


def firsts(pairs: Pairs) -> tuple[str, ...]:
    """The names of the first column of two that belong together."""
    return tuple(one for one, _ in pairs)


def seconds(pairs: Pairs) -> tuple[str, ...]:
    """Those of the second column, in the same order."""
    return tuple(two for _, two in pairs)


RATED_LIST = (
    *("scores", "ratings", "rating", "rewards", "ranks", "rankings", "ranking", "rank"),
    "all_rm_scores",
)
PAIR_COLUMNS = {
    **ASKED,
    "prompt": Column(PROMPT, CONVERSATION, required=False),
    "chosen": Column(firsts(SIDES), CONVERSATION),
    "rejected": Column(seconds(SIDES), CONVERSATION),
    "chosen_rating": Column(firsts(SIDE_RATINGS), NUMBER, required=False),
    "rejected_rating": Column(seconds(SIDE_RATINGS), NUMBER, required=False),
    "margin": Column(("margin",), NUMBER, required=False),
    "chosen_share": Column(("chosen_share",), NUMBER, required=False),
}
TWO_ANSWERS = {
    **ASKED,
    "prompt": Column(PROMPT, CONVERSATION, required=False),
    "response_1": Column(firsts(TWO), CONVERSATION),
    "response_2": Column(seconds(TWO), CONVERSATION),
}
RATED_TWO = {
    "score_1": Column(firsts(SCORES), NUMBER),
    "score_2": Column(seconds(SCORES), NUMBER),
}
COLUMNS = {
    "pairs": PAIR_COLUMNS,
    "transcripts": PAIR_COLUMNS,
    "strength": {
        **TWO_ANSWERS,
        "strength": Column(("overall_preference", "preference_strength"), NUMBER),
    },
    "labels": {
        **TWO_ANSWERS,
        "label": Column(
            (
                *("better_response_id", "winner", "preferred", "choice", "label", "labels"),
                *("preference", "orig_preference", "preferred_response", "preferred_answer"),
                *(
                    "preferred_model",
                    "winner_model",
                    "better_response",
                    "better_answer",
                    "human_preference",
                    "better",
                    "best",
                ),
                *("best_response", "verdict", "judgment", "judgement", "decision", "vote"),
                *("selected", "chosen", "annotator*", "annotator_*"),
            ),
            LABEL,
        ),
        "wins_1": Column(firsts(WINS), LABEL, required=False),
        "wins_2": Column(seconds(WINS), LABEL, required=False),
        "model_1": Column(firsts(MODELS), TEXT, required=False),
        "model_2": Column(seconds(MODELS), TEXT, required=False),
        "turn": Column(("turn",), NUMBER, required=False),
        **{
            name: Column(column.names, column.holds, required=False)
            for name, column in RATED_TWO.items()
        },
    },
    "scores": {**TWO_ANSWERS, **RATED_TWO},
    "scored-lists": {
        **ASKED,
        "responses": Column(LISTS, LIST),
        "scores": Column(RATED_LIST, LIST, required=False),
    },
    "ranked-lists": {
        **ASKED,
        "responses": Column(("ranked_responses", "ranked_outputs", "rankings", "output"), LIST),
    },
    "ratings": {
        **ASKED,
        "prompt": Column(PROMPT, CONVERSATION, required=False),
        "response": Column(("response", "completion", "answer", "output"), CONVERSATION),
    },
    "branches": {
        "system": ASKED["system"],
        "messages": Column(
            ("conversation_history", "messages", "conversation", "conversations"), LIST
        ),
    },
    "trees": {
        "message_id": Column(("message_id",), TEXT),
        "parent_id": Column(("parent_id",), TEXT),
        "role": Column(("role",), TEXT),
        "text": Column(("text",), TEXT),
        "rank": Column(("rank",), NUMBER),
    },
}
TIED = (
    ("chosen", "rejected"),
    ("chosen_rating", "rejected_rating"),
    ("response_1", "response_2"),
    ("score_1", "score_2"),
    ("wins_1", "wins_2"),
    ("model_1", "model_2"),
)
"""Columns that a set calls by names that belong together."""

ITEMS = {
    "response": (
        *("response", "text", "content", "answer", "completion", "output", "generation", "choices"),
    ),
    "score": (
        *("overall_score", "score", "rating", "pm_score", "reward", "grade", "votes", "upvotes"),
        *("rank", "ranking", "labels", "chosen", "is_chosen", "preferred", "is_preferred"),
        "selected",
    ),
}
"""The columns of a list's items, and their names in known sets."""

RATINGS = (*("overall_score", "score", "rating", "reward", "grade", "pm_score", "votes", "rank"),)
"""What a response's only rating is called, in a row of its own."""
FLAGS = ("label", "chosen", "is_chosen", "preferred", "is_preferred", "desirable")
"""What it is called where it is yes or no."""

LOWER_IS_BETTER = {"rank", "ranks", "ranking", "rankings"}


def is_lower_better(column: str) -> bool:
    """Whether a column of numbers is a ranking by its name: the best answer has the lowest.

    A ranking_score is a score.
    """
    words = {word for part in column.split(".") for word in plain_spelling(part).split("_")}
    return bool(words & LOWER_IS_BETTER) and not words & {*WORDS}
