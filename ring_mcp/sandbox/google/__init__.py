"""Gemini: pictures from generateContent, clips from interactions, tokens and what they cost."""
