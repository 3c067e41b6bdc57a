"""The commands, one file a group; each group registers its own."""
