import pytest
import theirs

from peftlens.adapters.external import ExternalAdapter
from peftlens.errors import InputError
from peftlens.inspection.behavior import Behavior, Measured
from peftlens.models.snapshot import fingerprint


@pytest.fixture
def adapter(bases, tmp_path):
    folder = theirs.save(theirs.wrapped("LORA"), tmp_path / "a", str(bases["llama"]))
    return ExternalAdapter(folder)


def test_the_base_is_left_as_it_was(adapter, llama, tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("one two three\n")
    before = fingerprint(llama.model)
    behavior = Behavior.of(llama, adapter, Measured(text=str(file)))
    assert behavior.divergence(adapter) == pytest.approx(0, abs=1e-9)
    frame = behavior.table({"again": adapter}).set_index("model")
    assert list(frame.index) == ["base", "original", "again"]
    assert frame.loc["base", "general_kl"] > 1e-3
    assert frame.loc["again", "forgetting"] == frame.loc["original", "forgetting"]
    assert frame.loc["base", "forgetting"] == 0
    assert "accuracy" not in frame
    assert fingerprint(llama.model) == before
    assert (frame["general_loss"] > 0).all()


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_text_that_is_none(text, adapter, llama, tmp_path):
    file = tmp_path / "text.txt"
    file.write_text(text)
    with pytest.raises(InputError, match="has no text"):
        Behavior.of(llama, adapter, Measured(text=str(file)))
    with pytest.raises(InputError, match="is not a text file"):
        Behavior.of(llama, adapter, Measured(text=str(tmp_path / "none.txt")))
    with pytest.raises(InputError, match="items=-1"):
        Behavior.of(llama, adapter, Measured(items=-1))
