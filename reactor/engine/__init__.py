"""Transactions and what they touch: ranges, read and write sets, the committer, invalidation.

Read it in this order: database (the face), transaction, committer, invalidation.
"""
