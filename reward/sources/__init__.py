"""Where pairs and backbones come from: the two catalogues of params.yaml, files on this machine
and repositories of the Hugging Face hub. Imports harness. Used by pairs and training, by the stages
download, train and testsets, and by the command examine."""
