"""Which examples and which random numbers every step of fine-tuning has."""

from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from theory_lab import devices
from theory_lab._typing import Array, Key
from theory_lab.finetune.kept import digest_all
from theory_lab.finetune.problem import Batch, FineTune
from theory_lab.finetune.scoring import last_scored
from theory_lab.orderings import ORDERINGS, Ordering, check_indices
from theory_lab.run.loop import ORACLE, ORDER, groups


class Plan:
    """The batch and the key of every step: functions of the run's key and its number, as in `theory_lab.run.loop`.

    Raises:
        ValueError: an ordering of one's own whose indices of the first epoch, or of a later one when it comes, are not n
            whole numbers within 0..n - 1.
    """

    def __init__(self, problem: FineTune, ordering: Ordering, batch_size: int, key: Key,
                 mesh: Mesh | None = None) -> None:  # fmt: skip
        self.ordering, self.batch_size, self.mesh = ordering, batch_size, mesh
        self._n = problem.n
        self.per_epoch = -(-problem.n // batch_size)
        self._sequences = jax.tree.map(np.asarray, problem.sequences)
        self.loss = partial(problem.loss, last=last_scored(self._sequences))  # of a batch, no logits where none is asked for
        self._order, self._oracle = jax.random.fold_in(key, ORDER), jax.random.fold_in(key, ORACLE)
        self._groups = lru_cache(maxsize=1)(lambda epoch: jax.tree.map(np.asarray, groups(self._indices(epoch), batch_size)))
        self.own = all(ordering is not known for known in ORDERINGS.values())
        if self.own:
            self._groups(0)

    def described(self) -> str:
        """The ordering by its name; one of the user's own by the first epoch too, since others may have its name."""
        name = getattr(self.ordering, "__name__", type(self.ordering).__name__)
        return f"{name}, of first epoch {digest_all(self._indices(0))}" if self.own else name

    def _indices(self, epoch: int) -> Any:
        given = self.ordering(self._order, epoch, self._n)
        return check_indices(given, self._n).astype(np.int32) if self.own else given

    def batch(self, step: int) -> Batch:
        epoch, number = divmod(step, self.per_epoch)
        members, weights = self._groups(epoch)
        return Batch(self._sequences[members[number]], weights[number].astype(np.float32))

    def placed(self, batch: Batch) -> Batch:
        """A share for every device, if there are several."""
        return batch if self.mesh is None else devices.split(batch, self.mesh)

    def key(self, step: int) -> Key:
        epoch, number = divmod(step, self.per_epoch)
        return _folded(self._oracle, epoch, number)


@jax.jit
def _folded(key: Key, epoch: Array, number: Array) -> Key:
    """Compiled: by themselves two foldings take the host 0.3 ms, compiled 0.015."""
    return jax.random.fold_in(jax.random.fold_in(key, epoch), number)
