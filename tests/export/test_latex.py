import pytest

from peftlens.export.latex import escaped


@pytest.mark.parametrize(
    ("text", "set_as"),
    [
        ("$x$ & 50 % #1 a_b {c}", r"\$x\$ \& 50 \% \#1 a\_b \{c\}"),
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("</script>", r"\textless{}/script\textgreater{}"),
        ("~^|[", r"\textasciitilde{}\textasciicircum{}\textbar{}{[}"),
        ("é ñ ß", "é ñ ß"),
        ("a → b – c", r"a $\rightarrow$ b \textendash{} c"),
        ("中\u202e", r"\textless{}U+4E2D\textgreater{}\textless{}U+202E\textgreater{}"),
        ("a\nb", "a b"),
        ("--x --- y", "-{}-x -{}-{}- y"),
    ],
)
def test_nothing_is_a_command(text, set_as):
    assert escaped(text) == set_as
