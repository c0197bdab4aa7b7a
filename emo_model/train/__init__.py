"""Training (sections 3.3 and 4.1): three stages as values, one loop."""
