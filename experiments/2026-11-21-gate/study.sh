#!/bin/sh
# The trainings of this study: sh study.sh NAME, with NAME lite0-<set> or cnn6-<set>; each leaves its
# run, with the gate in its best.ckpt, in $RUNS/NAME.
set -eu
name=$1
RUNS=${RUNS:-runs/gate}

train() {
    python -m detector.train paths.runs="$RUNS/$name" heatmaps.every=0 progress=none \
        model.preprocess.size=128 augment=light data="${name#*-}" "$@"
}

case $name in
    lite0-*) train model=lite0 optimizer.name=adamw optimizer.weight_decay=0.01 schedule.name=cosine \
        schedule.warmup_epochs=0.5 trainer.max_epochs=4 ;;
    cnn6-*) train model=cnn6 trainer.max_epochs=8 ;;
    *) echo "study.sh: no training is called $name" >&2; exit 2 ;;
esac
