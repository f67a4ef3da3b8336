"""Networks at work: parts are built, weights loaded, frames predicted and evaluated."""
