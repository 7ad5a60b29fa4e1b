"""Any bytes, and what the library promises of them; see README.md beside this."""
