"""The apps: a folder for each, with what is served, how it is driven and what is installed for it."""
