"""What a preference pair is and how rows become pairs: containers, formats, conversations,
quality, repeats, near duplicates, large sets on disk. Imports harness and sources, and no torch.
Used by the data stages, by serving and report (the record alone), and by the command examine."""
