"""The course of training: a CSV with a row per step, and one moving bar or a line a minute."""

import csv
import math
import sys
from pathlib import Path
from time import monotonic
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from reward.harness.results import rounded

LINE_SECONDS = 60  # between two lines where stderr is no terminal
LINE = "{desc}: {n_fmt} of {total_fmt} steps [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


class Progress(TrainerCallback):
    """One row per step in the curve's CSV and one moving bar, while the run goes on.

    Where stderr is no terminal but a file or a pipe, the bar is a line a minute and one at the end.
    Rows of a run that goes on from a checkpoint are written again from the checkpoint's history,
    so the file is the one of an uninterrupted run. A number that is not finite leaves its cell
    empty: where float16 overflows, the gradient of that step is infinite and the step is left out.
    """

    COLUMNS = ("step", "epoch", "split", "loss", "accuracy", "margin", "learning_rate", "grad_norm")

    def __init__(self, curve: Path, steps_per_epoch: float):
        self.curve, self.steps_per_epoch = curve, steps_per_epoch

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if not state.is_world_process_zero:
            return
        self.began, self.first_step = monotonic(), state.global_step
        self.last_line, self.now = self.began, ""
        self.in_lines = not sys.stderr.isatty()
        self.bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc="train",
            unit="step",
            disable=self.in_lines,
        )
        self.file = self.curve.open("w", encoding="utf-8", newline="")
        self.rows = csv.DictWriter(self.file, self.COLUMNS, lineterminator="\n")
        self.rows.writeheader()
        for logs in state.log_history:
            self._write(logs)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        logs = given["logs"]
        if not state.is_world_process_zero:
            return
        self._write(logs | {"step": state.global_step})
        if "loss" in logs:
            self.now = f"loss={logs['loss']:.3f}, accuracy={logs['accuracy']:.2f}"
        self.bar.set_postfix_str(self.now, refresh=False)
        self.bar.update(state.global_step - self.bar.n)
        if self.in_lines and monotonic() - self.last_line >= LINE_SECONDS:
            self._print(state)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.is_world_process_zero:
            self.bar.close()
            if self.in_lines:
                self._print(state)
            self.file.close()

    def _print(self, state: TrainerState) -> None:
        self.last_line = monotonic()
        line = tqdm.format_meter(
            state.global_step,
            state.max_steps,
            self.last_line - self.began,
            prefix="train",
            unit="step",
            initial=self.first_step,
            postfix=self.now,
            bar_format=LINE,
        )
        print(line, file=sys.stderr, flush=True)

    def _write(self, logs: dict[str, float]) -> None:
        row = {"step": logs["step"], "epoch": logs["step"] / self.steps_per_epoch}
        if "eval_log_loss" in logs:
            row |= {"loss": logs["eval_log_loss"], "accuracy": logs["eval_accuracy"]}
            self._write_row(row, "validation")
        elif "loss" in logs:
            self._write_row(row | {name: logs[name] for name in self.COLUMNS[3:]}, "train")
        self.file.flush()

    def _write_row(self, row: dict[str, float], split: str) -> None:
        cells = {name: rounded(x) if math.isfinite(x) else None for name, x in row.items()}
        self.rows.writerow(cells | {"split": split})
