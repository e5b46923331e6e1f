"""Examples: records, sides, subsets and their digests."""
