"""A process says when it has grown, and no longer says so once the memory is given back."""

from tuning.engine.memory import Growth


def test_growth_is_what_is_held_beyond_the_first_look():
    growth = Growth()
    assert not growth.too_much()
    assert not growth.too_much()
    little = b"x" * (growth.first // 10)
    assert not growth.too_much()
    much = b"x" * (growth.first // 3)
    assert growth.too_much()
    del little, much
    assert not growth.too_much()
