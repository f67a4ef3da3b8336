"""Plugins that break the contract: one file for each kind, one small class for each fault."""
