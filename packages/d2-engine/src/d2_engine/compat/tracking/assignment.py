"""The assignment problem, in NumPy: SciPy is not needed for the few objects of a frame."""

import numpy as np
from numpy.typing import NDArray


def cheapest_assignment(costs: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pair rows with columns one to one so that the sum of the costs is least.

    Args:
        costs: (M, N) finite numbers.

    Returns:
        min(M, N) pairs (row, column), by rows.

    Source: Kuhn, "The Hungarian method", 1955, with the shortest augmenting paths of Jonker &
    Volgenant, 1987.
    """
    costs = np.asarray(costs, np.float64)
    if costs.shape[0] > costs.shape[1]:
        return sorted((row, column) for column, row in cheapest_assignment(costs.T))
    rows, columns = costs.shape
    row_of = np.full(columns + 1, -1)  # the last column is where a path begins
    price_of_row, price_of_column = np.zeros(rows), np.zeros(columns + 1)
    for row in range(rows):
        row_of[columns] = row
        path = _shortest_path(costs, row_of, price_of_row, price_of_column)
        column = path[-1]
        for earlier in reversed(path[:-1]):
            row_of[column] = row_of[earlier]
            column = earlier
    pairs = [(int(row_of[column]), column) for column in range(columns) if row_of[column] >= 0]
    return sorted(pairs)


def _shortest_path(
    costs: NDArray[np.float64],
    row_of: NDArray[np.int_],
    price_of_row: NDArray[np.float64],
    price_of_column: NDArray[np.float64],
) -> list[int]:
    """Columns from the beginning to a free one along which rows move on; prices are raised."""
    columns = costs.shape[1]
    least = np.full(columns, np.inf)
    before = np.full(columns, columns)
    reached = np.zeros(columns + 1, bool)
    column = columns
    while row_of[column] >= 0:
        reached[column] = True
        row = row_of[column]
        reduced = costs[row] - price_of_row[row] - price_of_column[:columns]
        shorter = ~reached[:columns] & (reduced < least)
        least[shorter] = reduced[shorter]
        before[shorter] = column
        candidates = np.where(reached[:columns], np.inf, least)
        column = int(candidates.argmin())
        step = candidates[column]
        held = np.flatnonzero(reached)
        price_of_row[row_of[held]] += step
        price_of_column[held] -= step
        least[~reached[:columns]] -= step
    path = [column]
    while path[-1] != columns:
        path.append(int(before[path[-1]]))
    return path[::-1]
