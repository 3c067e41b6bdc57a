"""The forms an export can have, one a module. Stored outputs in, bytes out; where the bytes go is not known here."""
