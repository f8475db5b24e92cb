"""Fine-tuning methods, one file each; the file name is the method's name.

A method file has: FAMILY; EXPOSES, what probes may ask of its runs; LEARNING_RATE, used where a
study names none; Config; `attach(model, config)`, which changes the model in place and returns what
is to be trained; `trainable_parameters(config, shapes)`, the closed formula; and, where the config
holds text, `resolve(config, tokenizer, labels)`, which turns it into token ids.
"""
