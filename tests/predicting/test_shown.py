"""What a person sees of a job on many pictures."""

from detector.predicting.shown import progress


def test_a_total_that_is_no_longer_known_is_not_shown(capsys):
    """As of a list with a folder in it, which counts as one until it is walked."""
    for told, last in ([(3, 101), (5000, None)], "5000/?"), ([(3, None), (60, 101)], " 60/101"):
        move, stop = progress("rich")
        for done, total in told:
            move(done, total)
        stop()
        shown = capsys.readouterr().err.splitlines()[-1]
        assert last in shown and ("101" in shown) == ("101" in last)
