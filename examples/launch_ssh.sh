#!/usr/bin/env bash
# Starts train and evaluate on several hosts over ssh, one process for each GPU:
#
#     HOSTS="node1 node2" GPUS=8 INTERFACE=eth0 \
#         dvc exp run -S launcher=examples/launch_ssh.sh
#
# DVC runs on one machine, which reaches every host by ssh without a password. The project, with its
# .venv, lies in a folder that all hosts share under the same path. Settings are variables:
#
#   HOSTS        names or addresses; process 0, which writes every file, runs on the first
#   GPUS         processes a host (1)
#   INTERFACE    network interface by which the hosts reach each other (`ip addr` lists them). Left
#                out, gloo and NCCL choose, and may choose one that leads nowhere. It must have the
#                same name on every host
#   MASTER_ADDR  address of the first host as the others see it (the first of HOSTS)
#   MASTER_PORT  a port that is free there (29500)
#   REACH        the command that runs another one on a host whose name follows
#                (ssh -o BatchMode=yes)
#
# NCCL_*, GLOO_*, OMP_*, PATH, PYTHONPATH and DVC_ROOT are handed on; other variables are not. Needs bash 5.1 on
# the machine with DVC.
#
# When a process fails, the others have ten seconds to say what they lost, then they are ended. When
# this script ends for any other reason (Ctrl-C, or killed), so do all processes: each host keeps
# its own only as long as the line to this script is open.
set -u

read -ra hosts <<<"${HOSTS:?names of the hosts, in quotes}"
read -ra reach <<<"${REACH:-ssh -o BatchMode=yes}"
gpus=${GPUS:-1}

handed_on='^(RANK|WORLD_SIZE|LOCAL_.*|MASTER_.*|NCCL_.*|GLOO_.*|OMP_.*|PATH|PYTHONPATH|DVC_ROOT)$'

# Every host's line stays open until this script closes 9 or ends, however it ends.
folder=$(mktemp -d)
mkfifo "$folder/line"
exec 9<>"$folder/line"
exec 8<"$folder/line"
rm -r "$folder"

ended_in_ten_seconds() {
    local tenth
    for ((tenth = 0; tenth < 100; tenth++)); do
        [ -n "$(jobs -rp)" ] || return 0
        sleep 0.1
    done
    return 1
}

# shellcheck disable=SC2317  # reached through the trap
end() {
    trap '' INT TERM HUP
    exec 9>&-
    # A host that cannot be reached any more does not answer.
    ended_in_ten_seconds || jobs -rp | xargs kill
    wait
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# What a host's bash reads: variables, the command, and an eye on the line.
program() { # rank and GPU, then the arguments of python
    local rank=$1 gpu=$2 name
    shift 2
    export RANK=$rank LOCAL_RANK=$gpu LOCAL_WORLD_SIZE=$gpus WORLD_SIZE=$((${#hosts[@]} * gpus))
    export MASTER_ADDR=${MASTER_ADDR:-${hosts[0]}} MASTER_PORT=${MASTER_PORT:-29500}
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
    if [ -n "${INTERFACE:-}" ]; then
        export GLOO_SOCKET_IFNAME=$INTERFACE NCCL_SOCKET_IFNAME=$INTERFACE
    fi
    echo '{'
    printf 'cd %q || exit 1\n' "$PWD"
    while read -r name; do
        printf 'export %s=%q\n' "$name" "${!name}"
    done < <(compgen -e | grep -E "$handed_on")
    printf 'python'
    printf ' %q' "$@"
    cat <<'HOST'
 </dev/null &
rank=$!
{
    while read -r _; do :; done
    kill "$rank"
    for _ in 1 2 3 4 5; do sleep 1; done
    kill -KILL "$rank"
} <&0 >/dev/null 2>&1 &
line=$!
wait "$rank"
status=$?
kill "$line"
exit "$status"
}
HOST
}

declare -A started # process id: what it is
for ((rank = 0; rank < ${#hosts[@]} * gpus; rank++)); do
    host=${hosts[rank / gpus]}
    "${reach[@]}" "$host" bash -s < <(
        exec 9>&-
        program "$rank" $((rank % gpus)) "$@"
        exec cat <&8
    ) 8<&- 9>&- &
    started[$!]="process $rank on $host"
done

for ((left = ${#started[@]}; left > 0; left--)); do
    wait -n -p ended 2>/dev/null # else bash says in its own words what was killed
    status=$?
    if ((status != 0)); then
        echo "launch_ssh.sh: ${started[$ended]} ended with exit status $status" >&2
        ended_in_ten_seconds
        exit "$status"
    fi
done
