import pytest

from peftlens.models.base_model import load_base_model


@pytest.fixture(scope="session")
def smollm2():
    """The built-in base: tests of words need a vocabulary of words."""
    return load_base_model("smollm2-135m", device="cpu", dtype="float32")
