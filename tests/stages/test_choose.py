"""stages.choose: all of params.yaml is checked, by the classes that the other stages read it by."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from reward.harness.errors import InputError
from reward.harness.params import PUT_BACK, load_params
from stages.choose import ChooseParams, choose
from tests.support.pipeline import PIPELINE, PROJECT
from tests.support.runs import read_params, write_params


def annotations(params: type[BaseModel]) -> dict[str, Any]:
    return {name: field.annotation for name, field in params.model_fields.items()}


def test_every_stage_reads_its_sections_by_the_classes_that_are_checked_here() -> None:
    checked = annotations(ChooseParams)
    for stage in [name for name in PIPELINE if name not in ("choose", "report")]:
        params = vars(importlib.import_module(f"stages.{stage}"))[f"{stage.capitalize()}Params"]
        read = annotations(params)
        assert read == {name: checked[name] for name in read}, stage


def test_no_key_of_a_section_may_be_left_out() -> None:
    """Else DVC, which tracks keys, would take no notice of a default that changed."""
    left = [kind for kind in annotations(ChooseParams).values() if is_section(kind)]
    assert len(left) == 8
    for section in left:
        assert all(field.is_required() for field in section.model_fields.values()), section
        left += [kind for kind in annotations(section).values() if is_section(kind)]


def is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def changed(folder: Path, **changes: Any) -> Path:
    """A params.yaml in which the key `a__b` is another value, or gone where that is None."""
    params = read_params(PROJECT)
    for path, value in changes.items():
        *sections, key = path.split("__")
        section = params
        for name in sections:
            section = section[name]
        section.pop(key, None)
        if value is not None:
            section[key] = value
    write_params(folder, params)
    return folder / "params.yaml"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"dataset": "helpster2"},
            "dataset=helpster2 is not an entry of datasets in params.yaml (did you mean "
            "helpsteer2? there are: helpsteer2, helpsteer2-responses, sample): choose",
        ),
        ({"backbone": "x" * 999}, f"backbone={'x' * 200}... is not an entry of backbones in"),
        ({"trian": {}}, "has an unknown key trian (did you mean train? there are: backbone,"),
        ({"train": None}, "params.yaml has no train: add it; `git"),
        ({"train": 3}, "train=3 in params.yaml is not valid: Input should be a valid dictionary"),
        (
            {"train__loss": "plackettluce"},
            "train.loss='plackettluce' in params.yaml is not valid: Input should be 'bradley-t",
        ),
        ({"evaluate__rating_gaps": [2, 1]}, "rating_gaps=[2.0, 1.0] must rise, from above 0"),
        ({"testsets__My set": {"source": "x"}}, "My set"),
        ({"max_length": 15}, "max_length=15 in params.yaml is not valid: Input should be greater"),
        ({"train__epoch": 3}, "has an unknown key train.epoch (did you mean epochs? there are"),
        ({"train__epochs": None}, "params.yaml has no train.epochs: add it; `git"),
        ({"train__micro_batch_tokens": 9}, "train.micro_batch_tokens=9 in params.yaml is not"),
        ({"states__micro_batch_tokens__gpu": 9}, "has an unknown key states.micro_batch_tokens.gp"),
        ({"download__quality__ties": 9}, "has an unknown key download.quality.ties (did you mean"),
        ({"datasets__sample__sorce": "x"}, "unknown key datasets.sample.sorce (did you mean sourc"),
        ({"testsets__mine": {"sorce": "x"}}, "unknown key testsets.mine.sorce (did you mean sourc"),
        (
            {"backbones__tiny__lora": {"rnk": 1}},
            "unknown key backbones.tiny.lora.rnk (did you mean",
        ),
        (
            {"backbones__tiny__layers": None},
            "params.yaml has no backbones.tiny.layers: add it; `gi",
        ),
    ],
)
def test_a_wrong_name_or_value_is_one_sentence(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    path = changed(tmp_path, **changes)
    with pytest.raises(InputError) as caught:
        choose(load_params(ChooseParams, path), tmp_path / "chosen.json")
    said = str(caught.value).replace(str(path), "params.yaml")
    assert sentence in said
    assert said.endswith(f"; {PUT_BACK}.")
    assert "\n" not in said
    assert not (tmp_path / "chosen.json").exists()


def test_a_value_that_only_other_stages_read_changes_nothing(tmp_path: Path) -> None:
    for folder, epochs in (("one", 3), ("other", 4)):
        (tmp_path / folder).mkdir()
        path = changed(tmp_path / folder, train__epochs=epochs)
        choose(load_params(ChooseParams, path), tmp_path / folder / "chosen.json")
    one, other = ((tmp_path / folder / "chosen.json").read_bytes() for folder in ("one", "other"))
    assert one == other
    assert json.loads(one) == {"dataset": "sample", "backbone": "tiny"}


def test_it_starts_without_what_takes_seconds() -> None:
    slow = "{'torch', 'transformers', 'sklearn', 'pyarrow', 'numpy', 'datasets'}"
    program = f"import sys, stages.choose; print(sorted({slow} & {{*sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
