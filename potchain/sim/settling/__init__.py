"""Settlement in a simulated run: the shipping settlers on simulated processes, liars, people, and what goes wrong."""
