"""What tests of every service stand on: in-process servers, real processes, contract suites."""
