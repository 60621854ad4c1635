"""Foreign CSV files to data folders.

mapping     the mapping file
csv_cells   cells to values
ingest      the whole file
"""
