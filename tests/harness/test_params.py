"""reward.harness.params and strict_yaml: every mistake in params.yaml is one sentence."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from reward.harness.errors import InputError
from reward.harness.params import Params, Seed, load_params
from reward.harness.strict_yaml import MOST_VALUES, read_yaml

PROJECT = Path(__file__).parents[2]


class Section(Params):
    rate: float = Field(gt=0)
    bounds: tuple[float, float] = (0.5, 1.0)
    weights: dict[str, float] | None = None
    switch: bool = False
    name: str = "mine"


class All(Params):
    seed: Seed
    section: Section


def load(folder: Path, text: str | bytes) -> All:
    path = folder / "params.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_params(All, path)


def fails(folder: Path, text: str | bytes) -> str:
    with pytest.raises(InputError) as caught:
        load(folder, text)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    assert len(sentence) < 1000
    return sentence.replace(str(folder / "params.yaml"), "params.yaml")


GOOD = "seed: 1\nsection: {rate: 0.5}\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("seed: 1\nsection:\n\trate: 1\n", "Line 3 of params.yaml is not valid YAML (found charac"),
        (
            "seed: 1\nsection: !!python/object/apply:os.system [ls]\n",
            "Line 2 of params.yaml is not",
        ),
        ("seed: !mine 1\n", "Line 1 of params.yaml is not valid YAML (could not determine a con"),
        (f"{GOOD}# caf\xe9\n".encode("latin-1"), "Line 3 of params.yaml is not UTF-8: save"),
        (GOOD.encode("utf-16"), "Line 1 of params.yaml is not UTF-8: save"),
        (f"{GOOD}seed: 2\n", "Line 3 of params.yaml has the key seed a second time: remove"),
        ("seed: 1\nsection: {rate: 1, rate: 2}\n", "Line 2 of params.yaml has the key rate a se"),
        ("", "params.yaml holds nothing in place of keys with values: restore it"),
        ("# a comment\n", "params.yaml holds nothing in place of keys with values: restore it"),
        ("- seed\n- 1\n", "params.yaml holds a list in place of keys"),
        ("seed", "params.yaml holds a str in place of keys"),
        ("seed: [1, 2\n", "Line 2 of params.yaml is not valid YAML"),
        (f"{GOOD}---\n{GOOD}", "Line 3 of params.yaml is not valid YAML (but found another docum"),
        ("seed: &a [*a]\n", "Line 1 of params.yaml holds an alias of itself: write it out."),
        ("seed: *a\n", "Line 1 of params.yaml is not valid YAML (found undefined alias"),
        ("seed: \x00\n", "params.yaml is not valid YAML (unacceptable character #x0000"),
        ("seed: 2001-99-99\n", "params.yaml is not valid YAML (month must be in 1..12"),
        (f"seed: {'1' * 5000}\n", "params.yaml is not valid YAML (Exceeds the limit"),
        ("seed: " + "[" * 5000, "params.yaml is nested deeper than anybody reads: correct it."),
        ("? [1, 2]\n: 3\n", "Line 1 of params.yaml is not valid YAML (found unhashable key"),
        ("? {1: 2}\n: 3\n", "Line 1 of params.yaml is not valid YAML (found unhashable key"),
        ("seed: 1\n", "params.yaml has no section: add it; `git show"),
        (
            "seed: 1\nsection: {rate: 1, raet: 2}\n",
            "params.yaml has an unknown key section.raet",
        ),
        ("seed: true\nsection: {rate: 1}\n", "seed=True in params.yaml is not valid: true, false"),
        ("seed: 1\nsection: {rate: yes}\n", "section.rate=True in params.yaml is not valid: true"),
        ("seed: 1\nsection: {rate: 1, name: no}\n", "section.name=False in params.yaml is not val"),
        ("seed: 1\nsection: {rate: 1, bounds: [0, on]}\n", "section.bounds=[0, True] in params"),
        ("seed: 1\nsection: {rate: 1, weights: {a: off}}\n", "section.weights={'a': False} in"),
        ("seed: 1\nsection: {rate: .nan}\n", "section.rate=nan in params.yaml is not valid: "),
        ("seed: 1\nsection: {rate: .inf}\n", "section.rate=inf in params.yaml is not valid: "),
        (f"seed: 1\nsection: [{'x, ' * 9999}]\n", "section=['x', 'x', "),
        ("seed: 1\nsection: {rate: 1, " + "".join(f"x{n}: 1, " for n in range(99)) + "}", "params"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, text: str | bytes, sentence: str) -> None:
    assert fails(tmp_path, text).startswith(sentence)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no .*params.yaml here: run this in the fold"):
        load_params(All, tmp_path / "params.yaml")


def test_aliases_of_aliases_end_before_they_are_followed(tmp_path: Path) -> None:
    """Nine times nine times nine ...: 3.5 billion values in 11 lines."""
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    sentence = fails(tmp_path, "\n".join([*lines, "seed: *a9"]))
    assert f"stands for more than {MOST_VALUES:,} values: write less." in sentence


def test_what_yaml_allows_is_read(tmp_path: Path) -> None:
    found = load(tmp_path, "base: &base {rate: 2}\nseed: 3\nsection: {<<: *base, switch: yes}\n")
    assert (found.section.rate, found.section.switch) == (2, True)
    found = load(tmp_path, "\ufeffseed: 1\nsection: {rate: 1}")
    assert found.seed == 1


@pytest.mark.parametrize("spelled", ["1e-05", "'1e-5'", "0.00001", "1.0e-5"])
def test_a_number_may_be_spelled_as_dvc_writes_it(tmp_path: Path, spelled: str) -> None:
    assert load(tmp_path, f"seed: 1\nsection: {{rate: {spelled}}}\n").section.rate == 1e-5


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(values=st.dictionaries(st.text(), plain, min_size=1))
def test_plain_values_are_read_as_yaml_has_them(
    values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("yaml") / "params.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    assert read_yaml(path) == yaml.safe_load(path.read_text(encoding="utf-8"))


@given(
    content=st.binary(max_size=60) | st.text(alphabet="ab:,-[]{}&*!?|>'\"# \n\t1.~").map(str.encode)
)
def test_no_bytes_end_in_anything_but_values_or_a_sentence(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("yaml") / "params.yaml"
    path.write_bytes(content)
    with suppress(InputError):
        assert isinstance(read_yaml(path), dict)


def test_the_projects_own_params_are_read() -> None:
    assert read_yaml(PROJECT / "params.yaml")["max_length"] == 256
