#!/usr/bin/env bash
# On a cluster with SLURM: a Ray cluster over the nodes of one job, and on the first of them the command given.
#
#   sbatch --nodes=4 profiles/slurm.sh dvc exp run -S grid.executor=ray
#   sbatch --nodes=2 --gpus-per-node=8 profiles/slurm.sh dvc repro      # with executor: ray in params.yaml
#
# The folder lies on a file system that all nodes share, with its .venv. A job that is cut short goes on where it stopped
# when it is submitted again.

#SBATCH --job-name=robust-transfer
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --output=slurm-%j.log

set -euo pipefail
export PATH="$PWD/.venv/bin:$PATH" RAY_USAGE_STATS_ENABLED=0
RAY_ADDRESS="$(hostname --ip-address | cut -d' ' -f1):${RAY_PORT:-6379}"
RAY_AUTH_TOKEN="$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')" # of this job: nobody else's processes join it
export RAY_ADDRESS RAY_AUTH_TOKEN RAY_AUTH_MODE=token

wait_for() { # so many nodes
    for _ in $(seq 120); do
        [ "$(grep -ls 'Ray runtime started' "slurm-$SLURM_JOB_ID"-*.log | wc -l)" -ge "$1" ] && return
        sleep 1
    done
    echo "after two minutes there are not $1 nodes; slurm-$SLURM_JOB_ID-*.log may say why" >&2
    exit 1
}

trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT # all of Ray ends with the job
ray start --block --head --port="${RAY_ADDRESS##*:}" --num-cpus="$SLURM_CPUS_ON_NODE" --include-dashboard=false >"slurm-$SLURM_JOB_ID-head.log" 2>&1 &
wait_for 1
if [ "$SLURM_NNODES" -gt 1 ]; then
    others=$((SLURM_NNODES - 1))
    srun --nodes="$others" --ntasks="$others" --exclude="$SLURMD_NODENAME" --output="slurm-$SLURM_JOB_ID-%n.log" \
        bash -c 'exec ray start --block --address="$RAY_ADDRESS" --num-cpus="$SLURM_CPUS_ON_NODE"' &
    wait_for "$SLURM_NNODES"
fi
"$@"
