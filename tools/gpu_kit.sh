#!/usr/bin/env bash
# Measures a machine that has a GPU and PyTorch, and no network, from the parts that `make gpu-kit` made elsewhere:
#
#     tools/gpu_kit.sh PART... [-- --output FOLDER --dry-run ...]
#
# with that machine's own Python (PYTHON, python3 by default): no environment is made, pip is not needed. Parts may come
# in several calls, as where each copy is limited: what came is kept in TRM_DEPLOY_KIT (/tmp/trm-deploy-kit), and the
# call that completes the kit measures. Writes gpu.json and gpu.md into build/gpu. Exit codes: 0 done, 1 a runtime fails,
# 3 parts are missing, 5 there is nothing to measure.
set -euo pipefail

python=${PYTHON:-python3}
store=${TRM_DEPLOY_KIT:-/tmp/trm-deploy-kit}
parts=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    parts+=("$1")
    shift
done
[ $# -eq 0 ] || shift
if [ ${#parts[@]} -eq 0 ] && [ ! -d "$store" ]; then
    echo "usage: $0 PART... [-- FLAG...]; the parts come from: make gpu-kit" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
unpack=$here/unpack.py                               # as it is in a part
[ -f "$unpack" ] || unpack=$here/gpu_kit/unpack.py   # as it is in a checkout
"$python" "$unpack" "$store" ${parts[@]+"${parts[@]}"}
"$python" -c 'import torch' || { echo "error: $python has no PyTorch; name one that has: PYTHON=... $0" >&2; exit 1; }
PYTHONPATH=$store/site exec "$python" -m gpu_kit.device "$@"
