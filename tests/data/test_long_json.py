"""Written in parts, read as a whole."""

import json

from hypothesis import given
from hypothesis import strategies as st

from detector.data import long_json

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
lists = st.lists(plain | st.lists(plain, max_size=3), max_size=9)


@given(
    content=st.dictionaries(st.text(), plain | lists | st.dictionaries(st.text(), lists)),
    at_once=st.integers(1, 4),
)
def test_the_parts_are_the_whole(content, at_once):
    before, long_json.AT_ONCE = long_json.AT_ONCE, at_once
    try:
        parts = list(long_json.pieces(content))
    finally:
        long_json.AT_ONCE = before
    assert json.loads("".join(parts)) == json.loads(json.dumps(content))


def test_no_part_holds_a_long_list():
    parts = list(long_json.pieces({"columns": {"name": ["a name"] * 50_000}}))
    assert max(map(len, parts)) < 200_000 < len("".join(parts))
