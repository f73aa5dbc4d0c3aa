"""Write data/sources/sample.jsonl: about 2,000 preference pairs, the same bytes on every machine.

    python data/make_sample.py

Each kind of task in sample/kinds.py draws prompts and knows how to answer them rightly and wrongly;
sample/defects.py spoils answers; sample/ratings.py turns what is wrong with an answer into five
attributes and a rating; sample/pairs.py puts two answers together so that length tells nothing.
The wording is in sample/*.yaml. The table that is printed counts tokens with data/sources/tiny,
which make_tiny.py trains on the sample: after a change of wording run this, that and this again.
"""

import argparse
import json
from pathlib import Path

from sample.kinds import KINDS, draw_sample
from sample.pairs import Pair
from tokenizers import Tokenizer

SOURCES = Path(__file__).parent / "sources"


def main(path: Path) -> None:
    """Write the pairs to `path` and print a table of their kinds."""
    pairs = draw_sample()
    path.write_text("".join(map(_line, pairs)), encoding="utf-8", newline="\n")
    _print_table(pairs, Tokenizer.from_file(str(SOURCES / "tiny" / "tokenizer.json")))


def _line(pair: Pair) -> str:
    asked = {"content": pair.task.prompt, "role": "user"}
    row = {
        "prompt": pair.task.prompt,
        "chosen": [asked, {"content": pair.chosen.text, "role": "assistant"}],
        "rejected": [asked, {"content": pair.rejected.text, "role": "assistant"}],
        "chosen_rating": pair.chosen_rating,
        "rejected_rating": pair.rejected_rating,
    }
    return json.dumps(row, ensure_ascii=False) + "\n"


def _print_table(pairs: list[Pair], tokenizer: Tokenizer) -> None:
    def tokens(text: str) -> int:
        return len(tokenizer.encode(text).ids)

    print(f"{'kind':12} {'pairs':>5} {'longer wins %':>13} {'tokens a side':>13} {'gap':>5}")
    groups = {kind: [pair for pair in pairs if pair.task.kind == kind] for kind in KINDS}
    for kind, group in {**groups, "all": pairs}.items():
        lengths = [
            (tokens(pair.chosen.text), tokens(pair.rejected.text), tokens(pair.task.prompt))
            for pair in group
        ]
        count = len(group)
        longer = sum((a > b) + (a == b) / 2 for a, b, _ in lengths) / count
        side = sum(a + b + 2 * prompt for a, b, prompt in lengths) / (2 * count)
        gap = sum(pair.chosen_rating - pair.rejected_rating for pair in group) / count
        print(f"{kind:12} {count:5} {100 * longer:13.1f} {side:13.1f} {gap:5.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "path",
        type=Path,
        nargs="?",
        default=SOURCES / "sample.jsonl",
        help="the file to write (default: data/sources/sample.jsonl)",
    )
    main(parser.parse_args().path)
