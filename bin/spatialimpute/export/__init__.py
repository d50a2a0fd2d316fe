"""The imputed file for other tools, by their own libraries: runs in the environment `export` alone."""
