"""Every rule can be met, says where it was read, and what to do."""

import pytest

from peftlens.inspection.adapter_features import FEATURES
from peftlens.inspection.serving_rules import PROGRAMS


@pytest.mark.parametrize("name", PROGRAMS)
def test_rules_name_features_and_sources(name):
    program = PROGRAMS[name]
    used = [rule.feature for rule in program.rules]
    assert set(used) <= FEATURES.keys()
    assert len(used) == len(set(used))
    assert all(rule.source.endswith((".py", ".h", ".cpp")) for rule in program.rules)
    assert program.names
    assert any(character.isdigit() for character in program.version)


def test_every_feature_has_a_rule():
    used = {rule.feature for program in PROGRAMS.values() for rule in program.rules}
    assert used == FEATURES.keys()


def test_the_default_rank_is_a_possible_one():
    for program in PROGRAMS.values():
        assert program.default_rank is None or program.default_rank in program.ranks
        assert list(program.ranks) == sorted(program.ranks)
