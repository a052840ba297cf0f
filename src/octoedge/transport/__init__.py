"""Ways to the other side: one seam (`connection`), and what stands behind it."""
