"""What a study gave: tables, sweeps, failures and the invocations behind them."""
