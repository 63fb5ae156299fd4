"""Check data before training: `transeg doctor`."""
