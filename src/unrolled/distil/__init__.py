"""From texts, some with labels and many without, to a small net that knows what a large ensemble knows.

`corpus` holds texts as ids. `ngrams`, and `teacher` in either direction, learn from the labels (the teacher from all
texts first); `stages` weighs their answers out of the groups that they trained on, and has `steps`, the small net,
learn them on every text there is. `foresee` gives that net a start.
"""
