"""Divides an amount by the method of the largest remainder."""

from typing import List


def split(total: int, weights: List[int]) -> List[int]:
    """One part for each weight, in the same order. The parts add up to `total`."""
    whole = sum(weights)
    if whole == 0:
        raise ValueError("nobody pays: give at least one payer a weight above 0")
    parts = [total * weight // whole for weight in weights]
    left = total - sum(parts)

    most_cut = sorted(range(len(weights)), key=lambda payer: -(total * weights[payer] % whole))
    for payer in most_cut[:left]:
        parts[payer] += 1
    return parts
