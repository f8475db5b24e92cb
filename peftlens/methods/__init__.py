"""Fine-tuning methods, one file each; the file name is the method's name.

A method file has
    FAMILY, one of selective, reparametrization, additive adapter, soft prompt, mix, baseline;
    EXPOSES, the quantities that probes can read from its runs: `delta_weight` (an update of the
        base model's weights, which can be merged), `soft_prompt` (vectors before the embeddings),
        `prefix` (keys and values before each layer's), `token_vectors` (vectors comparable with
        the vocabulary's: the former two, and retrained rows of the embedding table);
    LEARNING_RATE, the default where a study names none;
    FORMULA, what it makes of a layer, in one line: y the output, x or h the input, W a weight, f
        the model or the layer, primes after training; plug-ins may leave it out;
    Config, whose first field is shown after the method's name;
    attach(model, config), which changes the model in place and returns the trainable module;
    trainable_parameters(config, shapes), the number in closed form, which also refuses bad values.

It may have
    MERGES_IF, the condition on the base model for merging;
    UNMERGEABLE, the reason why it has no `delta_weight`;
    TRAINS_HEAD = True, where a new head of the base is all that it trains;
    NO_HEAD, the reason why it can't be used on a base with a new head;
    NEEDS_CACHE = True, where it puts keys and values before those of the input;
    PACKAGES, further packages whose versions affect its results;
    exposes(config), instead of EXPOSES where the configuration decides it;
    ARGUMENT, the field of Config that users write after a colon;
    resolve_config(config, context), which fills in fields that depend on text or data;
    calibrate(model, config, losses), which reads training examples before the first step;
    optimizer(model, config, rate, weight_decay), instead of AdamW over all trainable parameters;
    merge(model), instead of the merging of peft or torch;
    regularization_loss(model, config), added to the loss;
    batchable_fields(config) and trainable_parts(model), where its runs can be trained in one pass:
        the fields of Config in which the runs may differ (None: this configuration can't be
        batched), and the trainable part at each module of the base; see layers/batched_adapters.py;
    after_step(model, config, step, steps), called before the gradients are cleared;
    training_state(model, config), what `after_step` keeps from step to step outside of parameters
        and buffers, as tensors, numbers and texts in dictionaries and lists; without it, runs of a
        method with `after_step` can't be paused;
    load_training_state(model, config, state), unless that is always empty.
"""
