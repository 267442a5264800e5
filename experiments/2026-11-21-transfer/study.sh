#!/bin/sh
# The trainings of this study: sh study.sh NAME [FOLD], with NAME from the list below; each leaves
# its run in $RUNS/NAME-FOLD. The fold is the seed, too. No test part is read: collect.py does that.
set -eu
name=$1 fold=${2:-0}
RUNS=${RUNS:-runs/transfer}

train() { python -m detector.train paths.runs="$RUNS/$name-$fold" seed="$fold" heatmaps.every=0 progress=none evaluate_test=false "$@"; }
best() { ls -d "$RUNS/$1"/train/*/*/checkpoints/best.ckpt; }

# An eighth of ciplab is the test part, the next eighth validation; photographs stay with their
# edits, every file becomes a JPEG of 512 px and quality 75 first.
ciplab() { train data=ciplab data.split.folds=8 data.split.fold="$fold" 'data.normalize={size:512,quality:75}' "$@"; }
tuned() { ciplab model=lite0 augment=light optimizer.name=adamw optimizer.weight_decay=0.01 schedule.name=cosine schedule.warmup_epochs=0.5 "$@"; }
# 20 epochs of Adam at 1e-4, as experiments/2026-11-20-small-networks found to be best for cnn6
slow() { ciplab experiment=cnn6_ciplab_slow "$@"; }

# Three sets at 128 px, files normalized; each network is then tested on all of them.
small() { train model.preprocess.size=128 'data.normalize={size:192,quality:75}' augment=light optimizer.name=adamw optimizer.weight_decay=0.01 schedule.name=cosine schedule.warmup_epochs=0.5 "$@"; }

case $name in
    frozen288) tuned model.preprocess.size=288 model.freeze=backbone trainer.max_epochs=20 ;;
    tuned224) tuned model.preprocess.size=224 trainer.max_epochs=8 ;;
    tuned416) tuned model.preprocess.size=416 trainer.max_epochs=8 ;;
    tuned288) tuned model.preprocess.size=288 trainer.max_epochs=8 ;;
    blended288) tuned model.preprocess.size=288 data.fakes=mixed blended.masks=parts trainer.max_epochs=5 ;;
    parts288) tuned model.preprocess.size=288 model.parts=true trainer.max_epochs=8 ;;
    gender) train model=cnn6 data=gender augment=light trainer.max_epochs=15 ;;
    scratch) slow ;;
    after-gender) slow init_from="$(best gender-0)" ;;
    mobilenetv2-*|efficientnet_b0-*) small model="${name%-*}" model.pretrained=false data="${name#*-}" trainer.max_epochs=25 ;;
    lite0-joint) small model=lite0 data=joint 'data.sets=[140k,ciplab,hardfake]' data.balance=set trainer.max_epochs=6 ;;
    lite0-without-*) small model=lite0 data=joint 'data.sets=[140k,ciplab,hardfake]' data.balance=set data.leave_out="${name#lite0-without-}" trainer.max_epochs=6 ;;
    lite0-*) small model=lite0 data="${name#*-}" trainer.max_epochs=6 ;;
    *) echo "study.sh: no training is called $name" >&2; exit 2 ;;
esac
