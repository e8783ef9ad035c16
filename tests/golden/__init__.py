"""Files of every format version that must always be read, and what wrote them."""
