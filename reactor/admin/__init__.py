"""The deployment API: what operators, the official command line and dashboards ask of a deployment, with an admin key.

`system/` holds the `_system/…` functions, which are called and subscribed to like any other; the other modules answer HTTP.
Source of names and shapes: Convex's public tools.
"""
