"""Pairs that answers link: an answer that was rated once and is compared several times."""

from collections.abc import Hashable, Iterable

Side = Hashable | None
"""What identifies an answer: equal for the same one, None for one that links nothing."""


def linked(pairs: Iterable[tuple[Side, Side]]) -> list[int]:
    """The group of each pair, as the place of the group's first pair.

    pairs: the two sides of each. Pairs with a side in common are in one group, and so are those
    that a chain of such pairs connects (disjoint sets, Tarjan 1975).
    """
    earlier: list[int] = []  # for each pair one of its group, or itself for the first
    seen: dict[Hashable, int] = {}

    def first(pair: int) -> int:
        while earlier[pair] != pair:
            earlier[pair] = pair = earlier[earlier[pair]]
        return pair

    for place, sides in enumerate(pairs):
        earlier.append(place)
        for side in sides:
            if side is not None:
                one, other = first(seen.setdefault(side, place)), first(place)
                earlier[max(one, other)] = min(one, other)
    return [first(place) for place in range(len(earlier))]
