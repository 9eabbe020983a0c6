"""The front door: what is asked is written down, and the faults that are armed meet it here."""
