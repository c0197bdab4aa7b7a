"""A small true world: heads by formula whose identity, mouth, place and rotation are known in every pixel.

people.py     who there is              paths.py      how a head turns and where it is
voices.py     what is heard             render.py     the pixels
clips.py      training batches          estimator.py  the way back: pixels -> identity, mouth, place, rotation
"""
