#!/usr/bin/env bash
# Step time of GenSeg at full size on the GPU, in single precision and bf16.
set -euo pipefail
source "$(dirname "$0")/setup.sh"
python3 -m benchmarks.genseg_gpu_step --out "$OUT"
