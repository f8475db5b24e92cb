"""Tables of the probes that a run's screen is made of, by hand."""

import pandas as pd

from peftlens.results.table import Table

HOSTILE = "</script><img src=x onerror=alert(1)>\u202e"
IDENTITY = {"run": "r", "configuration": "lora", "method": "lora", "seed": 1, "status": "measured"}


def changes(p=(0.5, 0.001), identity=(), **cells):
    row = IDENTITY | {
        "text": "general", "words": ["ship", "the"], "typical": ["ship"], "raised": ["␣ship", "a"],
        "lowered": ["␣cake"], "random_updates": 5, "random_found": 0.0, "random_larger": 0.0,
        "power_at_0.4": 0.5, "power_at_0.6": 0.7,
    }  # fmt: skip
    rows = [
        row
        | {"layer": n, "p": one, "q": one, "standardized": 2.0 * n - 2, "relative_norm": 0.1 * n}
        for n, one in enumerate(p, 1)
    ]
    return pd.DataFrame([one | dict(identity) | cells for one in rows])


def tables(**frames):
    return {name: Table(name, 1, (), (), frame) for name, frame in frames.items()}


def forgetting(**cells):
    row = {
        "step": 9, "suite": "passages", "forgetting": 0.25, "ci_low": 0.2, "ci_high": 0.3,
        "accuracy_change": None, "accuracy_ci_low": None, "accuracy_ci_high": None,
    }  # fmt: skip
    return pd.DataFrame([IDENTITY | row | cells, IDENTITY | row | {"step": 1, "forgetting": 7.0}])


def ablation(blocks, p, share=0.9):
    row = {"active": "smallest set", "blocks": blocks, "gain_share": share, "p": p}
    return pd.DataFrame([IDENTITY | row])


def texts(n, source):
    row = IDENTITY | {
        "source": source, "prompt": "p" * 200, "reference": None, "base": "b" * 200,
        "tuned": "t", "base_score": None, "score": None, "differs_at": 0,
    }  # fmt: skip
    return [row | {"item": item} for item in range(n)]
