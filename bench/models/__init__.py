"""Small complete trainings: examples of how draws are used, and what bench/train.py times from end to end.

Each file is one model. It stands alone: `python bench/models/vae.py --library torch` trains with torch.distributions,
`--library rsample`, the default, with rsample.distributions. What the two need to draw is the function `draw`; the rest
of a file does not know which one it has.
"""
