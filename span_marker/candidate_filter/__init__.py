"""The candidate filter: a head on text states, how it is fitted, and how its threshold is chosen."""
