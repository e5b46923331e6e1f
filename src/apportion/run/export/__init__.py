"""A cell, out of the house: as a plain TRL script, or as weights that load the ordinary way."""
