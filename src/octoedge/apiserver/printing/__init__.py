"""Tables: the rows and columns that kubectl prints."""
