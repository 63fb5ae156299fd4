# Sourced by the scripts of this folder: an offline installation from wheels, and the folder for results.
SCRATCH="${SCRATCH:-scratch}"  # packages and data made on the machine
mkdir -p "$SCRATCH" && SCRATCH="$(cd "$SCRATCH" && pwd)"
if [ -d .whl ]; then
  python3 -m pip install -q --no-index --no-deps --no-compile --upgrade --target "$SCRATCH/site" .whl/*.whl
  export PYTHONPATH="$SCRATCH/site:${PYTHONPATH:-}"
fi
export PYTHONPATH="$PWD/shared:$PWD:${PYTHONPATH:-}"
OUT="${1:-${OUT:-benchmarks/results/gpu}}"
mkdir -p "$OUT"
RUN="$OUT/run"  # run folder of the scripts that train

# train FILES OPTIONS: a training run into RUN; an interrupted one is resumed.
train() {
  local files="$1" resume=()
  shift
  if [ -f "$RUN/train_state.pt" ]; then resume=(--resume True); else rm -rf "$RUN"; fi
  python3 -m monai.bundle run training --config_file "[$files]" --run_dir "$RUN" "$@" "${resume[@]}"
}

# evaluate BASE OVERLAY OPTIONS: evaluate the run by two files of its configs.
evaluate() {
  local files="'$RUN/configs/$1','$RUN/configs/$2'"
  shift 2
  python3 -m monai.bundle run evaluating --config_file "[$files]" "$@"
}
