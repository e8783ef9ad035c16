"""The canary: which users get it."""

import numpy as np
import pytest

from streams.releases.canary import assign


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_the_share_is_met_and_stays(share: float) -> None:
    drawn = [assign(f"user-{n}", share, "r-1") for n in range(4000)]
    assert abs(np.mean(drawn) - share) < 0.02
    assert drawn == [assign(f"user-{n}", share, "r-1") for n in range(4000)]


def test_a_larger_share_keeps_who_had_it_and_another_canary_draws_anew() -> None:
    small = {n for n in range(2000) if assign(str(n), 0.1, "r-1")}
    assert small <= {n for n in range(2000) if assign(str(n), 0.3, "r-1")}
    other = {n for n in range(2000) if assign(str(n), 0.1, "r-2")}
    assert len(small & other) < 0.3 * len(small)
