"""xAI Imagine: pictures and clips, deferred or at once, its prices and its ways to say no."""
