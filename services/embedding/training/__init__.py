"""Fine-tuning: what people liked together teaches the encoder what texts have in common."""
