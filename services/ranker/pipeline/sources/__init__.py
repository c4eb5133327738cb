"""sources: what could be recommended; the candidates service or what stands in for it."""
