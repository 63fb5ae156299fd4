# Sourced by the scripts of this folder: an offline installation from wheels, and the folder for results.
if [ -d .whl ]; then
  python3 -m pip install -q --no-index --no-deps --no-compile --upgrade --target /tmp/site .whl/*.whl
  export PYTHONPATH="/tmp/site:${PYTHONPATH:-}"
fi
export PYTHONPATH="$PWD/shared:$PWD:${PYTHONPATH:-}"
OUT="${1:-${OUT:-benchmarks/results/gpu}}"
mkdir -p "$OUT"
