"""The gate: what a change of the definitions would do to who reads features, and whether that is safe.

`comparison` holds the two sides, each module of rules says what it knows about one noun, `judgement` asks every rule and
counts the waivers in. Nothing here imports Feast but `recorded`, `opening` and `revision`: a comparison is a function of plain data.
"""
