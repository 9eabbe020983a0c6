"""What the services remember: settings, faults, books, jobs, media."""
