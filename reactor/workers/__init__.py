"""Long-running work beside the requests: what is scheduled, and what has to be swept."""
