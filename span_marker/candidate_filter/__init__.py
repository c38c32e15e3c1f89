"""The candidate filter: a head on text states, how it is fitted, and where it cuts."""
