#!/usr/bin/env bash
# What the containers do, for a test to run without them.
#
#     container.sh install SOURCE EXTRA[,EXTRA]   an environment in $PREFIX with trm-deploy from SOURCE, a checkout or a wheel
#     container.sh check                          that it solves a puzzle, and that there is no PyTorch in it
#     container.sh serve [FLAG...]                trm-deploy serve on every address of the container, with a token
#     container.sh health                         whether the server is ready: exit code 0 or 1
#     container.sh COMMAND ...                    any other command of trm-deploy: run, verify, doctor ...
#
# PREFIX             the environment; /opt/trm-deploy
# SYSTEM_PACKAGES    1: the environment sees the system's packages, as TensorRT of JetPack or of NVIDIA's containers
# PORT               that is served; 8080
# TRM_DEPLOY_TOKEN   the token that requests bring; or the file /run/secrets/trm-deploy-token, which may be mounted
set -euo pipefail

prefix="${PREFIX:-/opt/trm-deploy}"
port="${PORT:-8080}"
secret="${TOKEN_SECRET:-/run/secrets/trm-deploy-token}"
command="$prefix/bin/trm-deploy"

install() {
    local flags=()
    [ "${SYSTEM_PACKAGES:-}" != 1 ] || flags+=(--system-site-packages)
    python3 -m venv ${flags[@]+"${flags[@]}"} "$prefix"
    "$prefix/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir "${1}[${2}]"
}

check() {
    # A puzzle with one empty cell: the model is loaded, run, and its answer verified.
    "$command" run --strict --quiet \
        53467891267219534819834256785976142342685379171392485696153728428741963534528617. > /dev/null
    if [ "${SYSTEM_PACKAGES:-}" != 1 ] && "$prefix/bin/python" -c 'import torch' 2> /dev/null; then
        echo "error: PyTorch is in $prefix, which is for running only" >&2
        exit 1
    fi
}

serve() {
    local token
    # In a file that nobody else can read: a secret that is mounted may be readable for all in the container.
    token="$(mktemp)"
    if [ -n "${TRM_DEPLOY_TOKEN:-}" ]; then
        printf '%s\n' "$TRM_DEPLOY_TOKEN" > "$token"
    elif [ -r "$secret" ]; then
        cat "$secret" > "$token"
    else
        rm -f "$token"
        echo "error: there is no token, and whoever reaches the container could use it;" \
            "set TRM_DEPLOY_TOKEN, or mount $secret" >&2
        exit 2
    fi
    unset TRM_DEPLOY_TOKEN
    exec "$command" serve --host 0.0.0.0 --port "$port" --token-file "$token" "$@"
}

health() {
    "$prefix/bin/python" - "$port" << 'EOF'
import sys, urllib.request

try:
    answer = urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/v2/health/ready", timeout=3)
except OSError:
    sys.exit(1)
sys.exit(answer.status != 200)
EOF
}

case "${1:-}" in
    install | check | serve | health) "$@" ;;
    *) exec "$command" "$@" ;;
esac
