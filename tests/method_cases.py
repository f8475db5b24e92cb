"""The methods that contract tests try, with options that suit tiny models."""

from peftlens import registry

# What the tiny models, 32 wide, need; and what `resolve_config` would have filled in.
OPTIONS = {
    "bitfit": {"add_biases": True},
    "c3a": {"block_size": 8},
    "compacter": {"bottleneck_size": 8},
    "cpt": {"token_ids": [5, 6, 7], "token_types": [2, 2, 4]},
    "few_shot": {"token_ids": [5, 6, 7]},
    "framed_prompt_tuning": {"frame_ids": [[[5, 6], [7]], [[], [8]]]},
    "fourierft": {"num_frequencies": 50},
    "hard_prompt": {"token_ids": [5, 6]},
    "p_tuning": {"hidden_size": 16},
    "peft:ADAMSS": {"r": 4, "num_subspaces": 2},
    "peft:FROD": {"progressbar": False},
    "peft:WAVEFT": {"n_frequency": 40},
    "randlora": {"rank": 4},
    "road": {"group_size": 8},
    "trainable_tokens": {"token_ids": [5, 9]},
    "vblora": {"vector_length": 16},
} | {
    f"peft:{kind}": {"r": 4}
    for kind in ("DEFT", "GLORA", "GRALORA", "PEANUT", "POLY", "PSOFT", "PVERA", "UNILORA")
}
# Methods whose model is not the base at the start: a prompt stands there, or weights are rounded.
OTHER_START = {
    *(
        "cpt",
        "few_shot",
        "framed_prompt_tuning",
        "hard_prompt",
        "mam",
        "multitask_prompt_tuning",
        "p_tuning",
    ),
    *("prefix_tuning", "prompt_tuning", "qlora", "unipelt", "vblora", "peft:CARTRIDGE"),
    "peft:UNILORA",
}
# Methods that take weights apart, or normalize them, and put them together again: equal up to
# rounding, by dtype relative to the largest logit.
ROUNDED = {
    *("dora", "hra", "olora", "osf", "pissa", "peft:DEFT", "peft:FROD"),
}
OURS = [name for name in registry.names("methods") if name != "peft"]
PEFTS = [*(name for name in OPTIONS if ":" in name), "peft:CARTRIDGE"]
NAMES = [*OURS, *PEFTS]
UNTRAINED = ["few_shot", "frozen", "hard_prompt"]
MERGEABLE = [
    name for name in NAMES if "delta_weight" in registry.exposed(name, OPTIONS.get(name, {}))
]
