"""A challenger on live traffic: what is known of it at any time, what follows, and who carried it out."""
