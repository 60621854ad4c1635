"""Foreign CSV files to data folders.

mapping     the mapping file
csv_cells   a CSV as cells, and cells to values
tables      cells to statements, labels and attributes
ingest      the whole file
"""
