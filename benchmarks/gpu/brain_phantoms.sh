#!/usr/bin/env bash
# The brain bundle at the paper's size on phantoms at 1 mm, resumed from OUT when called again.
set -euo pipefail
source "$(dirname "$0")/setup.sh"
B=bundles/brain_mri_genseg_segmentation/configs
if [ ! -f "$SCRATCH/brain/datalist.json" ]; then
  python3 -m data_prep.phantoms brain --out "$SCRATCH/raw" --cases 60 --seed 0 --shape 240,240,155 --spacing 1
  python3 -m data_prep.brats --data "$SCRATCH/raw" --out "$SCRATCH/brain" --pixdim 1 --size 240 240 --labelled-fraction 0.05 --min-brain 0.02 --workers 8
fi
train "'$B/train.json','$B/paper.json','$B/averaged.json'" --dataset_dir "$SCRATCH/brain" --precision bf16 \
  --epochs "${EPOCHS:-20}" --labelled_per_batch 2 --segment_absence True
evaluate inference.json evaluate.json --dataset_dir "$SCRATCH/brain" --output_dir "$OUT/test"
