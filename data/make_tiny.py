"""Write data/sources/tiny: a two-layer GPT-2-shaped backbone without weights, and its tokenizer.

    python data/make_tiny.py

The tokenizer is a byte-level BPE trained on the text of data/sources/sample.jsonl, so it encodes
any text and the sample in few tokens. The weights are drawn by whoever trains it: a folder of
configuration and vocabulary is all a backbone needs where nothing was learnt before.
"""

import argparse
import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, PreTrainedTokenizerFast

SOURCES = Path(__file__).parent / "sources"
VOCABULARY = 2048
PAD, END_OF_TEXT, END_OF_TURN = "<|pad|>", "<|endoftext|>", "<|end|>"
SPECIAL = [PAD, END_OF_TEXT, "<|system|>", "<|user|>", "<|assistant|>", END_OF_TURN]

# Every turn is its role's marker, a line break, its text and the end marker, which comes last so
# that the token whose score counts stands right behind the answer's own last token.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)


def main(sample: Path, folder: Path) -> None:
    """Train the tokenizer on the sample and write it to `folder` with the model's configuration."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_trained(_texts(sample)),
        pad_token=PAD,
        eos_token=END_OF_TEXT,
        bos_token=END_OF_TEXT,
        unk_token=END_OF_TEXT,
        model_max_length=1024,
        chat_template=CHAT_TEMPLATE,
    )
    tokenizer.save_pretrained(folder)
    _config(tokenizer).save_pretrained(folder)
    for path in sorted(folder.iterdir()):
        print(f"{path.name:24} {path.stat().st_size:8} bytes")


def _texts(sample: Path) -> list[str]:
    texts = []
    for line in sample.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        texts += [row["prompt"], row["chosen"][-1]["content"], row["rejected"][-1]["content"]]
    return texts


def _trained(texts: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _config(tokenizer: PreTrainedTokenizerFast) -> GPT2Config:
    return GPT2Config(
        architectures=["GPT2LMHeadModel"],
        vocab_size=VOCABULARY,
        n_positions=1024,
        n_embd=128,
        n_layer=2,
        n_head=4,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--sample",
        type=Path,
        default=SOURCES / "sample.jsonl",
        help="pairs that the tokenizer is made from (default: data/sources/sample.jsonl)",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=SOURCES / "tiny",
        help="the folder to write (default: data/sources/tiny)",
    )
    arguments = parser.parse_args()
    main(arguments.sample, arguments.folder)
