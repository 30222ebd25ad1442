#!/bin/bash
# One-node Slurm on this machine for the time of a command, without a container: as root, with Debian's packages
#     apt-get install slurm-wlm munge
#     benchmarks/slurm_here.sh python -m benchmarks.faults --on slurm
# It exports SLURM_CONF, waits until the node is idle, runs the command, and ends what it has started.
set -euo pipefail
here=$(mktemp -d /tmp/slurm_here.XXXXXX)
cores=${SLURM_CORES:-$(nproc)}
host=$(hostname -s)
mkdir -p "$here"/{munge,state,spool}
chmod 755 "$here"
dd if=/dev/urandom of="$here/munge/key" bs=1024 count=1 status=none
chmod 400 "$here/munge/key"
chmod 711 "$here/munge"
export SLURM_CONF=$here/slurm.conf
cat > "$SLURM_CONF" <<CONF
ClusterName=here
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/munge
AuthInfo=socket=$here/munge/socket
CredType=cred/munge
StateSaveLocation=$here/state
SlurmdSpoolDir=$here/spool
SlurmctldPidFile=$here/slurmctld.pid
SlurmdPidFile=$here/slurmd.pid
SlurmctldLogFile=$here/slurmctld.log
SlurmdLogFile=$here/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdTimeout=${SLURMD_TIMEOUT:-30}
MinJobAge=600
KillWait=30
MaxArraySize=${MAX_ARRAY_SIZE:-1001}
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
end() {
    scancel --quiet --user=root 2>/dev/null || true
    for _ in $(seq 100); do
        [ -z "$(squeue -h 2>/dev/null)" ] && break
        sleep 0.2
    done
    for daemon in slurmd slurmctld munge/munged; do
        [ -f "$here/$daemon.pid" ] && kill "$(cat "$here/$daemon.pid")" 2>/dev/null || true
    done
    for _ in $(seq 25); do  # munged removes its socket when it ends
        [ -n "${KEEP_SLURM_LOGS:-}" ] || rm -rf "$here" 2>/dev/null && break
        sleep 0.2
    done
}
trap end EXIT
munged --force --key-file="$here/munge/key" --socket="$here/munge/socket" --pid-file="$here/munge/munged.pid" \
    --log-file="$here/munge/log" --seed-file="$here/munge/seed"
slurmctld -c
slurmd -c
for _ in $(seq 150); do
    sinfo -h -o %t 2>/dev/null | grep -q idle && break
    sleep 0.2
done
sinfo -h -o %t | grep -q idle || { tail -5 "$here"/slurm*.log >&2; exit 1; }
"$@"
