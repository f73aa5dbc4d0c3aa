"""Model, tokenizer and card in one folder: `python -m reward.publish FOLDER`.

The folder is then ready for `hf upload USER/NAME FOLDER`; nothing is sent from here.
"""

from reward.harness.endings import ends_in_a_sentence

import argparse
import shutil
from pathlib import Path

from reward.harness.errors import InputError
from reward.harness.files import check_output, dvc_hash, replacing


def main() -> None:
    """The command line."""
    with ends_in_a_sentence("publish"):
        options = _options()
        publish(options.folder, options.model, options.card)
        print(f"{options.folder} is ready: hf upload USER/NAME {options.folder}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m reward.publish",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--model", type=Path, default=Path("data/model"), help="what train wrote")
    parser.add_argument(
        "--card", type=Path, default=Path("data/model_card.md"), help="what report wrote"
    )
    return parser.parse_args()


def publish(folder: Path, model: Path, card: Path) -> None:
    """Copy a model's folder to a new one, with its card as README.md.

    Raises InputError where model or card are missing, where the card is of another model and where
    the folder is there already.
    """
    for path, stage in ((model / "config.json", "train"), (card, "report")):
        if not path.is_file():
            raise InputError(f"{path} is missing, which the stage {stage} writes: run `dvc repro`.")
    if dvc_hash(model) not in card.read_text(encoding="utf-8"):
        raise InputError(f"{card} describes another model than {model} holds: run `dvc repro`.")
    check_output(folder)
    if folder.resolve().is_relative_to(model.resolve()):
        raise InputError(f"{folder} is in {model}, which is copied: name a folder elsewhere.")
    if folder.exists():
        raise InputError(f"{folder} is there already: name a new folder, or remove it first.")
    with replacing(folder) as partial:
        # File by file: what DVC has linked from its cache is read-only there.
        partial.mkdir()
        for file in model.rglob("*"):
            if file.is_file():
                (partial / file.relative_to(model)).parent.mkdir(exist_ok=True)
                shutil.copyfile(file, partial / file.relative_to(model))
        shutil.copyfile(card, partial / "README.md")


if __name__ == "__main__":
    main()
