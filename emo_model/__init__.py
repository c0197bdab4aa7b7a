"""EMO ("Emote Portrait Alive", arXiv 2402.17485): data preparation, network, training, generation, evaluation."""
