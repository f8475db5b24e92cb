import pytest
import theirs

from peftlens.adapters.external import ExternalAdapter
from peftlens.adapters.opening import is_whole_model, open_trained, refuse_existing
from peftlens.errors import InputError
from peftlens.runs.run import Run


def test_what_a_folder_holds(bases, tmp_path):
    folder = theirs.save(theirs.wrapped("LORA"), tmp_path / "a", "base")
    assert isinstance(open_trained(folder, None, False), ExternalAdapter)
    assert is_whole_model(bases["llama"])
    assert not is_whole_model(folder)
    assert isinstance(open_trained(bases["llama"], None, False), Run)  # fails when it is read


def test_nothing_is_written_over(tmp_path):
    refuse_existing(tmp_path / "new")
    with pytest.raises(InputError, match="exists; name a new folder"):
        refuse_existing(tmp_path)
