"""How labels meet a backbone."""
