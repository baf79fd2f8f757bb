"""Import and export: formats of files, and the work on them that is done apart from the server's threads."""
