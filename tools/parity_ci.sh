#!/usr/bin/env bash
# The steps of the GitHub Action (action.yml), by their names, in their order: install, export, parity.
#
#     CHECKPOINT=model/ema.pt PUZZLES=model/puzzles.csv tools/parity_ci.sh export parity
#
# CHECKPOINT     the checkpoint to export
# PUZZLES        puzzles to compare on; the task's examples where it is empty
# BASELINE       report.json of an accepted run, which no share may fall below
# EXPORT_FLAGS   further flags of trm-deploy export, separated by spaces
# PARITY_FLAGS   further flags of trm-deploy parity
# FOLDER         where engine and report go; build/parity where it is empty
#
# Ends with the exit code of the command that fails: docs/ci.md lists them.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
folder="${FOLDER:-build/parity}"
engine="$folder/model.onnx"

need_checkpoint() {
    [ -n "${CHECKPOINT:-}" ] && return
    echo "error: CHECKPOINT names no file (of the action: the input 'checkpoint')" >&2
    exit 2
}

step_install() {
    # The package that the action comes with. A CPU build of torch is enough, and far smaller.
    python -m pip install --quiet --disable-pip-version-check "${here}[export,draw]"
}

step_export() {
    local flags
    need_checkpoint
    read -r -a flags <<< "${EXPORT_FLAGS:-}"
    trm-deploy export "$CHECKPOINT" --format onnx ${flags[@]+"${flags[@]}"} -o "$engine"
}

step_parity() {
    local flags code=0
    need_checkpoint
    read -r -a flags <<< "${PARITY_FLAGS:-}"
    [ -z "${PUZZLES:-}" ] || flags+=(--puzzles "$PUZZLES")
    [ -z "${BASELINE:-}" ] || flags+=(--baseline "$BASELINE")
    trm-deploy parity "$CHECKPOINT" "$engine" ${flags[@]+"${flags[@]}"} --json --report "$folder/report" || code=$?
    if [ -n "${GITHUB_STEP_SUMMARY:-}" ] && [ -f "$folder/report/report.md" ]; then
        cat "$folder/report/report.md" >> "$GITHUB_STEP_SUMMARY"
    fi
    return "$code"
}

[ $# -gt 0 ] || { echo "usage: $0 install|export|parity ..." >&2; exit 2; }
for step in "$@"; do
    case "$step" in
        install | export | parity) ;;
        *) echo "error: there is no step '$step', expected install, export or parity" >&2; exit 2 ;;
    esac
done
for step in "$@"; do
    "step_$step"
done
