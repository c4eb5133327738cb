"""The five services. They never import each other: they meet at the protos."""
