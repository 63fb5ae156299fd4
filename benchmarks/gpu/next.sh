#!/usr/bin/env bash
# Runs the first item of the queue that has no result yet, or the one named, in less than ten minutes and without a
# network. Its result goes to RESULTS. SMALL=1: at a size for a test on a CPU.
#
#     bash benchmarks/gpu/next.sh [ITEM]
set -euo pipefail
cd "$(dirname "$0")/../.."
SCRATCH="${SCRATCH:-scratch}"  # packages, data and runs
CARRIED="${CARRIED:-.gpu_data}"  # packed data, see README.md
mkdir -p "$SCRATCH"
[ -z "${SMALL:-}" ] || export RESULTS="${RESULTS:-$SCRATCH/results}"  # no result of the queue
if [ -d .whl ]; then
  python3 -m pip install -q --no-index --no-deps --no-compile --upgrade --target "$SCRATCH/site" .whl/*.whl
  export PYTHONPATH="$SCRATCH/site:${PYTHONPATH:-}"
fi
export PYTHONPATH="$PWD/shared:$PWD:${PYTHONPATH:-}"

steps() {
  python3 -m benchmarks.gpu.steps "$SCRATCH/steps" ${SMALL:+--small --variants fp32}
}

few_masks() { # NAME [OPTION...]
  local slices="$SCRATCH/lgg" size=(--minutes "${MINUTES:-5}" --width 16 --option batch_size=20 --option labelled_per_batch=4)
  [ -z "${SMALL:-}" ] || size=(--minutes 0.1 --width 2 --draws 1 --validation 1 --test 1 --masks 1 --option batches_per_epoch=1)
  [ -d "$slices" ] || python3 -m benchmarks.gpu.pack unpack "$CARRIED/lgg.zip" "$slices" --workers "$(nproc)"
  python3 -m benchmarks.lgg_few_masks "$slices" "$SCRATCH/$1" "${size[@]}" --name "gpu_$1" "${@:2}"
}

lgg_few_masks_prior() { few_masks lgg_few_masks_prior --option network_def#prior=0.02; }

lgg_few_masks_bf16() { few_masks lgg_few_masks_bf16 --option network_def#prior=0.02 --precision bf16; }

for item in ${1:-steps lgg_few_masks_prior lgg_few_masks_bf16}; do
  [ -n "${1:-}" ] || [ ! -f "benchmarks/results/gpu_$item.json" ] || continue
  echo "== $item"
  "$item"
  exit
done
echo "Every item of the queue has a result."
