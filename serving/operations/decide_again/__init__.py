"""Recorded requests decided again: with the same bundle, or with another one.

replay        the same bundle: the answer must have the same bytes
mixing        bundles between two: their parts are replaced one after the other
attribution   the answers of a request under these bundles, and which part changed what
backfill      the recorded decisions of a period, each compared with the one under another bundle
shadow        the challenger's recorded decisions beside those that were answered
summary       counts and money by product and action
output        the comparisons as JSON lines or Parquet
options       replay and backfill, as the parser has them
commands      replay and backfill, as the command line calls them
"""
