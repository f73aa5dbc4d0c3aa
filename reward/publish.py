"""Model, tokenizer and card in one folder: `python -m reward.publish FOLDER`.

The folder is then ready for `hf upload USER/NAME FOLDER`; nothing is sent from here.
"""

from reward.harness.endings import ends_in_a_sentence

import argparse
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import ModelCard

from reward.harness.errors import InputError
from reward.harness.files import check_output, dvc_hash, replacing


def main() -> None:
    """The command line."""
    with ends_in_a_sentence("publish"):
        options = _options()
        facts = {"license": options.license, "language": options.language}
        publish(options.folder, options.model, options.card, **facts)
        print(f"{options.folder} is ready: hf upload USER/NAME {options.folder}")
        if unsaid := [f"--{name}" for name, value in facts.items() if not value]:
            print(f"its card does not say what {' and '.join(unsaid)} would tell it")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m reward.publish",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="a new folder, for all that goes to the hub")
    parser.add_argument(
        "--model",
        type=Path,
        default=Path("data/model"),
        help="the model's folder (default: data/model)",
    )
    parser.add_argument(
        "--card",
        type=Path,
        default=Path("data/model_card.md"),
        help="the model card (default: data/model_card.md)",
    )
    parser.add_argument(
        "--license",
        help="the model's licence, as the hub calls it: apache-2.0, cc-by-4.0, other, ...",
    )
    parser.add_argument(
        "--language", nargs="+", metavar="CODE", help="languages that it was trained on: en de ..."
    )
    return parser.parse_args()


def publish(
    folder: Path,
    model: Path,
    card: Path,
    license: str | None = None,
    language: Sequence[str] | None = None,
) -> None:
    """Copy a model's folder to a new one, with its card as README.md.

    license, language: what the card's metadata shall say of them, by the hub's names.

    Raises InputError where model or card are missing, where the card is of another model, where a
    licence or language has no such name, and where the folder is there already.
    """
    for path, stage in ((model / "config.json", "train"), (card, "report")):
        if not path.is_file():
            raise InputError(f"{path} is missing, which the stage {stage} writes: run `dvc repro`.")
    text = card.read_text(encoding="utf-8")
    if dvc_hash(model) not in text:
        raise InputError(f"{card} describes another model than {model} holds: run `dvc repro`.")
    check_output(folder)
    if folder.resolve().is_relative_to(model.resolve()):
        raise InputError(f"{folder} is in {model}, which is copied: name a folder elsewhere.")
    if folder.exists():
        raise InputError(f"{folder} is there already: name a new folder, or remove it first.")
    text = _completed(text, license, language)
    with replacing(folder) as partial:
        # File by file: what DVC has linked from its cache is read-only there.
        partial.mkdir()
        for file in model.rglob("*"):
            if file.is_file():
                (partial / file.relative_to(model)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, partial / file.relative_to(model))
        (partial / "README.md").write_text(text, encoding="utf-8")


def _completed(text: str, license: str | None, language: Sequence[str] | None) -> str:
    """A card whose metadata has licence and languages, where they are given."""
    if license and not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", license):
        raise InputError(
            f"--license={license} is no name of a licence on the hub: give one such as apache-2.0."
        )
    for code in language or ():
        if not re.fullmatch(r"[a-z]{2,3}", code):
            raise InputError(f"--language={code} is no ISO 639 code: give one such as en.")
    if not license and not language:
        return text
    completed = ModelCard(text)
    given = {"license": license, "language": language}
    for name, value in given.items():
        if value:
            setattr(completed.data, name, value)
    return str(completed)


if __name__ == "__main__":
    main()
