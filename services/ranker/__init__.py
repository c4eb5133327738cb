"""Ranker: the fusion. Calls the other services, scores, explains, answers Recommend."""
