"""Initial tokens: common tokens at which trained prompts and prefixes start.

Source: Lester et al. 2021, arXiv:2104.08691, section 3.2, who draw from the 5,000 most common.
"""

from collections.abc import Sequence

import torch

from peftlens.errors import InputError

Ranges = Sequence[tuple[int, int]]


def draw_tokens(ranges: Ranges, count: int, vocabulary: int) -> torch.Tensor:
    """Draw token ids by torch's global generator, without repeats while there are enough, (count,).

    Args:
        ranges: first and last id of each range to draw from; all ids if empty.
        count: number of tokens.
        vocabulary: number of rows of the embedding table.

    Raises:
        InputError: a range does not fit the vocabulary.
    """
    if any(not 0 <= first <= last < vocabulary for first, last in ranges):
        raise InputError(
            f"common_ids must hold ranges of token ids below {vocabulary}; leave it out to have it "
            "filled in from the tokenizer"
        )
    pairs = ranges or [(0, vocabulary - 1)]
    ids = torch.cat([torch.arange(first, last + 1) for first, last in pairs])
    return ids[torch.randperm(max(count, len(ids)))[:count] % len(ids)]
