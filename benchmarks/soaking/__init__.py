"""The rooms of ``soak``: who acts, what goes wrong, and what is written down of it."""
