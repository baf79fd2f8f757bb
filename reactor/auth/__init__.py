"""Who is asking: identities, admin keys and, later, token verification."""
