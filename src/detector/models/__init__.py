"""Networks: the small ones written out, any timm network by name."""
