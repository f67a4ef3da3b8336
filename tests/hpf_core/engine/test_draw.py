"""What a step draws depends on the seed, the stream and the step alone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hpf_core.engine.draw import frame_numbers
from hpf_core.random_streams import generator, seed_of


@given(st.integers(1, 60), st.integers(1, 7), st.integers(0, 5), st.integers(1, 70))
def test_every_frame_comes_once_in_each_pass(frames, passes, seed, clip):
    numbers = frame_numbers(seed, "fit/real", 0, frames * passes, frames, clip)
    for one in numbers.reshape(passes, frames):
        assert sorted(one) == list(range(frames))


@given(st.integers(1, 40), st.integers(0, 200), st.integers(1, 30), st.integers(1, 30), st.integers(1, 9))
def test_the_cut_into_steps_does_not_matter(frames, first, one, other, clip):
    whole = frame_numbers(3, "s", first, one + other, frames, clip)
    parts = [frame_numbers(3, "s", begins, n, frames, clip) for begins, n in ((first, one), (first + one, other))]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


@given(st.integers(4, 60), st.integers(2, 4), st.integers(0, 5))
def test_clips_follow_each_other(frames, clip, seed):
    whole = frames // clip
    clips = frame_numbers(seed, "s", 0, whole * clip, frames, clip).reshape(whole, clip)
    np.testing.assert_array_equal(np.diff(clips, axis=1) % frames, 1)


def test_clips_of_passes_begin_elsewhere():
    begins = {int(frame_numbers(0, "s", 40 * k, 4, 40, 4)[0]) % 4 for k in range(20)}
    assert begins == {0, 1, 2, 3}


def test_passes_and_streams_have_orders_of_their_own():
    numbers = frame_numbers(0, "a", 0, 80, 40)
    assert not np.array_equal(numbers[:40], numbers[40:])
    assert not np.array_equal(numbers[:40], frame_numbers(0, "b", 0, 40, 40))
    assert not np.array_equal(numbers[:40], frame_numbers(1, "a", 0, 40, 40))


def test_generators_are_named():
    same = [generator("cpu", 0, "fit", "synthetic", 7).initial_seed() for _ in range(2)]
    assert same[0] == same[1]
    others = {seed_of(0, "fit", k) for k in range(1000)} | {seed_of(s, "fit", 0) for s in range(1000)}
    assert len(others) == 1999
