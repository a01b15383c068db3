"""What a feature server must answer, asked and held against what it does."""
