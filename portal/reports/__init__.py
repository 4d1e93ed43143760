"""Reports: what each figure means, one value made of the log's figures, and the formats it is written in."""
