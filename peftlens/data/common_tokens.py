"""Common tokens: the ids of a tokenizer's most common ordinary tokens.

Tokenizers number tokens by frequency: byte-pair merges in the order in which they were learned
(Sennrich et al. 2016, arXiv:1508.07909, section 3.2), unigram pieces by their probability (Kudo
2018, arXiv:1804.10959), and T5's, from which Lester et al. 2021 drew, thus too. WordPiece has the
same order only roughly. Special tokens, other added tokens, placeholders such as BERT's [unused7],
and single characters and bytes, which come first or last whatever their frequency, are left out.
"""

import re
from operator import itemgetter
from typing import Any

import numpy as np

MOST = 5000
# rows of BERT, Gemma and RoBERTa that no text has
PLACEHOLDER = re.compile(r"[\[<]unused_?\d+[\]>]|madeupword\d+")
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")  # a byte in SentencePiece vocabularies


def common_tokens(tokenizer: Any, most: int = MOST) -> tuple[tuple[int, int], ...]:
    """Return the most common ordinary tokens as ranges of ids: first and last of each.

    A vocabulary with fewer tokens than `most` of more than one character adds its single ones.
    """
    added = tokenizer.added_tokens_decoder.keys() | {*tokenizer.all_special_ids}
    common, single = [], []
    for piece, id_ in sorted(tokenizer.get_vocab().items(), key=itemgetter(1)):
        if id_ not in added and not PLACEHOLDER.fullmatch(piece):
            (single if len(piece) == 1 or _BYTE.fullmatch(piece) else common).append(id_)
        if len(common) == most:
            break
    ids = np.sort([*common, *single][:most])
    groups = np.split(ids, np.flatnonzero(np.diff(ids) > 1) + 1)
    return tuple((int(group[0]), int(group[-1])) for group in groups if len(group))
