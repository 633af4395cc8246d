"""The embedded toy world: scenes, captions, paraphrases and a tiny base CLIP.

`suite` is the door: the suite `demo`, with its data, base and fine-tuning run. `world` writes the
world as files in the layout that real data use: `scenes` says what can be seen, `render` draws it,
`grammar` words it, `similarity_sets` has the sentence pairs. `paraphraser` is the grammar as a
service, `base_model` makes the shipped checkpoint of `base_clip/`. Importing this is cheap.
"""
