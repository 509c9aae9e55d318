"""Lists of nodes as people write them: `3,7-9,1:4,CONV_2D`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NodeSelection:
    """Some nodes of a model.

    Attributes:
        ranges: (subgraph, first, last) operator indices, both ends included.
        ops: Names of operators.
    """

    ranges: tuple[tuple[int, int, int], ...] = ()
    ops: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> NodeSelection:
        """Reads a comma-separated list of operator indices, ranges `FIRST-LAST`, either with a leading `SUBGRAPH:`, and
        operator names.

        Raises:
            ValueError: An entry is none of these.
        """
        ranges, ops = [], set()
        for entry in filter(None, (part.strip() for part in text.split(","))):
            subgraph, colon, rest = entry.rpartition(":")
            first, dash, last = rest.partition("-")
            numeric = first.isdigit() and (last.isdigit() if dash else True) and (subgraph.isdigit() if colon else True)
            if numeric:
                ranges.append((int(subgraph or 0), int(first), int(last or first)))
            elif not colon and entry[0].isalpha() and entry.replace("_", "").isalnum():
                ops.add(entry)
            else:
                raise ValueError(
                    f"'{entry}' names no node: write an operator index (3), a range (3-9), either with a subgraph "
                    f"(1:3-9), or an operator's name (CONV_2D)"
                )
        return cls(tuple(ranges), frozenset(ops))

    def matches(self, subgraph: int, index: int, op: str) -> bool:
        """True when the node is in the selection."""
        return op in self.ops or any(s == subgraph and first <= index <= last for s, first, last in self.ranges)
