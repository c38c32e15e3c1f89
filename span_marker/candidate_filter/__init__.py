"""The candidate filter: a head on text states, its fitting, and the choice of its threshold."""
