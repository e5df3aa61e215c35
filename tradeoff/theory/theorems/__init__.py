"""One theorem, one file, one shape: statement and proof, a function for each route, the record `THEOREM`."""
