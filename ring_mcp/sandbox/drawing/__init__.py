"""Pictures and clips, made on this machine."""
