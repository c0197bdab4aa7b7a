"""Figures for people: contact sheets in the manner of the paper's figures 3 to 6, and side-by-side films with sound."""

from emo_model.figures.rows import Row

__all__ = ["Row"]
