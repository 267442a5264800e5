"""trainer.compile: the same training, the network itself untouched, errors in one line."""

import shutil

import pytest
import torch
from torch import nn

from detector.errors import UserError
from detector.models import fused
from detector.run import compiled
from detector.run.compiled import Compiled, choose_compiled
from detector.run.session import Session
from tests.conftest import fit_until_killed

# Of 56 training images batches of 16 leave 8.
SMALL = ["model=cnn3", "trainer.precision=32-true", "trainer.max_epochs=1", "heatmaps.every=1"]
needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="no C++ compiler is found"
)


@pytest.fixture
def traced(monkeypatch):
    """Compiles in all but the last step, which takes long: to PyTorch's own operations."""
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")


def weights(session: Session) -> dict[str, torch.Tensor]:
    return session.module.state_dict()


@pytest.fixture
def shapes(monkeypatch):
    """What was given to compiled networks."""
    seen, compile = [], torch.compile

    def watched(network, **options):
        quick = compile(network, **options)
        return lambda images: seen.append(tuple(images.shape)) or quick(images)

    monkeypatch.setattr(torch, "compile", watched)
    return seen


def test_full_batches_of_training_alone_go_through_it_and_the_training_is_the_same(
    tiny, traced, shapes, monkeypatch
):
    monkeypatch.setattr(fused, "available", lambda: False)  # what is compiled is layer by layer
    settings = (*SMALL, "ema.decay=0.9", "trainer.max_epochs=2")
    session = Session(tiny(*settings, "trainer.compile=true"))
    fit_until_killed(session, 1, 1)
    session = Session(tiny(*settings, "trainer.compile=true", f"ckpt_path={session.last}"))
    session.fit()
    assert set(shapes) == {(16, 3, 32, 32)} and len(shapes) == 3 + 1 + 3
    # Heatmaps had the network to hook into.
    assert (session.folder / "heatmaps" / "epoch-001.png").exists()
    whole = Session(tiny(*settings, "trainer.compile=true"))
    whole.fit()
    assert len(shapes) == 7 + 6
    assert all(torch.equal(value, weights(session)[key]) for key, value in weights(whole).items())
    plain = Session(tiny(*settings, "trainer.compile=false"))
    plain.fit()
    assert len(shapes) == 13 and weights(session).keys() == weights(plain).keys()
    for key, value in weights(plain).items():
        assert torch.allclose(value, weights(session)[key], atol=1e-5), key


@needs_compiler
def test_code_of_the_compiler_gives_the_networks_gradients():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    network.append(nn.Linear(4 * 14 * 14, 2))
    images = torch.randn(4, 3, 16, 16)
    quick, gradients = Compiled(network, 4), []
    for answer in (network, quick):
        network.zero_grad()
        answer(images).square().sum().backward()
        gradients.append([weight.grad.clone() for weight in network.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-4)
    assert network._compiled_call_impl is None and not list(quick.network.named_buffers())[3:]


def test_other_batches_are_not_compiled_for(shapes, traced):
    quick = Compiled(nn.Flatten(), 4)
    for n in (3, 4, 2, 4, 3):
        assert torch.equal(quick(torch.ones(n, 1, 2)), torch.ones(n, 2))
    assert [shape[0] for shape in shapes] == [4, 4]


def test_what_nobody_asked_to_compile_trains_as_it_is(monkeypatch, caplog):
    def broken(graph, inputs):
        raise ValueError("no Python.h")

    monkeypatch.setattr(compiled, "BACKEND", broken)
    quick = Compiled(nn.Flatten(), 4, needed=False)
    for _ in range(2):
        assert torch.equal(quick(torch.ones(4, 1, 2)), torch.ones(4, 2))
    told = [one.message for one in caplog.records if "no Python.h" in one.message]
    assert len(told) == 1 and "\n" not in told[0]


def test_depthwise_networks_can_be_compiled(traced):
    """On a CPU they have gradients of their own in bfloat16."""
    from detector.models.build import build_network
    from detector.models.depthwise import QuickDepthwise

    torch.manual_seed(0)
    network = build_network("tf_efficientnet_lite0", size=64, classes=2).train()
    for module in network.modules():  # whose draws differ between the two
        if isinstance(module, nn.Dropout) or type(module).__name__ == "DropPath":
            module.eval()
    images, gradients = torch.randn(4, 3, 64, 64), []
    for answer in (network, Compiled(network, 4)):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16), QuickDepthwise():
            answer(images).float().square().sum().backward()
        gradients.append(torch.cat([one.grad.flatten() for one in network.parameters()]))
    likeness = torch.nn.functional.cosine_similarity(*gradients, dim=0)
    assert likeness > 0.95


def test_it_is_for_gpus_unless_asked_for(monkeypatch):
    network = nn.Flatten()
    for setting, accelerator in (("auto", "cpu"), ("auto", "mps"), (False, "gpu")):
        assert choose_compiled(setting, network, accelerator, 4) is None
    with pytest.raises(UserError, match=r"trainer\.compile=true: PyTorch's compiler for MPS"):
        choose_compiled(True, network, "mps", 4)
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    assert choose_compiled("auto", network, "gpu", 4) is None
    with pytest.raises(UserError, match=r"trainer\.compile=true: no C\+\+ compiler") as caught:
        choose_compiled(True, network, "cpu", 4)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (6, 1))
    monkeypatch.setattr(compiled.importlib.util, "find_spec", lambda name: name)
    with pytest.raises(UserError, match="older than triton knows"):
        choose_compiled(True, network, "gpu", 4)


def test_what_fails_to_compile_is_said_in_one_line(tiny, monkeypatch):
    def broken(graph, inputs):
        raise ValueError("no such thing\nin this compiler")

    monkeypatch.setattr(compiled, "BACKEND", broken)
    session = Session(tiny(*SMALL, "trainer.compile=true"))
    with pytest.raises(UserError, match=r"no such thing.*trainer\.compile=false") as caught:
        session.fit()
    assert "\n" not in str(caught.value)


def test_other_values_are_refused(tiny):
    with pytest.raises(UserError, match=r"trainer\.compile=max: give true or false, or choose"):
        Session(tiny("trainer.compile=max"))
