"""Pages to look at what `transeg segment` wrote: `transeg report`."""
