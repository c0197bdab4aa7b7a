"""User study: a blind page that raters open from disk, and the table of what they said. In EMO's arXiv version 3, 20
people rate lip sync and vividness from 1 to 5, all methods side by side on the same image and voice.

Reading order: design (page and key), ratings (files that come back), agreement, table.
"""

from emo_model.study.design import Key, write_study
from emo_model.study.ratings import Ratings, collect
from emo_model.study.table import write_table

__all__ = ["Key", "Ratings", "collect", "write_study", "write_table"]
