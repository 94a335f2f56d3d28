"""Writing a checkpoint with its matrices in fewer bits, in forms that other tools read as well."""
