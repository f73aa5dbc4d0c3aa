"""stages.download: real processes against files on this machine, whole and broken."""

import json
from typing import Any

import pytest
from datasets import Dataset, DatasetDict

from reward.pairs.cures import CURES
from reward.pairs.preference import SCHEMA
from tests.support.workplace import FAST, ROWS, Workplace, digest, json_lines, parquet, row


def test_local_files_become_canonical_records(place: Workplace) -> None:
    place.succeed()
    pairs = place.pairs()
    assert pairs.schema == SCHEMA
    assert pairs.drop_columns("pair_id").to_pylist()[2] == {
        "prompt": [{"role": "user", "content": "Question 2?"}],
        "chosen": "Right 2.",
        "rejected": "Wrong 2.",
        "chosen_rating": 3.2,
        "rejected_rating": 1.0,
        "source": "mine",
    }
    counts = {"rows": 6, "candidates": 6, "pairs": 6, "dropped": {}, "kept_with": {}}
    assert place.source("raw") == counts | {
        "sources": {
            "mine": {
                "source": "pairs.jsonl",
                "format": "pairs",
                "config": None,
                "split": None,
                "revision": None,
                "commit": None,
                "files": {"pairs.jsonl": digest(json_lines(ROWS))},
                "weight": None,
                **counts,
            }
        }
    }
    assert place.source("backbone") == {
        "source": "./model",
        "revision": None,
        "commit": None,
        "files": {name: digest(content) for name, content in FAST.items()},
        "weights": [],
    }
    for name, content in FAST.items():
        assert (place.folder / "data/backbone" / name).read_bytes() == content


def test_the_same_input_gives_the_same_bytes(place: Workplace) -> None:
    outputs = []
    for _ in range(2):
        place.succeed()
        files = sorted(path for path in (place.folder / "data").rglob("*") if path.is_file())
        outputs.append({path: path.read_bytes() for path in files})
    assert outputs[0] == outputs[1]


def test_bad_rows_are_counted_by_reason_and_their_numbers_printed(place: Workplace) -> None:
    rows = [
        row(0),
        *(row(number, rejected_rating=3.2) for number in range(1, 8)),
        row(0, chosen_rating=4.0),
        row(9, chosen="\ud800"),
        row(10, rejected=None),
    ]
    (place.folder / "pairs.jsonl").write_bytes(json_lines(rows))
    printed = place.succeed()
    assert "pairs.jsonl: format pairs, by its columns" in printed
    assert (
        "pairs.jsonl: 11 rows read, 1 pairs kept; dropped: 7 tie (rows 2, 3, 4, 5, 6, ...), "
        "1 broken text (row 10), 1 missing rejected (row 11), 1 duplicate (row 9)"
    ) in printed
    assert place.source("raw")["dropped"] == {
        "broken_text": 1,
        "duplicate": 1,
        "missing_rejected": 1,
        "tie": 7,
    }


@pytest.mark.parametrize(
    ("dataset", "content", "sentence"),
    [
        ({"source": "gone.jsonl"}, b"", "gone.jsonl is not a file on this machine"),
        ({"source": "pairs.jsonl", "split": "train"}, b"", "remove `split` from its entry"),
        ({"source": "pairs.jsonl"}, b"", "pairs.jsonl begins with no readable row"),
        ({"source": "pairs.jsonl", "format": "pairs"}, b"", "no column chosen and no column rejec"),
        ({"source": "shards/*.jsonl"}, b"", "shards/*.jsonl is not a pattern of files on this"),
        ({"source": "pairs.jsonl", "format": "rows"}, b"", "datasets.mine.format='rows' in params"),
        (
            {"source": "pairs.jsonl", "columns": {"chosen": "good"}},
            json_lines(ROWS),
            "has no column good (there are: prompt, chosen, rejected, ",
        ),
        (
            {"source": "pairs.jsonl"},
            json_lines([row(0, chosen=1), row(1, chosen=2)]),
            "The column chosen of pairs.jsonl holds int and not text or messages",
        ),
        (
            {"source": "pairs.jsonl"},
            json_lines(ROWS).decode().encode("utf-16"),
            "Line 1 of pairs.jsonl is not UTF-8: save the file in that encoding",
        ),
        (
            {"source": "model/../pairs.parquet"},
            parquet(ROWS)[:-100],
            "pairs.parquet is not a whole Parquet file",
        ),
        ({"source": "pairs.jsonl", "weight": 1.5}, b"", "datasets.mine.weight=1.5 in params.yaml"),
        ({"source": "pairs.jsonl", "attributes": {"a": 0}}, b"", "must sum to more than 0"),
        ({"mix": {"one": 0.5}}, b"", "mix.one=0.5 in params.yaml is not valid: a mix holds its"),
        ({"mix": {"one": {"weight": 0.5}}}, b"", "a weight for one that it does not describe"),
        ({"mix": {"one": {"source": "gone.jsonl", "weight": 1}}}, b"", "gone.jsonl is not a file"),
        ({"mix": {}}, b"", "either a `source` or a `mix` of datasets; give one"),
        (
            {"mix": {"one": {"source": "pairs.jsonl"}}, "weight": 0.5},
            b"",
            "beside a `mix` nothing is read; put the other keys into its datasets",
        ),
        (
            {"source": "pairs.jsonl"},
            json_lines([row(0, chosen="")]),
            "dropped: 1 empty response (row 1)): correct it or choose other data",
        ),
        (
            {"source": "pairs.jsonl"},
            b'{"question": "Why?", "chosen": []}\n',
            "no column rejected (there are: question, chosen)",
        ),
        ({"source": "pairs.jsonl"}, json_lines(ROWS) + b"{", "Line 7 of pairs.jsonl is not a JSON"),
    ],
)
def test_what_a_file_lacks_is_named(
    place: Workplace, dataset: dict[str, Any], content: bytes, sentence: str
) -> None:
    for name in ("pairs.jsonl", "pairs.parquet"):
        (place.folder / name).write_bytes(content)
    place.dataset = dataset
    assert sentence in place.fail()


def test_an_unknown_dataset_name(place: Workplace) -> None:
    assert "dataset=yours is not an entry of datasets" in place.fail("yours")


def ids(place: Workplace) -> list[str]:
    return place.pairs()["pair_id"].to_pylist()


def test_shards_give_the_same_pairs_as_one_file(place: Workplace) -> None:
    place.succeed()
    expected = place.pairs()
    (place.folder / "shards").mkdir()
    (place.folder / "shards/part-0.jsonl").write_bytes(json_lines(ROWS[:1]))
    (place.folder / "shards/part-1.parquet").write_bytes(parquet(ROWS[1:4]))
    (place.folder / "shards/part-2.parquet").write_bytes(parquet(ROWS[4:]))
    place.dataset = {"source": "shards/part-*"}
    place.succeed()
    assert place.pairs().equals(expected)
    assert list(place.source("raw")["sources"]["mine"]["files"]) == [
        "shards/part-0.jsonl",
        "shards/part-1.parquet",
        "shards/part-2.parquet",
    ]


def test_a_saved_set_is_read_by_its_split(place: Workplace) -> None:
    saved = DatasetDict(train=Dataset.from_list(ROWS), test=Dataset.from_list(ROWS[:2]))
    saved.save_to_disk(place.folder / "saved", num_shards={"train": 2, "test": 1})
    place.dataset = {"source": "./saved"}
    assert "several splits (there are: train, test): name one of them as `split`" in place.fail()
    place.dataset["split"] = "train"
    place.succeed()
    assert place.pairs()["chosen"].to_pylist() == [f"Right {number}." for number in range(6)]
    raw = place.source("raw")["sources"]["mine"]
    assert [*raw["files"]] == [f"train/data-0000{n}-of-00002.arrow" for n in range(2)]
    assert raw["split"] == "train"


def test_a_row_of_a_wrong_type_is_told_with_its_column_value_and_cure(place: Workplace) -> None:
    (place.folder / "pairs.jsonl").write_bytes(json_lines([row(0), row(1, chosen=5)]))
    printed = place.succeed()
    assert "1 pairs kept; dropped: 1 wrong type in chosen (row 2)\n" in printed
    assert f"\n  wrong type: row 2 has 5 in chosen; {CURES['wrong_type']}\n" in printed


def test_code_of_a_local_backbone_is_told_where_there_are_no_weights(place: Workplace) -> None:
    config = {"model_type": "chatglm", "auto_map": {"AutoConfig": "configuration_chatglm.Config"}}
    (place.folder / "model/config.json").write_text(json.dumps(config))
    assert "of chatglm, the model_type of the backbone ./model, and code that a" in place.fail()


def test_repeats_and_contradictions_over_the_whole_dataset(place: Workplace) -> None:
    swapped = row(1) | {"chosen": row(1)["rejected"], "rejected": row(1)["chosen"]}
    rows = [row(0), row(1), row(2), row(0), swapped, row(0)]
    (place.folder / "pairs.jsonl").write_bytes(json_lines(rows))
    printed = place.succeed()
    assert "2 contradiction (rows 2, 5), 2 duplicate (rows 4, 6)" in printed
    assert (place.source("raw")["pairs"], place.source("raw")["candidates"]) == (2, 6)
    assert place.source("raw")["dropped"] == {"contradiction": 2, "duplicate": 2}
    dropped = ids(place)
    assert len(dropped) == 2
    place.quality |= {"duplicate": "count", "contradiction": "ignore"}
    place.succeed()
    assert place.source("raw")["dropped"] == {}
    assert place.source("raw")["kept_with"] == {"duplicate": 2}
    assert len(ids(place)) == 6
    assert set(dropped) < set(ids(place))


def test_a_dataset_of_contradictions_alone(place: Workplace) -> None:
    swapped = row(1) | {"chosen": row(1)["rejected"], "rejected": row(1)["chosen"]}
    (place.folder / "pairs.jsonl").write_bytes(json_lines([row(1), swapped]))
    assert "no valid pair (2 rows read, 0 pairs kept; dropped: 2 contradiction" in place.fail()


def test_problems_that_are_only_counted(place: Workplace) -> None:
    rows = [*ROWS, row(6, chosen=[{"role": "assistant", "content": "A bell: \x07"}])]
    (place.folder / "pairs.jsonl").write_bytes(json_lines(rows))
    assert "7 pairs kept; kept with: 1 control characters (row 7)" in place.succeed()
    assert place.source("raw")["kept_with"] == {"control_characters": 1}
    place.quality["control_characters"] = "drop"
    place.succeed()
    assert place.source("raw")["dropped"] == {"control_characters": 1}


def test_a_problem_of_a_pair_that_is_dropped_after_all_is_not_counted(place: Workplace) -> None:
    bell = row(6, chosen=[{"role": "assistant", "content": "A bell: \x07"}])
    (place.folder / "pairs.jsonl").write_bytes(json_lines([*ROWS, bell, bell, bell]))
    printed = place.succeed()
    assert (
        "7 pairs kept; dropped: 2 duplicate (rows 8, 9); kept with: 1 control characters" in printed
    )
    assert place.source("raw")["kept_with"] == {"control_characters": 1}


def test_control_tokens_are_those_of_the_backbone(place: Workplace) -> None:
    ends = row(6, chosen=[{"role": "assistant", "content": "Right.<|endoftext|>"}])
    other = row(7, chosen=[{"role": "assistant", "content": "Right.<|im_end|>"}])
    (place.folder / "pairs.jsonl").write_bytes(json_lines([*ROWS, ends, other]))
    assert "8 pairs kept; kept with: 1 control tokens (row 7)" in place.succeed()
    assert place.source("raw")["kept_with"] == {"control_tokens": 1}
    place.quality["control_tokens"] = "drop"
    place.succeed()
    assert place.source("raw")["dropped"] == {"control_tokens": 1}
    assert len(ids(place)) == 7
    place.quality["control_tokens"] = "ignore"
    place.succeed()
    assert place.source("raw")["dropped"] == place.source("raw")["kept_with"] == {}
    assert len(ids(place)) == 8


def test_a_backbone_whose_template_cannot_be_used_is_named_by_its_source(place: Workplace) -> None:
    (place.folder / "model/chat_template.jinja").write_text("{% for %}")
    assert "The chat template in ./model is not valid (" in place.fail()


def test_unreadable_lines_are_tolerated_on_request(place: Workplace) -> None:
    (place.folder / "pairs.jsonl").write_bytes(json_lines(ROWS) + b"{\n")
    assert "Line 7 of pairs.jsonl is not a JSON object" in place.fail()
    place.unreadable_rows = 1
    place.succeed()
    assert place.source("raw")["dropped"] == {"unreadable": 1}
    assert (place.source("raw")["rows"], place.source("raw")["pairs"]) == (7, 6)


def test_datasets_are_mixed_by_weight_and_every_pair_keeps_its_source(place: Workplace) -> None:
    (place.folder / "one.jsonl").write_bytes(json_lines([row(number) for number in range(40)]))
    responses = [
        {"prompt": f"Question {number}?", "response": text, "stars": stars}
        for number in range(30, 50)
        for text, stars in ((f"Right {number}.", 5), (f"Wrong {number}.", 1))
    ]
    (place.folder / "two.parquet").write_bytes(parquet(responses))
    two = {"source": "two.parquet", "format": "ratings", "attributes": {"stars": 1}}
    place.dataset = {"mix": {"one": {"source": "one.jsonl", "weight": 0.5}, "two": two}}
    printed = place.succeed()
    assert "two.parquet: format ratings, as its entry says" in printed
    sources = place.pairs()["source"].to_pylist()
    # Ten pairs of the second are in the first as well, and stay there.
    assert (sources.count("one"), sources.count("two")) == (20, 10)
    raw = place.source("raw")
    assert raw["sources"]["one"]["dropped"] == {"beyond_weight": 20}
    assert raw["sources"]["two"]["dropped"] == {"duplicate": 10}
    assert (raw["rows"], raw["candidates"], raw["pairs"]) == (80, 60, 30)
    assert raw["dropped"] == {"beyond_weight": 20, "duplicate": 10}
    few = set(ids(place))
    place.dataset["mix"]["one"]["weight"] = 0.75
    place.succeed()
    assert few < set(ids(place))
    assert len(ids(place)) == 40
