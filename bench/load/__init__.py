"""How much the database and the ways around it carry: saves, claims, and one job of a million prompts."""
