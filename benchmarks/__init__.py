"""Speed and memory against what a user would use instead; every benchmark prints ratios."""
