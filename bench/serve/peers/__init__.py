"""What runs in the peers' own environments: a handler for each, and what they all call."""
