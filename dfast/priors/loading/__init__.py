"""Find, check and read the files of published models: catalogue, hub cache, folders, weights."""
