"""One file for each row of the table: the fault it makes, and what must hold."""
