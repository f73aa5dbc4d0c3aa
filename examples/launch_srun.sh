#!/usr/bin/env bash
# Starts train and evaluate on the nodes of a Slurm allocation, one process for each task:
#
#     salloc --nodes 2 --ntasks-per-node 8 --gpus-per-node 8 --cpus-per-task 8
#     INTERFACE=ib0 dvc exp run -S launcher=examples/launch_srun.sh
#
# or the second line in a script for sbatch. Not run: no Slurm at hand when this was written; only
# its syntax was checked.
#
# DVC runs on one node, in the allocation. The project, with its .venv, lies in a folder that all
# nodes share under the same path. Settings are variables:
#
#   INTERFACE    network interface by which the nodes reach each other (`ip addr` lists them). Left
#                out, gloo and NCCL choose, and may choose one that leads nowhere. It must have the
#                same name on every node
#   MASTER_PORT  a port that is free on the first node (one that follows from the job's number)
#
# srun hands on all variables. It ends every process when one fails (--kill-on-bad-exit), at the
# first Ctrl-C (--quit-on-interrupt), and when it is terminated itself, which it is in this script's
# place (exec).
set -eu

: "${SLURM_JOB_NODELIST:?start this in an allocation, by salloc or sbatch}"
read -r MASTER_ADDR < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
export MASTER_ADDR
export MASTER_PORT=${MASTER_PORT:-$((20000 + SLURM_JOB_ID % 20000))}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
if [ -n "${INTERFACE:-}" ]; then
    export GLOO_SOCKET_IFNAME=$INTERFACE NCCL_SOCKET_IFNAME=$INTERFACE
fi

# Slurm says in each task which one it is, and torch asks for it under other names.
# shellcheck disable=SC2016  # to be expanded in the task
exec srun --kill-on-bad-exit=1 --quit-on-interrupt bash -c '
    export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS
    export LOCAL_WORLD_SIZE=$((SLURM_NTASKS / SLURM_NNODES))
    exec python "$@"
' task "$@"
