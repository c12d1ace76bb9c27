"""Self-contained HTML pages: pictures, curves and objects that turn, without a network."""
