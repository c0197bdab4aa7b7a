"""Raw video -> samples, in the data's order: sources, media, shots, faces, clips, head_motion, audio, dataset."""
