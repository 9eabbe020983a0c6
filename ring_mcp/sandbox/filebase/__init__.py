"""ring-filebase: where results can be kept."""
