"""The embedded toy world: scenes, captions, paraphrases and a tiny base CLIP.

`world.build(root)` writes the whole world as plain files in the layout that real data use;
`grammar` rewords captions; `base_clip/` is the shipped checkpoint that `base_model` makes.
Importing this package is cheap: only `base_model` needs torch and open_clip.
"""
