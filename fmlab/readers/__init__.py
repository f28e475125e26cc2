"""One file per source layout; each turns files into manifest rows and pixels."""
