#!/usr/bin/env bash
# The PathoGAN bundle at the paper's size on phantoms at 1 mm: OUT and SEED as arguments; resumed when called again.
set -euo pipefail
source "$(dirname "$0")/setup.sh"
seed="${2:-0}"
B=bundles/brain_mri_pathogan_segmentation/configs
if [ ! -f "$SCRATCH/pathogan/datalist.json" ]; then
  python3 -m data_prep.phantoms brain --out "$SCRATCH/pathogan_raw" --cases 60 --seed 0 --shape 240,240,155 --spacing 1
  python3 -m data_prep.brats_slices --data "$SCRATCH/pathogan_raw" --out "$SCRATCH/pathogan" --pixdim 1 --size 240 240 --test 12 --validation 6 --workers 8
fi
train "'$B/train.json','$B/paper.json'" --dataset_dir "$SCRATCH/pathogan" --seed "$seed" --precision bf16 --num_workers 8 \
  --batches_per_epoch 100 --val_interval 5 --epochs "${EPOCHS:-20}"
evaluate inference.json evaluate.json --dataset_dir "$SCRATCH/pathogan" --output_dir "$OUT/test"
