"""The header of a trace: what is read of it, and that nothing else is taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.figures.traceparent import HEADER, Parent, parent_among, parent_of, written

GIVEN = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
READ = Parent(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, True)


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_what_is_written_is_read(trace: int, span: int, sampled: bool) -> None:
    parent = Parent(trace, span, sampled)
    assert parent_of(written(parent)) == parent


def test_a_header_of_w3cs_form_is_read() -> None:
    assert parent_of(GIVEN) == READ
    assert parent_of(GIVEN[:-2] + b"00") == READ._replace(sampled=False)
    assert parent_of(GIVEN[:-2] + b"03") == READ  # flags of later levels beside the one that is known


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        GIVEN.upper(),
        GIVEN[:-1],
        GIVEN + b"0",
        b"ff" + GIVEN[2:],
        GIVEN.replace(b"0af7651916cd43dd8448eb211c80319c", b"0" * 32),
        GIVEN.replace(b"b7ad6b7169203331", b"0" * 16),
        b"\xff\xfe",
    ],
)
def test_anything_else_is_none(value: bytes | None) -> None:
    assert parent_of(value) is None


def test_of_a_record_the_last_header_of_the_name_counts() -> None:
    assert parent_among([("other", GIVEN)]) is None
    assert parent_among([(HEADER, b"x"), ("other", b"y"), (HEADER, GIVEN)]) == READ
    assert parent_among([(HEADER, GIVEN), (HEADER, None)]) is None
