"""What runs inside the program's own processes: hooks around named functions, and no change of its code."""
