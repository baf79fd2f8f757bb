"""What several test suites share: real server processes, a proxy that breaks connections, a strict sync client."""
