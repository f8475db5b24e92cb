import pandas as pd

from peftlens.reports.side_by_side import SHOWN, answers
from peftlens.results.table import Table


def rows(n_prompts=1, **changes):
    row = {
        "status": "measured", "run": "r", "configuration": "lora",
        "method": "lora", "seed": 1, "source": "task",
        "prompt": "2 + 2 =", "reference": "4", "base": "22", "tuned": "2 is 4", "base_score": 0.0,
        "score": 1.0, "differs_at": 1,
    }  # fmt: skip
    return [row | {"item": item} | changes for item in range(n_prompts)]


def table(cells):
    return {"generations": Table("generations", 1, (), (), pd.DataFrame(cells))}


def test_texts_of_all_models_stand_under_their_prompt():
    cells = [
        *rows(),
        *rows(seed=0, tuned="4", differs_at=0),
        *rows(configuration="full", tuned="22", differs_at=None, score=0.0),
        *rows(configuration="frozen", method="frozen", tuned="22", differs_at=None),
    ]
    (one,) = answers(table(cells))
    assert (one.source, one.prompt, one.reference) == ("task", "2 + 2 =", "4")
    seen = [(text.model, text.same, text.other, text.score) for text in one.texts]
    assert seen == [
        ("base model", "22", "", "0"),
        ("lora", "", "4", "1"),  # of seed 0
        ("full", "22", "", "0"),
    ]


def test_prompts_without_a_reference():
    cells = rows(source="own", reference=None, base_score=None, score=None)
    (one,) = answers(table(cells))
    assert one.reference == ""
    assert [(text.same, text.other, text.score) for text in one.texts] == [
        ("22", "", ""),
        ("2", " is 4", ""),
    ]


def test_the_page_has_the_first_prompts_only():
    assert len(list(answers(table(rows(SHOWN + 5))))) == SHOWN
    assert list(answers({})) == []
    assert list(answers(table(rows(status="not_applicable")))) == []
