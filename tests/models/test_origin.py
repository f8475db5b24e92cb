from peftlens.models.origin import vocabulary_sha256


def test_vocabularies_differ_by_a_single_id():
    one, other = vocabulary_sha256({"a": 0, "b": 1}), vocabulary_sha256({"a": 1, "b": 0})
    assert one == vocabulary_sha256({"b": 1, "a": 0})
    assert one != other
