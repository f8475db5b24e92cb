import time

import pytest

from peftlens.adapters import expressions

NAMES = [f"model.layers.{layer}.self_attn.q_proj" for layer in range(200)]


def test_usual_expressions_are_fast():
    unsloth = (
        r"(?:.*?(?:language|text).*?(?:self_attn|attention|mlp).*?(?:q_proj|v_proj).*?)"
        r"|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|mlp)\.(?:(?:q_proj|v_proj)))"
    )
    assert expressions.slow_expression(["q_proj", r".*\.v_proj$", unsloth], NAMES) is None


@pytest.mark.parametrize("slow", [r"((\w|\.)+)+x", r"(\w+|\.)*-"])
def test_an_endless_expression_is_found_in_time(slow, monkeypatch):
    monkeypatch.setattr(expressions, "SECONDS", 1.0)
    began = time.monotonic()
    assert expressions.slow_expression(["q_proj", slow], NAMES) == slow
    assert time.monotonic() - began < 60
