"""Networks in use: builds parts, loads weights, predicts and evaluates frames."""
