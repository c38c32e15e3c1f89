"""Pure functions on words, spans and labels: no data set, no model, no Hub."""
