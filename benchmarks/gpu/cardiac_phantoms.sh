#!/usr/bin/env bash
# The cardiac bundle at the paper's size on phantoms at 1.5 mm: OUT and SEED as arguments; resumed when called again.
set -euo pipefail
source "$(dirname "$0")/setup.sh"
seed="${2:-0}"
B=bundles/cardiac_ct_mr_segmentation/configs
if [ ! -f "$SCRATCH/hearts/datalist.json" ]; then
  python3 -m data_prep.phantoms heart --out "$SCRATCH/hearts_raw" --cases 40 --seed 0 --shape 120,120,100 --spacing 1.5
  python3 -m data_prep.mmwhs --data "$SCRATCH/hearts_raw" --out "$SCRATCH/hearts" --workers 8
fi
nvidia-smi --query-gpu=memory.total --format=csv > "$OUT/gpu.csv"
train "'$B/train.json','$B/paper.json'" --dataset_dir "$SCRATCH/hearts" --seed "$seed" --precision bf16 --num_workers 8 \
  --epochs "${EPOCHS:-40}" --segmenter_epochs "${SEGMENTER_EPOCHS:-10}" \
  --translation_epochs "${TRANSLATION_EPOCHS:-10}"
for modality in ct mr; do
  evaluate inference.json evaluate.json --dataset_dir "$SCRATCH/hearts" --output_dir "$OUT/test_$modality" --modality "$modality"
done
