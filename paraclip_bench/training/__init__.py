"""ParaCLIP's fine-tuning: a frozen image tower, a text tower that learns paraphrases.

In the order in which it happens: `recipe` has the settings, `finetune` tells the whole story,
`prepare` makes a `table` of the rows and computes the image features, `loop` chooses the pairs of
each step and trains: `step` has the gradients of `losses` through the `trainable` tower, and
`validation` keeps the best weights. `checkpoint` is the folder and its training states, `describe`
the model card and the pictures. `merge` goes between a base and its checkpoint.
"""
