"""What an encoder is: its facts, its tokens, its compiled shapes."""
