"""Who is asking: identities, admin keys, and the verification of users' tokens."""
