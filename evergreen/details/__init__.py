"""What a decision keeps beside its outcome and reason: frozen types, which every folder may speak of."""
