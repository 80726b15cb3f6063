"""One file a command; each exports ``command``."""
