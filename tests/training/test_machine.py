"""reward/training/machine.py: what is recorded of the machine, and how another one differs."""

import json

import torch

from reward.training.machine import differences, this_machine


def test_the_record_is_that_of_this_process() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        here = this_machine()
    finally:
        torch.set_num_threads(before)
    assert here["threads"] == 3
    assert here["torch"] == torch.__version__
    assert here["processor"].strip()
    assert json.loads(json.dumps(here)) == here


def test_the_same_record_gives_no_difference_and_another_one_names_it() -> None:
    here = this_machine()
    assert differences({"processes": 2, **here}) == []
    assert differences(here | {"torch": "1.0", "threads": here["threads"]}) == [
        f"torch 1.0, here {torch.__version__}"
    ]
    del here["device"]
    assert differences(here)[0].startswith("device None, here ")
