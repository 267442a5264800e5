#!/bin/sh
# The three networks of this study: sh study.sh cnn6|mobilenetv2|lite0; each leaves its run in
# $RUNS/NAME. WEIGHTS is the file that weights.py makes for mobilenetv2. table.py exports them.
set -eu
name=$1
RUNS=${RUNS:-runs/exports}

train() {
    python -m detector.train paths.runs="$RUNS/$name" data=140k model="$name" model.preprocess.size=160 augment=light \
        optimizer.name=adamw optimizer.weight_decay=0.01 schedule.name=cosine schedule.warmup_epochs=0.5 seed=0 \
        heatmaps.every=0 progress=none evaluate_test=false "$@"
}

case $name in
    cnn6) train trainer.max_epochs=25 ;;
    mobilenetv2) train trainer.max_epochs=8 model.pretrained="${WEIGHTS:-runs/exports/mobilenetv2.safetensors}" ;;
    lite0) train trainer.max_epochs=6 ;;
    *) echo "study.sh: no training is called $name" >&2; exit 2 ;;
esac
