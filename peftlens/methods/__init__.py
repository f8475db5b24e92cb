"""Fine-tuning methods, one file each; the file name is the method's name.

A method file has
    FAMILY, one of selective, reparametrization, additive adapter, soft prompt, mix, baseline;
    EXPOSES, what probes may ask of its runs: `delta_weight` (what it trains amounts to an update of
        the base's weights, so it can be merged), `soft_prompt` (vectors before the embeddings),
        `prefix` (keys and values before each layer's), `token_vectors` (vectors that compare with
        the vocabulary's: the former two, and retrained rows of the embedding table);
    LEARNING_RATE, used where a study names none;
    Config, whose first field is the one shown beside the method's name;
    attach(model, config), which changes the model in place and returns what is to be trained;
    trainable_parameters(config, shapes), the closed formula, which also refuses bad values.

It may have
    MERGES_IF, what the base must have for that;
    UNMERGEABLE, why it has no `delta_weight`;
    PACKAGES, whose versions decide its results beside those that decide all;
    exposes(config), instead of EXPOSES where the configuration decides it;
    ARGUMENT, the field of Config that takes what a user writes behind a colon;
    resolve_config(config, context), which fills in what depends on text or data;
    calibrate(model, config, losses), which looks at training examples before the first step;
    optimizer(model, config, rate, weight_decay), instead of AdamW over all that is trained;
    merge(model), instead of what peft or torch merge by themselves;
    regularization_loss(model, config), added to the loss;
    batchable_fields(config) and trainable_parts(model), where runs of it can be trained in one pass: the fields of
        Config in which they may differ (None for none of this configuration), and what is trained
        at each module of the base; see layers/batched_adapters.py;
    after_step(model, config, step, steps), called before the gradients are cleared.
"""
