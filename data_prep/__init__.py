"""Raw data sets to prepared files and a datalist, one command each."""
