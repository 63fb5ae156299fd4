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
