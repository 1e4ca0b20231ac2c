"""Seconds by stage."""

from hairclip.common.stopwatch import Stopwatch, add_seconds


def test_a_stage_that_comes_twice_adds_up():
    watch = Stopwatch()
    for stage in ("read", "find", "read"):
        with watch(stage):
            pass
    assert list(watch.seconds) == ["read", "find"]
    assert all(seconds >= 0 for seconds in watch.seconds.values())


def test_a_share_of_other_seconds_is_added():
    assert add_seconds({"read": 1.0}, {"read": 2.0, "find": 4.0}, share=0.5) == {"read": 2.0, "find": 2.0}
