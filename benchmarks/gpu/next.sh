#!/usr/bin/env bash
# Runs the first item of the queue that has no result yet, or the one named, in less than ten minutes and without a
# network. Its result goes to RESULTS. SMALL=1: at a size for a test on a CPU.
#
#     bash benchmarks/gpu/next.sh [ITEM]
set -euo pipefail
cd "$(dirname "$0")/../.."
SCRATCH="${SCRATCH:-scratch}"  # packages, data and runs
CARRIED="${CARRIED:-.gpu_data}"  # packed data, see README.md
WHEELS="${WHEELS:-.whl}"  # likewise
mkdir -p "$SCRATCH"
[ -z "${SMALL:-}" ] || export RESULTS="${RESULTS:-$SCRATCH/results}"  # no result of the queue
if [ -d "$WHEELS" ]; then
  python3 -m pip install -q --no-index --no-deps --no-compile --upgrade --target "$SCRATCH/site" "$WHEELS"/*.whl
  export PYTHONPATH="$SCRATCH/site:${PYTHONPATH:-}"
fi
export PYTHONPATH="$PWD/shared:$PWD:${PYTHONPATH:-}"

steps() {
  python3 -m benchmarks.gpu.steps "$SCRATCH/steps" ${SMALL:+--small --variants fp32}
}

slices() {
  [ -d "$SCRATCH/lgg" ] || python3 -m benchmarks.gpu.pack unpack "$CARRIED/lgg.zip" "$SCRATCH/lgg" --workers "$(nproc)"
}

lgg_few_masks_bf16() {
  local size=(--minutes "${MINUTES:-5}" --width 16 --option batch_size=20 --option labelled_per_batch=4 --precision bf16)
  [ -z "${SMALL:-}" ] || size=(--minutes 0.1 --width 2 --draws 1 --validation 1 --test 1 --masks 1 --option batches_per_epoch=1)
  slices
  python3 -m benchmarks.lgg_few_masks "$SCRATCH/lgg" "$SCRATCH/lgg_few_masks" "${size[@]}" \
    --option network_def#prior=0.02 --name gpu_lgg_few_masks_bf16
}

lgg_weak() {
  local size=(--minutes "${MINUTES:-5}" --option batches_per_epoch=100 --option epochs=15)
  [ -z "${SMALL:-}" ] || size=(--minutes 0.1 --seeds 1 --validation 1 --test 1 --option width=2 --option batches_per_epoch=1)
  slices
  python3 -m benchmarks.lgg_weak "$SCRATCH/lgg" "$SCRATCH/lgg_weak" "${size[@]}" --name gpu_lgg_weak
}

lgg_weights() {
  local size=(--minutes "${MINUTES:-7}" --option width=16 --option batch_size=10 --option labelled_per_batch=10 --option epochs=24)
  [ -z "${SMALL:-}" ] || size=(--minutes 0.1 --validation 1 --test 1 --option width=2 --option batch_size=2 --option labelled_per_batch=0 --option batches_per_epoch=1)
  slices
  python3 -m benchmarks.lgg_weights "$SCRATCH/lgg" "$SCRATCH/lgg_weights" "${size[@]}" --name gpu_lgg_weights
}

mscmr() {
  local size=(--minutes "${MINUTES:-8}" --at-once 0)
  [ -z "${SMALL:-}" ] || size=(--minutes 0.1 --draws 1 --option width=2 --option segmenter_width=2 --option discriminator_width=2 --option epochs=3 --option batches_per_epoch=1)
  python3 -m benchmarks.mscmr "$CARRIED/mscmr" "$SCRATCH/mscmr" "${size[@]}" --name gpu_mscmr
}

for item in ${1:-steps mscmr lgg_weights lgg_weak lgg_few_masks_bf16}; do
  [ -n "${1:-}" ] || [ ! -f "benchmarks/results/gpu_$item.json" ] || continue
  echo "== $item"
  "$item"
  exit
done
echo "Every item of the queue has a result."
