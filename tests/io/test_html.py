import pytest

from peftlens.errors import InputError
from peftlens.io import html


def test_a_page_goes_where_there_is_a_folder(tmp_path):
    file = html.write("text", tmp_path / "page.html")
    assert file.read_text() == "text"
    with pytest.raises(InputError, match="no is not a folder; create it, or give another --out"):
        html.write("text", tmp_path / "no" / "page.html")


def test_the_policy_lets_exactly_its_scripts_run():
    # the digest of "alert(1)" by openssl dgst -sha256 -binary | base64
    assert html._csp_hash("alert(1)") == "bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI="
