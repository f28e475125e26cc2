"""FMLab: which vision foundation model to use, found out on one's own medical images."""
