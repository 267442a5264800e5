"""augment.device from the command line: the training that the loader's augmentation gives.

Mirror images are the same bits wherever they are made, so with them alone both trainings are.
"""

import pytest
import torch

from detector.errors import UserError
from detector.run.session import Session
from tests.conftest import fit_until_killed
from tests.data.blended.faces import make_set as make_faces
from tests.test_parts import edited  # noqa: F401, a fixture

THERE, HERE = "augment.device=true", "augment.device=false"
FLIP = "augment.steps=[{step:flip,p:0.5}]"
PARTS = ("model.parts=true", "data.source=ciplab")


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return make_faces(tmp_path_factory.mktemp("faces") / "set", reals=16, fakes=16)


def fitted(cfg) -> dict[str, torch.Tensor]:
    session = Session(cfg)
    assert (session.data.on_device is not None) == cfg.augment.device
    session.fit()
    return session.module.state_dict()


def same(one, two) -> bool:
    return all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize(
    "given",
    [
        ("loss.mixup=0.3", "ema.decay=0.9"),
        ("data.fakes=self_blended",),
        PARTS,
        ("model.freeze=backbone",),  # the head sees embeddings, which the loader's pictures made
        ("model.freeze=backbone", "embeddings.views=0", "data.num_workers=2"),
    ],
    ids=lambda given: given[0],
)
def test_mirror_images_on_the_device_change_no_weight(tiny, faces, edited, given, tmp_path):  # noqa: F811
    root = faces if "data.fakes=self_blended" in given else edited if given is PARTS else None
    where = {} if root is None else {"root": root}
    settings = (FLIP, "trainer.max_epochs=1", *given)
    here = fitted(tiny(*settings, HERE, **where))
    # Else it would be given the embeddings that the first one made.
    there = fitted(tiny(*settings, THERE, f"paths.cache={tmp_path}/other", **where))
    assert same(here, there)


def seen(cfg) -> tuple[torch.Tensor, ...]:
    """Pictures, rows and bits of all training steps, and what the loader gave for the first."""
    session, batches = Session(cfg), []
    step = session.module.training_step

    def watched(batch, batch_idx):
        batches.append(batch)
        return step(batch, batch_idx)

    session.module.training_step = watched
    session.fit()
    return tuple(map(torch.cat, zip(*batches, strict=True)))


def test_a_training_step_sees_the_pictures_of_the_cpu(tiny, edited):  # noqa: F811
    settings = ("augment=light", "trainer.max_epochs=1", *PARTS)
    here, there = (seen(tiny(*settings, place, root=edited)) for place in (HERE, THERE))
    assert here[0].dtype == there[0].dtype == torch.uint8
    differences = (here[0].int() - there[0].int()).abs().float()
    assert 0 < differences.max() <= 4 and differences.mean() < 0.5
    assert all(torch.equal(a, b) for a, b in zip(here[1:], there[1:], strict=True))


def test_a_killed_run_goes_on_to_the_same_weights_whatever_the_loaders(tiny):
    settings = ("augment=light", THERE, "trainer.max_epochs=3")
    whole = fitted(tiny(*settings))
    session = Session(tiny(*settings))
    fit_until_killed(session, 1, 2)
    assert same(whole, fitted(tiny(*settings, f"ckpt_path={session.last}")))
    assert same(whole, fitted(tiny(*settings, "data.num_workers=2")))


def test_where_pictures_are_augmented_is_fixed_in_a_training(tiny):
    session = Session(tiny("augment=light", THERE, "trainer.max_epochs=1"))
    session.fit()
    with pytest.raises(UserError, match=r"augment\.device=False.* was trained with True") as caught:
        Session(tiny("augment=light", HERE, f"ckpt_path={session.last}"))
    assert "\n" not in str(caught.value)
    plain = Session(tiny("augment=light", "trainer.max_epochs=1"))
    plain.fit()  # as before there was a choice: what says nothing is auto
    stored = torch.load(plain.last, weights_only=True)
    assert stored["detector"]["settings"].pop("augment.device") is False
    for checkpoint in (None, stored):
        if checkpoint:
            torch.save(checkpoint, plain.last)
        for same_place in ((), (HERE,)):
            Session(tiny("augment=light", *same_place, f"ckpt_path={plain.last}"))
        with pytest.raises(UserError, match=r"augment\.device=True.* was trained with False"):
            Session(tiny("augment=light", THERE, f"ckpt_path={plain.last}"))


@pytest.mark.parametrize(
    "override, says",
    [
        ("augment.device=gpu", r"augment\.device=gpu: give true or false, or choose one of auto"),
        ("augment=robust", r"augment\.device=true, but the CPU alone can do resize, blur, noise"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tiny, override, says):
    with pytest.raises(UserError, match=says) as caught:
        Session(tiny(THERE, override))
    assert "\n" not in str(caught.value)
