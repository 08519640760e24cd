"""Tables of simulation state that numpy, torch and PhysX share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch


class SyncedBuffer:
    """A float32 table that remembers what the simulation last said.

    ManiSkill writes new state straight into the tensor and asks for it to be applied later. Comparing the table with
    what was last read tells which rows were written, so that only those are sent to PhysX: environments that are not
    being reset are never touched. Comparison is of bits, so that NaN equals itself.
    """

    def __init__(self, rows: int, columns: int, refresh: Callable[[], None] | None = None) -> None:
        self.data = np.zeros((rows, columns), np.float32)
        self._known = self.data.copy()
        self._data_bits = self.data.view(np.int32)
        self._known_bits = self._known.view(np.int32)
        with torch.inference_mode(False):  # an inference tensor could not be written to outside inference mode
            self._tensor = torch.from_numpy(self.data)
        self._refresh = refresh

    def torch(self) -> torch.Tensor:
        """The table as a tensor that shares its memory, up to date with the simulation."""
        if self._refresh is not None:
            self._refresh()
        return self._tensor

    def changed(self) -> np.ndarray:
        """Boolean table: which entries were written since they were last read or applied."""
        return self._data_bits != self._known_bits

    def changed_rows(self, columns: slice = slice(None)) -> np.ndarray:
        """Indices of the rows with a written entry in these columns, ascending."""
        return np.unique(np.nonzero(self._data_bits[:, columns] != self._known_bits[:, columns])[0])

    def is_changed(self, row: int, columns: slice) -> bool:
        """Whether an entry of the row was written in these columns."""
        return bool((self._data_bits[row, columns] != self._known_bits[row, columns]).any())

    def store(self, rows: np.ndarray, columns: slice, values: np.ndarray) -> None:
        """Take `values` from the simulation, except in rows with writes that wait to be applied."""
        waiting = (self._data_bits[rows] != self._known_bits[rows]).any(axis=1)
        if waiting.any():
            rows, values = rows[~waiting], values[~waiting]
        self.data[rows, columns] = values
        self._known[rows, columns] = values

    def accept(self, rows: np.ndarray, columns: slice | np.ndarray = slice(None)) -> None:
        """Declare the entries of `rows` in these columns applied."""
        self._known[rows, columns] = self.data[rows, columns]

    def require_finite(self, rows: np.ndarray, what: str) -> None:
        """Raise ValueError, and drop the write, when a row about to be applied holds NaN or infinity."""
        broken = rows[~np.isfinite(self.data[rows]).all(axis=1)]
        if broken.size == 0:
            return
        values = self.data[broken[0]].tolist()
        self.data[broken] = self._known[broken]
        raise ValueError(
            f"{what}, row {broken[0]}: {values} is not finite. The action or the reset that wrote it is broken (a "
            "diverged policy, a division by zero): check it before it reaches the simulation."
        )
