"""Foreign CSV files to data folders.

mapping         the mapping file
csv_file        a CSV file as rows of text, by one strict reader
csv_cells       a CSV as cells, and cells to values
number_format   how numbers are written
date_format     how dates are written
account_names   account numbers that a spreadsheet has changed
tables          cells to statements, labels and attributes
ingest          the whole file
"""
