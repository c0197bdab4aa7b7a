"""EMO's network: the boxes of the paper's figure 2, one file each (section 3.2)."""
