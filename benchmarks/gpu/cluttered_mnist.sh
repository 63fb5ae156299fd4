#!/usr/bin/env bash
# Cluttered MNIST at full width: OUT, METHOD overlay ("" for the proposed method) and SEED as arguments.
# The prepared images are made on the machine from IDX files in ./mnist.
set -euo pipefail
source "$(dirname "$0")/setup.sh"
overlay="${2:-}"; seed="${3:-0}"
B=bundles/brain_mri_genseg_segmentation/configs
[ -f "$SCRATCH/mnist48/datalist.json" ] || python3 -m data_prep.cluttered_mnist --data mnist --out "$SCRATCH/mnist48"
files="'$B/train.json','$B/data_cluttered_mnist.json'${overlay:+,'$B/$overlay'}"
train "$files" --dataset_dir "$SCRATCH/mnist48" --width 32 --seed "$seed" --precision bf16 --epochs "${EPOCHS:-40}"
evaluate train.json evaluate_slices.json --dataset_dir "$SCRATCH/mnist48" --output_dir "$OUT/test"
