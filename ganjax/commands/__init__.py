"""The commands that every experiment has, a file for those that belong together."""
