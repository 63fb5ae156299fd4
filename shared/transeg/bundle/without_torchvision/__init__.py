"""A folder for PYTHONPATH: stands in for torchvision where there is none that works, as beside a torch for CPUs."""
