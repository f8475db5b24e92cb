import pandas as pd
from traced import changes, tables

from peftlens.reports.learned import learned
from peftlens.reports.learned_card import learned_cards
from peftlens.reports.soft_prompts import Prompt, Token

READ = "Read from how training changes the hidden states there."


def test_runs_with_a_readable_trace_are_counted_over_all_seeds():
    frame = pd.concat(
        [
            changes(identity={"run": "r", "seed": 0}),
            changes((0.5,), {"run": "c", "seed": 2}),
            changes((0.9,), {"run": "f", "configuration": "full"}),
        ]
    )
    (card,) = learned_cards([*learned(tables(activation_difference=frame))], [])
    assert (card.value, card.details, card.link) == ("1 of 3 runs", ("ship.", READ), "learned")


def test_one_run_has_its_verdict():
    (card,) = learned_cards([*learned(tables(activation_difference=changes()))], [])
    assert (card.value, card.details) == ("Readable trace", ("ship.", READ))


def vector(verdict):
    return Token(0, "a", ["b"], "0.5", "0.1", verdict, "")


def test_readable_vectors_are_counted_where_no_trace_was_looked_for():
    marks = ("✓ readable", "→ displacement readable", "= start kept", "")
    prompt = Prompt("p", 9, None, "", [*map(vector, marks)])
    (card,) = learned_cards([], [prompt])
    assert (card.value, card.link) == ("2 of 3", "prompts")
    shuffled = Prompt("p shuffle_labels=True", 9, None, "", [*map(vector, marks)], is_control=True)
    assert [*learned_cards([], [prompt, shuffled])] == [card]
    assert list(learned_cards([], [Prompt("p", 9, None, "", [vector("")])])) == []
