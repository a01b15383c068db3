"""History: sources, the rows in them, and the vectors that follow from them at any time."""
