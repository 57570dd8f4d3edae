"""Ridge regression toward a prior, in running sums: flat memory, a dozen coefficients, no library."""

from __future__ import annotations

from collections.abc import Sequence


class Ridge:
    """Weighted least squares of `size` coefficients, each drawn to 0 by a penalty of its own.

    Minimises the sum over the pairs of weight x (y - coefficients . x)^2 plus the sum over the coefficients of
    penalty x coefficient^2. What is drawn to something else than 0 is stated as a difference from it.
    """

    def __init__(self, penalties: Sequence[float]) -> None:
        """Begin with the penalties, one for each coefficient and above 0."""
        self._matrix = [[0.0] * len(penalties) for _ in penalties]
        self._right = [0.0] * len(penalties)
        for index, penalty in enumerate(penalties):
            self._matrix[index][index] = penalty

    def add(self, x: Sequence[float], y: float, weight: float) -> None:
        """Take one pair into the sums."""
        for index, value in enumerate(x):
            if value == 0:
                continue
            scaled = weight * value
            self._right[index] += scaled * y
            row = self._matrix[index]
            for other, beside in enumerate(x):
                row[other] += scaled * beside

    def solve(self) -> list[float]:
        """Return the coefficients that minimise it: Cholesky's decomposition, then two substitutions."""
        lower = _cholesky(self._matrix)
        size = len(lower)
        half = [0.0] * size
        for index in range(size):
            known = sum(lower[index][k] * half[k] for k in range(index))
            half[index] = (self._right[index] - known) / lower[index][index]
        found = [0.0] * size
        for index in reversed(range(size)):
            known = sum(lower[k][index] * found[k] for k in range(index + 1, size))
            found[index] = (half[index] - known) / lower[index][index]
        return found


def _cholesky(matrix: Sequence[Sequence[float]]) -> list[list[float]]:
    size = len(matrix)
    lower = [[0.0] * size for _ in range(size)]
    for row in range(size):
        for column in range(row + 1):
            left = matrix[row][column] - sum(lower[row][k] * lower[column][k] for k in range(column))
            # Penalties above 0 keep the matrix positive definite; rounding may cost the last digits.
            lower[row][column] = max(left, 1e-12) ** 0.5 if row == column else left / lower[column][column]
    return lower
