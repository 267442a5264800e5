#!/bin/sh
# The runs of this study: sh study.sh train NAME, then sh study.sh export NAME, with NAME one of cnn6,
# mobilenetv2 and lite0. Each leaves its run in $RUNS/NAME, and in it the exported files with what
# their check found. PYTHON is that of `make setup`, LITERT the one of .venv-litert; WEIGHTS the
# file that weights.py makes.
set -eu
task=$1 name=$2
RUNS=${RUNS:-runs/exports} PYTHON=${PYTHON:-.venv/bin/python} LITERT=${LITERT:-.venv-litert/bin/python}

train() {
    "$PYTHON" -m detector.train paths.runs="$RUNS/$name" data=140k model="$name" model.preprocess.size=160 augment=light \
        optimizer.name=adamw optimizer.weight_decay=0.01 schedule.name=cosine schedule.warmup_epochs=0.5 seed=0 \
        heatmaps.every=0 progress=none evaluate_test=false "$@"
}

export_as() { # a file that is off ends the command, not the study
    "$1" -m detector.export paths.runs="$RUNS/$name" format="$2" int8="$3" progress=none || [ $? -eq 2 ]
}

case $task-$name in
    train-cnn6) train trainer.max_epochs=25 ;;
    train-mobilenetv2) train trainer.max_epochs=8 model.pretrained="${WEIGHTS:-runs/exports/mobilenetv2.safetensors}" ;;
    train-lite0) train trainer.max_epochs=6 ;;
    export-*)
        for int8 in false true; do
            export_as "$PYTHON" onnx $int8
            export_as "$LITERT" litert $int8
        done
        ;;
    *) echo "study.sh: give train or export, and cnn6, mobilenetv2 or lite0" >&2; exit 2 ;;
esac
