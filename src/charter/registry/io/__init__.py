"""Records, blobs and package files on disk."""
