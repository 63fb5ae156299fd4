#!/usr/bin/env bash
# The thigh bundle at full width on phantoms at 1 mm: OUT, w_r, w_i and SEED as arguments; resumed when called again.
set -euo pipefail
source "$(dirname "$0")/setup.sh"
w_r="${2:-0.5}"; w_i="${3:-1}"; seed="${4:-0}"
B=bundles/thigh_mri_muscle_segmentation/configs
if [ ! -f "$SCRATCH/thigh/datalist.json" ]; then
  python3 -m data_prep.phantoms thigh --out "$SCRATCH/thigh_raw" --cases 64 --shape 384,192,20 --spacing 1,1,7
  python3 -m data_prep.thigh --data "$SCRATCH/thigh_raw" --out "$SCRATCH/thigh" --pixdim 1 --size 384 192 --test 8 --validation 2 --workers 8
fi
train "'$B/train.json','$B/paper.json'" --dataset_dir "$SCRATCH/thigh" --image_size '[384,192]' --crop_size '[192,192]' \
  --batch_size 8 --batches_per_epoch 100 --num_workers 8 --w_r "$w_r" --w_i "$w_i" --seed "$seed" \
  --precision bf16 --epochs "${EPOCHS:-20}"
evaluate inference.json evaluate.json --dataset_dir "$SCRATCH/thigh" --output_dir "$OUT/test"
