"""The parts of `vesalius.text.audit`: one question about labelled records each."""
