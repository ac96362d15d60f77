"""HTML: the model page, dossier, backtest page; plots; templates."""
