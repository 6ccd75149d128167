"""The networks of `step_size_advisor`: what is random there has a key of its own."""

from types import SimpleNamespace

import jax
import pytest

import theory_lab as tl
from experiments import _networks


class Asked(Exception):
    """The advice need not be computed."""


def test_start_and_advice_have_keys_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = []

    def advise(problem: object, *, key: jax.Array, **_: object) -> None:
        keys.append(key)
        raise Asked

    monkeypatch.setitem(_networks.NETWORKS, "none", _networks.Network(lambda: SimpleNamespace(n=4, init=keys.append), 0.5))
    monkeypatch.setattr(tl, "advise", advise)
    with pytest.raises(Asked):
        next(_networks.rows("none", jax.random.key(0), 0.9))
    assert len({tuple(jax.random.key_data(key).tolist()) for key in keys}) == len(keys) == 2
