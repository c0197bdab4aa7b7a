"""Commands of `emo`, one file a part of the project; `emo_model.cli` joins them."""
