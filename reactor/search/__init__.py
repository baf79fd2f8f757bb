"""What search and vector indexes make of documents, pure: words, filters, and structures in memory.

`vectors` needs numpy and simsimd (the extra `vectors`), and is imported only by those who have a vector index.
"""
