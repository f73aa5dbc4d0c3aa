"""How a conversation becomes token ids: chat template, tokenizer, truncation, and the records of
data/tokens. Imports harness alone, and no torch. Used by the stages tokenize, testsets and stats,
and by scoring, evaluation and serving."""
