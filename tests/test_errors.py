from peftlens.errors import BadInput


def test_bad_input_is_a_value_error():
    # callers from Python may catch it as what it is, without knowing peftlens
    assert issubclass(BadInput, ValueError)
