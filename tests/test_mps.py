"""What Apple's GPUs cannot do is not asked of them: watched on a CPU, measured on none of them.

PyTorch says itself, in the table that its kernels are generated from, what has one for MPS.
"""

from importlib.resources import files

import pytest
import torch
import yaml
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from detector import cli
from detector.data.on_device import OnDevice
from detector.data.preprocess import Preprocess
from detector.data.transforms import Augment
from detector.models.build import build_network
from detector.models.parts import CLASSES
from detector.module import DetectorModule
from detector.run.optim import make_optimizer

N, SIZE, PARTS = 6, 64, 4
AUGMENT = [
    {"step": "flip", "p": 0.5},
    {"step": "crop", "scale": 0.8},
    {"step": "affine", "rotate": 40, "shift": 0.2, "shear": 0.2, "zoom": 0.2},
    {"step": "jitter", "brightness": 0.1, "contrast": 0.1, "saturation": 0.1},
]


@pytest.fixture(scope="module")
def without_kernel() -> set[str]:
    """Operations that have kernels of their own for some devices, but not for MPS."""
    table = files("torchgen").joinpath("packaged/ATen/native/native_functions.yaml")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # 15,000 lines
    known = {
        entry["func"].split("(")[0]: entry for entry in yaml.load(table.read_text(), Loader=loader)
    }

    def there(entry: dict) -> bool:
        if "structured_delegate" in entry:
            return there(known[entry["structured_delegate"]])
        keys = ", ".join(entry.get("dispatch", {"CompositeImplicitAutograd": None}))
        return "MPS" in keys or "Composite" in keys

    return {name for name, entry in known.items() if not there(entry)}


class Watch(TorchDispatchMode):
    """Notes what would not run on MPS, or would fall back to the CPU."""

    def __init__(self, without_kernel: set[str]) -> None:
        super().__init__()
        self.without_kernel, self.wrong, self.seen = without_kernel, set(), set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        name = str(func).removeprefix("aten.").removesuffix(".default")
        self.seen.add(name)
        if name in self.without_kernel:
            self.wrong.add(f"{name} has no kernel")
        tensors = [x for x in tree_leaves((args, kwargs, made)) if isinstance(x, torch.Tensor)]
        if any(x.dtype in (torch.float64, torch.complex128) for x in tensors):
            self.wrong.add(f"{name} of float64")
        if "adaptive" in name and "backward" not in name:
            sides = zip(args[0].shape[-len(args[1]) :], args[1], strict=True)
            if any(side % cells for side, cells in sides):
                self.wrong.add(f"{name} to a side that does not divide")
        return made


@pytest.mark.parametrize(
    "wrong, says",
    [
        (lambda x: x.double() + 1, "of float64"),
        (lambda x: nn.functional.adaptive_avg_pool2d(x, 3), "does not divide"),
        (lambda x: torch.linalg.eigvals(x[0, 0]), "has no kernel"),
    ],
)
def test_what_does_not_run_there_is_seen(without_kernel, wrong, says):
    with Watch(without_kernel) as watch:
        nn.functional.adaptive_avg_pool2d(torch.rand(1, 1, 8, 8), 4)
        assert not watch.wrong
        wrong(torch.rand(1, 1, 8, 8))
    assert any(says in each for each in watch.wrong)


@pytest.mark.parametrize(
    "model, more",
    [(name, False) for name in ("cnn2", "cnn3", "cnn6", "mobilenetv2", "efficientnet_b0", "lite0")]
    + [("cnn6", True), ("mobilenetv2", True)],
)
def test_a_training_on_mps_asks_for_nothing_that_is_not_there(without_kernel, model, more):
    cfg = cli.compose("train", [f"model={model}", f"loss.mixup={0.2 if more else 0}"])
    network = build_network(**cfg.model.net, size=SIZE, classes=CLASSES + PARTS * more)
    module = DetectorModule(
        network, {}, Preprocess(SIZE, "crop", "bilinear", (0.5,) * 3, (0.5,) * 3, 10**6),
        seed=0, optimizer=cfg.optimizer, schedule=cfg.schedule, loss=cfg.loss, freeze="none",
        class_weights=(2.0, 0.5) if more else None, channels_last=False,
        part_weight=1.0 if more else None,
    ).train()  # fmt: skip
    module.log = lambda *args, **options: None
    made = make_optimizer(network, cfg.optimizer, cfg.schedule, 1, 1, fused=False)["optimizer"]
    on_device = OnDevice(Augment(AUGMENT, SIZE, 0))
    numbers = torch.stack([on_device.draw(0, row)[0] for row in range(N)])
    images = torch.randint(0, 256, (N, 3, SIZE, SIZE), dtype=torch.uint8)
    labels, rows = torch.arange(N) % 2, torch.arange(N)
    bits = [torch.randint(-1, 2, (N, PARTS), dtype=torch.int8)] if more else []
    with Watch(without_kernel) as watch:
        images = on_device(images, numbers)
        module.training_step((images, labels, rows, *bits), 0).backward()
        made.step()
        module.eval()
        with torch.no_grad():
            for loader in (0, 1):
                module.validation_step((images, labels, rows, *bits), 0, loader)
            for stage in ("val", "measured"):
                module.measures[stage].compute()
                module.losses[stage].compute()
    assert "convolution_backward" in watch.seen and "grid_sampler_2d" in watch.seen
    assert not watch.wrong
