#!/bin/sh
# What a pod does before it is stopped (preStop): drain.sh SECONDS. Tells Ray that this node goes, so that Serve starts its
# replicas elsewhere and sends them nothing more, and waits until they have left, or until the time is over.
set -eu
deadline_s=$1
end=$(($(date +%s) + deadline_s))

ray drain-node --address "$RAY_ADDRESS" --reason DRAIN_NODE_REASON_PREEMPTION --reason-message "its pod is to stop" \
    --deadline-remaining-seconds "$deadline_s"
while [ "$(date +%s)" -lt "$end" ] && grep -qs 'Serve[R]eplica' /proc/[0-9]*/cmdline; do sleep 1; done
