"""reward.examine: a real process that shows a dataset and writes nothing."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reward.examine import plain
from reward.pairs.cures import CURES
from tests.support.backbones import CHATML, TOKENIZERS, save
from tests.support.loopback_hub import Repository, serve

ROOT = Path(__file__).parents[2]
TINY = ROOT / "data/sources/tiny"
FIXTURES = Path(__file__).parents[1] / "support/fixtures"


def examine(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "reward.examine", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def row(prompt: str, chosen: str, rejected: str, *ratings: float) -> dict[str, Any]:
    rated = dict(zip(("chosen_rating", "rejected_rating"), ratings, strict=False))
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **rated}


def test_the_report_by_hand(tmp_path: Path) -> None:
    rows = [
        row("Why?", "So.\x1b[2J\u202e", "No."),
        row("Name two?", "1", "2", 3, 3),
        row("How?", "So.", " ", 4, 5),
        row("How?", "A", "B"),
        row("How?", "B", "A"),
        row("How?", "A", "B"),
        {"prompt": "Lost?", "chosen": "Yes."},
    ]
    lines = "".join(json.dumps(one) + "\n" for one in rows)
    (tmp_path / "pairs.jsonl").write_text(lines + "{\n")
    done = examine(tmp_path, "pairs.jsonl")
    assert done.returncode == 0, done.stderr
    kinds = ["missing_rejected", "unreadable", "contradiction", "control_characters", "tie"]
    kinds += ["empty_response", "rating_contradicts_order", "duplicate"]
    assert done.stdout == (
        """\
pairs.jsonl: 8 rows, 6 pairs, format pairs
Better: chosen rather than rejected
Control tokens: not looked for; data/backbone is not there, and --backbone names no other

Columns (by the first 7 rows)
  prompt                   str          read as prompt
  chosen                   str          read as chosen
  rejected                 str          read as rejected, missing in 1
  chosen_rating            int          read as chosen_rating, missing in 5
  rejected_rating          int          read as rejected_rating, missing in 5

Row 1
  user       Why?
  chosen     So.\\x1b[2J\\u202e
  rejected   No.

Row 2
  user       Name two?
  chosen     1 (rated 3)
  rejected   2 (rated 3)

Row 3
  user       How?
  chosen     So. (rated 4)
  rejected     (rated 5)

Problems
  no pair      1 missing rejected (row 7)
  no pair      1 unreadable (row 8)
  a pair with  3 contradiction (rows 4, 5, 6)
  a pair with  1 control characters (row 1)
  a pair with  1 tie (row 2)
  a pair with  1 empty response (row 3)
  a pair with  1 rating contradicts order (row 3)
  a pair with  1 duplicate (row 6)

What to do
"""
        + "".join(f"  {kind.replace('_', ' ')}: {CURES[kind]}\n" for kind in kinds)
    )
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]


def test_control_tokens_of_the_backbone_that_is_here_or_named(tmp_path: Path) -> None:
    rows = [row("Why?", "So.", "No."), row("How?", "So.<|end|>", "No."), row("<s>?", "A", "B")]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    done = examine(tmp_path, "pairs.jsonl", "--backbone", str(TINY))
    assert f"\nControl tokens: those of {TINY}\n" in done.stdout
    assert "\nProblems\n  a pair with  1 control tokens (row 2)\n\n" in done.stdout
    (tmp_path / "data").mkdir()
    save(tmp_path / "data/backbone", TOKENIZERS["byte level"], CHATML)
    done = examine(tmp_path, "pairs.jsonl")
    assert "\nControl tokens: those of data/backbone\n" in done.stdout
    assert "\nProblems\n  a pair with  1 control tokens (row 3)\n\n" in done.stdout
    done = examine(tmp_path, "pairs.jsonl", "--backbone", "gone")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("examine: gone has no tokenizer.json: ")


def test_prompts_that_are_nearly_the_same(tmp_path: Path) -> None:
    words = [str(number) for number in range(60)]
    prompts = ["Why?", " ".join(words), "How?", " ".join([*words[:-1], "x"]), "Why?"]
    rows = [row(text, f"So. {number}", "No.") for number, text in enumerate(prompts)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    done = examine(tmp_path, "pairs.jsonl")
    # The same prompt again, as in rows 1 and 5, is no near duplicate.
    assert "\nProblems\n  a pair with  2 near duplicate (rows 2, 4)\n\n" in done.stdout


def test_a_clean_file_in_another_format_with_other_columns(tmp_path: Path) -> None:
    done = examine(
        tmp_path, str(FIXTURES / "ultrafeedback.jsonl"), "--column", "score=fine-grained_score"
    )
    assert "2 rows, 2 pairs, format scored-lists" in done.stdout
    assert "instruction              str          read as prompt" in done.stdout
    assert "(rated 4.75)" in done.stdout
    assert done.stdout.endswith("\nNo problems\n")


def test_it_says_which_answer_is_better_and_what_is_not_read(tmp_path: Path) -> None:
    rows = [
        {
            "context": "A page\x1b.",
            "question": f"Why {number}?",
            "answer_a": "So.",
            "answer_b": "No.",
            "label": label,
            "no\x07tes": "x",
        }
        for number, label in enumerate((1, 0, 2, 1))
    ]
    (tmp_path / "l.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    done = examine(tmp_path, "l.jsonl")
    assert done.returncode == 1
    assert "labels (0, 1, 2) that do not say whether answer_a or answer_b is better" in done.stderr
    words = ["--label", "1=response_1", "--label", "0=response_2", "--label", "2=tie"]
    done = examine(tmp_path, "l.jsonl", *words)
    assert (
        "\nBetter: label names the better answer (0 means answer_b, 1 means answer_a, 2 means a "
        "tie)\n" in done.stdout
    ), done.stderr
    shown = re.findall(r"^  (chosen|rejected) +(.*)", done.stdout, re.MULTILINE)
    assert [text for _, text in shown] == ["So.", "No.", "No.", "So.", "So.", "No."]
    assert "1 tie (row 3)" in done.stdout
    assert "l.jsonl: columns of text that are not read: context, no\\x07tes\n" in done.stderr
    done = examine(tmp_path, "l.jsonl", *words, "--label", "3=both")
    assert "labels.3='both' is not valid: " in done.stderr
    done = examine(tmp_path, "l.jsonl", *words, "--column", "input=context")
    assert "not read: no\\x07tes\n" in done.stderr


def test_ratings_by_other_attributes(tmp_path: Path) -> None:
    rows = [
        {"prompt": "Why?", "response": text, "clear": clear, "kind": kind}
        for text, clear, kind in (("So.", 4, 1), ("No.", 1, 3))
    ]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    words = ["r.jsonl", "--format", "ratings", "--attribute", "clear=3", "--attribute", "kind=1"]
    done = examine(tmp_path, *words)
    # (3 x 4 + 1) / 4 and (3 x 1 + 3) / 4
    assert "So. (rated 3.25)" in done.stdout, done.stderr
    assert "No. (rated 1.5)" in done.stdout


def test_a_hub_dataset(tmp_path: Path) -> None:
    files = {"train.jsonl": (FIXTURES / "hh_rlhf.jsonl").read_bytes(), "test.jsonl": b""}
    with serve({"datasets/someone/pairs": Repository(files)}) as hub:
        hub_here = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path)}
        done = examine(tmp_path, "someone/pairs", "--split", "train", **hub_here)
        assert "someone/pairs: 2 rows, 2 pairs, format transcripts" in done.stdout
        done = examine(tmp_path, "someone/pairs", **hub_here)
    assert done.returncode == 1
    assert done.stderr == (
        "examine: The dataset someone/pairs has several splits (there are: train, test): name one "
        "of them as `split` in its entry of params.yaml.\n"
    )


def test_what_cannot_be_read_ends_in_one_sentence(tmp_path: Path) -> None:
    done = examine(tmp_path, "gone.jsonl")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("examine: The dataset gone.jsonl is not a file on this machine")
    assert done.stderr.count("\n") == 1


def test_row_numbers_are_line_numbers(tmp_path: Path) -> None:
    rows = [row("Why?", "So.", "No."), row("How?", "So.", "So.")]
    (tmp_path / "pairs.jsonl").write_text("\n\n".join(map(json.dumps, rows)))
    done = examine(tmp_path, "pairs.jsonl")
    assert "\nRow 1\n" in done.stdout
    assert "  a pair with  1 identical responses (row 3)\n\n" in done.stdout
    assert "pairs.jsonl: 2 rows, 2 pairs" in done.stdout


def test_a_file_whose_name_has_marks_of_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "pairs[1].jsonl").write_text(json.dumps(row("Why?", "So.", "No.")))
    assert "pairs[1].jsonl: 1 rows, 1 pairs" in examine(tmp_path, "pairs[1].jsonl").stdout


def test_every_option_is_explained(tmp_path: Path) -> None:
    done = examine(tmp_path, "--help")
    assert done.returncode == 0
    options = re.findall(r"^  -.*", done.stdout, re.MULTILINE)
    assert len(options) == 12
    for option in options:
        # The explanation is on the option's own line or on the next one.
        after = done.stdout.split(option, 1)[1].splitlines()
        assert re.search(r"\S {2,}\S", option.strip()) or after[1].startswith(" " * 8), option


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["--column", "prompt"], 2, "'prompt' is not of the form NAME=VALUE"),
        (["--attribute", "clear="], 2, "'clear=' is not of the form NAME=VALUE"),
        (["--attribute", "clear=x"], 1, "examine: attributes.clear='x' is not valid: "),
        (["--attribute", "clear=-1"], 1, "must sum to more than 0.\n"),
    ],
)
def test_options_that_are_wrong_are_named(
    tmp_path: Path, words: list[str], status: int, sentence: str
) -> None:
    done = examine(tmp_path, "pairs.jsonl", *words)
    assert done.returncode == status
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_it_starts_without_torch() -> None:
    program = "import sys, reward.examine; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("über\n\t\x00", "über\\n\\t\\x00"),
        ("a" * 100, "a" * 100),
        ("a" * 101, "a" * 97 + "..."),
        ("\ud800\u2028", "\\ud800\\u2028"),
    ],
)
def test_texts_are_shown_plain(text: str, shown: str) -> None:
    assert plain(text) == shown
