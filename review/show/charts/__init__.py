"""Charts of plain values as SVG: no library, no script, no inline style, so that the strictest page may hold them."""
