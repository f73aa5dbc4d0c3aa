"""Small benchmarks in the layouts of the real ones, as repositories of a loopback hub.

Written for this project after the public descriptions of the sets, every column included; each
subset that a rule knows has a row or two.
"""

import gzip
import json
from typing import Any

from tests.support.loopback_hub import Repository
from tests.support.workplace import json_lines, parquet

Row = dict[str, Any]

REWARDBENCH_SUBSETS = (
    *("alpacaeval-easy", "mt-bench-med", "llmbar-natural", "mt-bench-hard", "donotanswer"),
    *("xstest-should-refuse", "math-prm", "math-prm", "hep-python", "hep-rust", "hep-cpp"),
)
REWARDBENCH: list[Row] = [
    {
        "prompt": f"Question {number} of {subset}?",
        "chosen": f"{number} is a good answer.",
        "chosen_model": "model-a",
        "rejected": f"Bad is {number}.",
        "rejected_model": "model-b",
        "subset": subset,
        "id": number,
    }
    for number, subset in enumerate(REWARDBENCH_SUBSETS)
]


def several(number: str, subset: str, right: int, wrong: int) -> Row:
    return {
        "id": number,
        "prompt": f"Question {number} of {subset}?",
        "chosen": [f"{place} is right for {number}." for place in range(right)],
        "rejected": [f"No, {place} is wrong for {number}." for place in range(wrong)],
        "num_correct": right,
        "num_incorrect": wrong,
        "total_completions": right + wrong,
        "models": ["model-a"] * (right + wrong),
        "subset": subset,
        "additional_metadata": "{}",
    }


REWARDBENCH_2: list[Row] = [
    *(
        several(str(10 * place + number), subset, 1, 3)
        for place, subset in enumerate(("Factuality", "Precise IF", "Math", "Safety", "Focus"))
        for number in range(3)
    ),
    *(several(f"ref:{number}", "Ties", 1, 4) for number in range(3)),
    *(several(f"tied:{number}", "Ties", 2 + number, 3) for number in range(3)),
]

RM_BENCH: list[Row] = [
    {
        "id": f"{domain}/{number}",
        "prompt": f"Question {number} of {domain}?",
        "chosen": [f"{'So ' * style}it is {number}." for style in range(3)],
        "rejected": [f"{'Ah ' * style}it is not {number}." for style in range(3)],
        "error": "factual",
        "domain": domain,
    }
    for domain in ("chat", "code", "math", "safety-refuse", "safety-response")
    for number in range(2 + (domain == "safety-response"))
]


def judged(number: int, source: str) -> Row:
    return {
        "pair_id": f"{number:08x}",
        "original_id": str(number),
        "source": source,
        "question": f"Question {number} of {source}?",
        "response_model": "model-a",
        "response_A": f"{number} it is.",
        "response_B": f"It is not {number}.",
        "label": "B>A" if number % 2 else "A>B",
    }


JUDGEBENCH: list[Row] = [
    judged(number, source)
    for number, source in enumerate(
        (
            *("mmlu-pro-law", "mmlu-pro-computer science", "livebench-math", "livecodebench"),
            *("livebench-reasoning", "mmlu-pro-law", "livecodebench"),
        )
    )
]
HELPSTEER3: list[Row] = [
    {
        "domain": domain,
        "language": "english",
        "context": [{"role": "user", "content": f"Question {number} of {domain}?"}],
        "response1": f"First {number}.",
        "response2": f"The second one, {number}.",
        "overall_preference": (-3, -1, 0, 2)[number],
        "individual_preference": [{"score": 1, "reasoning": "", "feedback1": "", "feedback2": ""}],
    }
    for domain in ("code", "general", "multilingual", "stem")
    for number in range(4)
]


def card(configs: str) -> bytes:
    return f"---\nconfigs:\n{configs}---\n".encode()


def repositories() -> dict[str, Repository]:
    """By the names under which params.yaml has them."""
    other = parquet([JUDGEBENCH[0]])
    return {
        "datasets/allenai/reward-bench": Repository(
            {
                "README.md": card(
                    "- config_name: default\n  data_files:\n"
                    "  - {split: raw, path: data/raw-*}\n"
                    "  - {split: filtered, path: data/filtered-*}\n"
                ),
                "data/raw-00000-of-00001.parquet": parquet(REWARDBENCH[:1]),
                "data/filtered-00000-of-00001.parquet": parquet(REWARDBENCH),
            }
        ),
        "datasets/allenai/reward-bench-2": Repository(
            {"data/test-00000-of-00001.parquet": parquet(REWARDBENCH_2)}
        ),
        "datasets/THU-KEG/RM-Bench": Repository(
            {"README.md": b"# RM-Bench\n", "total_dataset.json": json.dumps(RM_BENCH).encode()}
        ),
        "datasets/ScalerLab/JudgeBench": Repository(
            {
                "README.md": card(
                    "- config_name: default\n  data_files:\n"
                    "  - {split: claude, path: data/claude-*}\n"
                    "  - {split: gpt, path: data/gpt-*}\n"
                ),
                "data/claude-00000-of-00001.parquet": other,
                "data/gpt-00000-of-00001.parquet": parquet(JUDGEBENCH),
            }
        ),
        "datasets/nvidia/HelpSteer3": Repository(
            {
                "README.md": card(
                    "- config_name: preference\n  default: true\n  data_files:\n"
                    "  - {split: train, path: preference/train.jsonl.gz}\n"
                    "  - {split: validation, path: preference/validation.jsonl.gz}\n"
                    "- config_name: edit\n  data_files:\n"
                    "  - {split: train, path: edit/train.jsonl.gz}\n"
                ),
                "preference/train.jsonl.gz": gzip.compress(json_lines(HELPSTEER3[:1])),
                "preference/validation.jsonl.gz": gzip.compress(json_lines(HELPSTEER3)),
                "edit/train.jsonl.gz": gzip.compress(json_lines(HELPSTEER3[:1])),
            }
        ),
    }
