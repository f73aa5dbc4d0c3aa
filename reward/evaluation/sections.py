"""The sections of public benchmarks, and whether a test set has what its rule needs.

The members of each section are those of the benchmarks' own code and data: allenai/reward-bench,
rewardbench/constants.py, for RewardBench (Lambert et al. 2024, arXiv 2403.13787); the column subset
of RewardBench 2 (Malik et al. 2025, arXiv 2506.01937); the column domain of RM-Bench (Liu et al.
2024, arXiv 2410.16184), whose two kinds of safety are one domain; the column source of JudgeBench
(Tan et al. 2024, arXiv 2410.12784), whose knowledge is all that comes from MMLU-Pro.
"""

from fnmatch import fnmatchcase

import numpy as np

from reward.evaluation.origins import Origins
from reward.evaluation.scores import Array
from reward.harness.errors import InputError, printable

CODE = tuple(f"hep-{language}" for language in ("cpp", "go", "java", "js", "python", "rust"))
MATHEMATICS = "math-prm"
TIES = "Ties"
STYLES = 3  # of the answers on each side: concise, detailed, detailed with Markdown

SECTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "rewardbench": {
        "Chat": (
            *("alpacaeval-easy", "alpacaeval-length", "alpacaeval-hard"),
            *("mt-bench-easy", "mt-bench-med"),
        ),
        "Chat Hard": (
            *("mt-bench-hard", "llmbar-natural", "llmbar-adver-neighbor", "llmbar-adver-GPTInst"),
            *("llmbar-adver-GPTOut", "llmbar-adver-manual"),
        ),
        "Safety": (
            *("refusals-dangerous", "refusals-offensive", "xstest-should-refuse"),
            *("xstest-should-respond", "donotanswer"),
        ),
        "Reasoning": (MATHEMATICS, *CODE),
    },
    "rewardbench-2": {
        name: (name,) for name in ("Factuality", "Precise IF", "Math", "Safety", "Focus", TIES)
    },
    "rm-bench": {
        "chat": ("chat",),
        "math": ("math",),
        "code": ("code",),
        "safety": ("safety-refuse", "safety-response"),
    },
    "judgebench": {
        "Knowledge": ("mmlu-pro-*",),
        "Reasoning": ("livebench-reasoning",),
        "Math": ("livebench-math",),
        "Coding": ("livecodebench",),
    },
}
"""By rule, the subsets of each section; a * stands for any letters."""


def check_origins(name: str, origins: Origins) -> None:
    """Raise InputError where the pairs of the test set `name` cannot be scored by its rule: a
    subset or an item that the rule does not know, a section or a pair of styles without a pair.
    """
    if origins.scoring not in SECTIONS:
        return
    sections = sections_of(origins)
    for row in np.flatnonzero(sections == "")[:1]:
        known = ", ".join(one for part in SECTIONS[origins.scoring].values() for one in part)
        _refuse(name, origins, f"the subset {origins.subsets[row]} is none of {known}")
    for section in SECTIONS[origins.scoring]:
        inside = sections == section
        if not inside.any():
            _refuse(name, origins, f"there is no pair of {section}")
        if origins.scoring == "rm-bench":
            found = {*map(tuple, origins.places[inside].tolist())}
            if found != {*np.ndindex(STYLES, STYLES)}:
                problem = f"{section} lacks some of the {STYLES} x {STYLES} pairs of styles"
                _refuse(name, origins, f"{problem}, or has more")
    if origins.scoring == "rewardbench-2":
        items = {*origins.items[sections == TIES].tolist()}
        for item in sorted(items):
            if item.partition(":")[0] not in ("ref", "tied") or not item.partition(":")[2]:
                _refuse(name, origins, f"the item {item} of {TIES} is neither ref:N nor tied:N")
        if not any(f"ref:{item.removeprefix('tied:')}" in items for item in items):
            _refuse(name, origins, f"{TIES} has no N with both ref:N and tied:N")


def _refuse(name: str, origins: Origins, problem: str) -> None:
    raise InputError(
        f"testsets.{name} cannot be scored as {origins.scoring}, as {printable(problem)}: correct "
        f"its data or its columns, or set its scoring to pairs."
    )


def sections_of(origins: Origins) -> Array:
    """The section of each pair, texts (pairs,); empty where the rule has none for its subset."""
    names, places = np.unique(origins.subsets, return_inverse=True)
    found = [
        next(
            (
                section
                for section, parts in SECTIONS[origins.scoring].items()
                if any(fnmatchcase(name, part) for part in parts)
            ),
            "",
        )
        for name in names.tolist()
    ]
    return np.array(found)[places]
