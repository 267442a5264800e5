"""When Python looks for garbage, and among what."""

import gc
import importlib
import weakref

import pytest

from detector import cli
from detector.garbage import YOUNG, only_new, seldom
from detector.module import DetectorModule
from detector.run.sweep import Job
from detector.serve import serve
from detector.train import train


class Thing:
    pass


def looked(n: int) -> int:
    """How often Python looks for garbage while n objects are made."""
    seen = []

    def count(phase: str, info: dict) -> None:
        seen.append(phase)

    gc.collect()
    gc.callbacks.append(count)
    try:
        kept = [[] for _ in range(n)]
    finally:
        gc.callbacks.remove(count)
    return len(kept) and seen.count("start")


def test_garbage_is_looked_for_less_often_and_afterwards_as_before():
    before = gc.get_threshold()
    assert looked(YOUNG // 2) > 0
    with pytest.raises(ZeroDivisionError), seldom():
        assert looked(YOUNG // 2) == 0 and looked(3 * YOUNG) > 0
        raise ZeroDivisionError
    assert gc.get_threshold() == before
    gc.set_threshold(0, 10, 10)  # as somebody sets it who wants none at all
    try:
        with seldom():
            assert looked(3 * YOUNG) == 0
    finally:
        gc.set_threshold(*before)


def test_what_was_there_before_is_left_out_and_new_garbage_is_not():
    old = Thing()
    assert any(one is old for one in gc.get_objects())
    with only_new():
        assert not any(one is old for one in gc.get_objects())
        new = Thing()
        new.own = new
        gone = weakref.ref(new)
        del new
        gc.collect()
        assert gone() is None
        with only_new():
            pass
        assert gc.get_freeze_count() > 0  # the outer one is still there
    assert any(one is old for one in gc.get_objects())
    with seldom():
        with only_new():
            assert looked(YOUNG // 2) > 0  # as often as ever: cycles may hold tensors
        assert looked(YOUNG // 2) == 0


def test_a_server_looks_for_garbage_as_often_as_ever_but_not_among_imports(monkeypatch):
    seen = []

    class Served:
        def __init__(self, cfg=None):
            seen.append((looked(YOUNG // 2) > 0, gc.get_freeze_count() > 0))

        run = __init__

    monkeypatch.setattr(importlib.import_module("detector.page.server"), "Serving", Served)
    with seldom():
        serve(None)
    assert seen == [(False, False), (True, True)]


def test_a_job_of_a_sweep_begins_without_what_the_one_before_has_left(monkeypatch, tiny):
    training, alive, cfg = importlib.import_module("detector.train"), [], tiny()
    left = Thing()
    left.own = left
    gone = weakref.ref(left)
    del left

    def once(*_):
        alive.append(gone())
        return {"val": {"auroc": {"value": 1.0}}}

    monkeypatch.setattr(Job, "of_this_process", lambda: object())
    monkeypatch.setattr(training, "_once", once)
    gc.disable()  # it might look by chance
    try:
        training._main(cfg)
    finally:
        gc.enable()
    assert alive == [None]


def test_commands_and_trainings_do_so(tiny, monkeypatch):
    cfg, seen, step = (
        tiny("trainer.max_epochs=1", "heatmaps.every=0"),
        [],
        DetectorModule.training_step,
    )

    def watched(*arguments):
        seen.append(gc.get_freeze_count())
        return step(*arguments)

    monkeypatch.setattr(DetectorModule, "training_step", watched)
    train(cfg)
    assert seen and min(seen) > 1000 and gc.get_freeze_count() == 0
    monkeypatch.setattr("sys.argv", ["predict", "inputs=x"])
    cli.run("predict", lambda cfg: seen.append(gc.get_threshold()[0]))
    assert seen[-1] == YOUNG != gc.get_threshold()[0]
