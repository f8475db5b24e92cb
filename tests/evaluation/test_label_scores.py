import sys

import pytest

from peftlens.errors import InputError
from peftlens.evaluation.label_scores import (
    entity_f1,
    macro_f1,
    matthews,
    require_seqeval,
    spearman,
)


def test_macro_f1_by_hand():
    # class 0: precision 2/3, recall 1, F1 0.8; class 1: precision 1, recall 1/2, F1 2/3
    assert macro_f1([0, 0, 1, 1], [0, 0, 0, 1]) == pytest.approx((0.8 + 2 / 3) / 2)
    assert macro_f1([0, 1], [0, 0]) == pytest.approx(1 / 3)  # 2/3 and 0


def test_matthews_by_hand():
    # (tp tn - fp fn) / sqrt((tp+fp)(tp+fn)(tn+fp)(tn+fn)) with tp=1, tn=2, fp=0, fn=1
    assert matthews([0, 0, 1, 1], [0, 0, 0, 1]) == pytest.approx(2 / (1 * 2 * 2 * 3) ** 0.5)
    assert matthews([0, 1, 0, 1], [1, 1, 1, 1]) == 0
    assert matthews([1, 1], [1, 1]) == 0


def test_spearman_by_hand():
    assert spearman([1, 2, 3], [10, 400, 500]) == pytest.approx(1)
    # ranks differ by 1, 1, 0: 1 - 6 * 2 / (3 * 8)
    assert spearman([1, 2, 3], [2, 1, 3]) == pytest.approx(0.5)
    assert spearman([1, 2, 3], [0.5, 0.5, 0.5]) is None


def test_entities_count_whole():
    right = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-PER"]]
    chosen = [["B-PER", "O", "O", "B-LOC"], ["O", "B-PER"]]
    # 2 of 3 predicted entities are right, and 2 of 3 are found
    assert entity_f1(right, chosen) == pytest.approx(2 / 3)
    assert entity_f1(right, right) == 1
    assert entity_f1([["O"]], [["O"]]) == 0


def test_seqeval_that_is_missing_is_named(monkeypatch):
    require_seqeval()
    monkeypatch.setitem(sys.modules, "seqeval", None)
    with pytest.raises(InputError, match=r"python -m pip install -e .*\[scores\]"):
        require_seqeval()
