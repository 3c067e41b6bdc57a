"""One file for each fault, a row of the table: how it is made, and what must hold."""
