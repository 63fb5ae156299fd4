"""Speed, memory and paper tables; each command writes a JSON file to benchmarks/results."""
