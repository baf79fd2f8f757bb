"""Search structures in memory, pure: what they hold comes from the store, through the engine.

`vectors` needs numpy and simsimd (the extra `vectors`), and is imported only by those who have a vector index.
"""
