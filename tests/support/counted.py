"""Runs a module as `python -m` does and asserts, in the process itself, how many work together.

For a launcher: `torchrun --nproc_per_node 2 tests/support/counted.py 2 FOLDER -m stages.train ...`.
Each process that has worked with the others leaves a file in FOLDER, such as train-0 for rank 0,
which holds the name of the network that it ran in.
"""

import runpy
import sys
from pathlib import Path

NETWORK = Path("/proc/self/ns/net")  # on Linux, where network namespaces are


def main() -> None:
    expected, folder, flag, module = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    assert flag == "-m"
    sys.argv[:] = [module, *sys.argv[5:]]
    sys.path.insert(0, str(Path(__file__).parents[2]))
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            raise
    from accelerate import PartialState  # its state is the one that the module has joined

    state = PartialState()
    assert state.num_processes == expected, f"{state.num_processes} of {expected} processes"
    folder.mkdir(parents=True, exist_ok=True)
    stage = module.rpartition(".")[2]
    network = str(NETWORK.readlink()) if NETWORK.is_symlink() else "the only one"
    with (folder / f"{stage}-{state.process_index}").open("x", encoding="utf-8") as file:
        file.write(network)


if __name__ == "__main__":
    main()
